"""A run over segments of the steps is the run over all of them at once."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import anyrnn
from anyrnn import tanh
from anyrnn.kernels.cpu.program import program_plan
from anyrnn.kernels.cpu.target import CPU
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.run import Arrays, Run, Steps
from checks import close, make_case
from invented_cells import INVENTED


@anyrnn.cell
def exchanged(x, h, c, m, *, W, U):
    """Two states change places, and a third never changes."""
    return c * m + 0 * h, h + tanh(W @ x + U @ c), m


CELLS = {
    **{name: anyrnn.get(name) for name in ("lstm", "gru", "rnn_output", "article3_gru")},
    **{name: INVENTED[name] for name in ("delayed", "echo", "shared_result", "only_input")},
    "exchanged": exchanged,
}


def passes(case, steps, reverse):
    """Everything that both passes compute, on the rows of the steps of a case."""
    cell = case.cell
    run = Run(cell, tuple(case.sizes.items()), reverse, steps=steps, dtype=case.x.dtype)
    sizes = steps.batch_sizes
    rows, gradient = (
        np.concatenate([part[:size] for part, size in zip(array, sizes, strict=True)])
        for array in (case.x, case.output_gradient)
    )
    target, arrays = CPU(), Arrays(NUMPY_ARRAYS, rows, case.states, case.parameters)
    output, last = target.forward(run, arrays)
    again, same, residuals = target.record(run, arrays)
    gradients = [gradient, *case.state_gradients]
    wanted = [True] * (1 + len(case.parameters))
    x, states, gradients = target.backward(run, arrays, residuals, gradients, wanted)
    for ours, wanted in zip((again, *same), (output, *last), strict=True):
        close(ours, wanted, 1e-12)
    found = [output, *last, *states, *gradients.values()]
    return found if x is None else [*found, x]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("batch_sizes", [(3, 3, 3, 3, 3), (4, 4, 2, 2, 1), (3, 1, 1, 1, 1)])
@pytest.mark.parametrize("name", CELLS)
def test_segments_change_nothing(name, batch_sizes, reverse, monkeypatch) -> None:
    case = make_case(CELLS[name], 0, time=5, batch=batch_sizes[0])
    whole = passes(case, Steps(batch_sizes), reverse)
    for bytes_ in (1, 400):
        monkeypatch.setattr(program_plan, "SEGMENT_BYTES", bytes_)
        parts = passes(case, Steps(batch_sizes), reverse)
        for ours, wanted in zip(parts, whole, strict=True):
            close(ours, wanted, 1e-12, name)


def test_a_run_in_the_memory_of_the_one_before() -> None:
    cell, sizes, steps = anyrnn.get("lstm"), {"input": 3, "hidden": 5}, Steps((2, 2))
    cases = [make_case(cell, seed, time=2, batch=2, sizes=sizes) for seed in range(3)]
    first = [passes(case, steps, False) for case in cases]
    held = [part.copy() for part in first[0]]
    again = [passes(case, steps, False) for case in cases]
    for ours, wanted in zip(held, first[0], strict=True):  # the results of one are its own
        np.testing.assert_array_equal(ours, wanted)
    for one, other in zip(first, again, strict=True):
        for ours, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, wanted)


def test_nothing_is_held_of_what_a_run_was_given() -> None:
    case = make_case(anyrnn.get("lstm"), 0, time=1, batch=2)
    run = Run(case.cell, tuple(case.sizes.items()), steps=Steps((2,)), dtype=case.x.dtype)
    rows = case.x[0].copy()
    CPU().forward(run, Arrays(NUMPY_ARRAYS, rows, case.states, case.parameters))
    given = weakref.ref(rows)
    del rows
    assert given() is None


def test_states_that_change_places() -> None:
    case = make_case(exchanged, 1, time=5)
    found = passes(case, Steps((3,) * 5), False)
    wanted, gradients = case.interpret(), case.gradients()
    close(found[0].reshape(wanted.output.shape), wanted.output, 1e-12)
    for ours, theirs in zip(found[1:4], wanted.states, strict=True):
        close(ours, theirs, 1e-12)
    for ours, theirs in zip(found[4:7], gradients.states, strict=True):
        close(ours, theirs, 1e-12)
    for ours, theirs in zip(found[7:9], gradients.parameters.values(), strict=True):
        close(ours, theirs, 1e-12)
    close(found[9].reshape(case.x.shape), gradients.x, 1e-12)


def test_a_segment_has_the_steps_that_fit() -> None:
    planned = anyrnn.schedule.build.schedule(anyrnn.get("rnn").graph, ["h"], ["h"])
    made = program_plan.ProgramPlan(
        anyrnn.get("rnn"), planned, {"input": 4, "hidden": 1024}, ["h"], [], []
    )
    steps = Steps((256,) * 40)  # 1 MiB for each step
    segments = made.divided(steps, 4).segments
    assert [(part.start, part.stop) for part in segments] == [(n, n + 8) for n in range(0, 40, 8)]
    assert [part.first for part in segments] == [256 * n for n in range(0, 40, 8)]
