"""Cells that draw random numbers: kernels draw those of the interpreter, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

import anyrnn
from anyrnn.errors import InputError
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.program import program_plan
from anyrnn.transforms.dropout import with_recurrent_dropout, with_zoneout
from checks import TARGETS, make_case

SEED = (7 << 40) + 12345
CHANGES = {
    "one mask": lambda cell: with_recurrent_dropout(cell, 0.4),
    "masks": lambda cell: with_recurrent_dropout(cell, 0.3, per_gate=True),
    "zoneout": lambda cell: with_zoneout(cell, 0.3),
    "both": lambda cell: with_zoneout(with_recurrent_dropout(cell, 0.2), {cell.states[-1]: 0.4}),
}


def made(name: str, change: str, dtype: type, **options):
    case = make_case(CHANGES[change](anyrnn.get(name)), 0, time=5, batch=4).as_type(dtype)
    return case, anyrnn.compile(case.cell, case.sizes, dtype=dtype, **options)


def trained(case, compiled, rows=slice(None), seed=SEED):
    """The output, the last states and all gradients."""
    states = [state[rows] for state in case.states]
    result = compiled.forward(
        case.x[:, rows], states, parameters=case.parameters, save=True, seed=seed
    )
    found = result.backward(
        case.output_gradient[:, rows], [part[rows] for part in case.state_gradients]
    )
    return [result.output, *result.states, found.x, *found.states, *found.parameters.values()]


CELLS = [  # every two of a cell, a change and a memory are met by one case or two
    ("lstm", np.float64, TARGETS[0]),
    ("gru_reset_before", np.float32, TARGETS[0]),
    ("rnn_output", np.float32, TARGETS[-1]),
    ("lstm_projection", np.float64, TARGETS[-1]),
]
CASES = [
    pytest.param(
        *cell,
        change,
        ("high", "low")[(place + other) % 2],
        marks=[pytest.mark.optimised] if (cell[0], change) == ("lstm", "both") else [],
    )
    for place, cell in enumerate(CELLS)
    for other, change in enumerate(CHANGES)
]


@pytest.mark.parametrize(("name", "dtype", "target", "change", "memory"), CASES)
def test_kernels_draw_what_the_interpreter_draws(name, dtype, target, change, memory) -> None:
    case, compiled = made(name, change, dtype, target=target, memory=memory)
    found = trained(case, compiled)
    wanted = anyrnn.interpret(case.cell, case.x, case.states, parameters=case.parameters, seed=SEED)
    gradients = anyrnn.gradients(
        case.cell,
        case.x,
        case.states,
        parameters=case.parameters,
        output_gradient=case.output_gradient,
        state_gradients=case.state_gradients,
        seed=SEED,
    )
    expected = [wanted.output, *wanted.states, gradients.x, *gradients.states]
    expected += gradients.parameters.values()
    tolerance = 1e-11 if dtype is np.float64 else 1e-4
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)
    plain = compiled.forward(case.x, case.states, parameters=case.parameters, seed=SEED)
    np.testing.assert_array_equal(plain.output, found[0])


@pytest.mark.parametrize("change", ["one mask", "zoneout"])
def test_threads_and_segments_change_no_bit(change, monkeypatch) -> None:
    case, compiled = made("lstm", change, np.float32, threads=1)
    alone = trained(case, compiled)
    monkeypatch.setattr(policy, "PARALLEL", 0)
    team = trained(case, anyrnn.compile(case.cell, case.sizes, threads=2))
    for one, two in zip(alone, team, strict=True):
        np.testing.assert_array_equal(one, two)
    monkeypatch.setattr(program_plan, "SEGMENT_BYTES", 1)
    pieces = trained(case, anyrnn.compile(case.cell, case.sizes, threads=1, memory="low"))
    for one, two in zip(alone[:3], pieces[:3], strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(alone[3:], pieces[3:], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5, rtol=1e-5)


def test_the_first_rows_draw_the_same_without_the_others() -> None:
    case, compiled = made("gru", "both", np.float32, threads=1)
    whole, part = trained(case, compiled), trained(case, compiled, slice(0, 2))
    np.testing.assert_array_equal(whole[0][:, :2], part[0])


def test_another_seed_is_another_draw() -> None:
    case, compiled = made("lstm", "zoneout", np.float32)
    one, two = (trained(case, compiled, seed=seed)[0] for seed in (1, 1 + (1 << 32)))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (None, "give a seed"),
        (-1, "seed=-1"),
        (1 << 64, "2\\*\\*64"),
        (0.5, "whole"),
        (True, "whole"),
    ],
)
def test_wrong_seeds(seed, message) -> None:
    case, compiled = made("rnn", "zoneout", np.float32)
    with pytest.raises(InputError, match=message):
        compiled.forward(case.x, case.states, parameters=case.parameters, seed=seed)
    if seed is None:
        with pytest.raises(InputError, match=message):
            anyrnn.interpret(case.cell, case.x, parameters=case.parameters)
