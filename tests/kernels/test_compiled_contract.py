"""What compiled code keeps, through `anyrnn.compile`: every cell of the catalogue on every kind of
CPU that this one can play, in float32 and float64.

Compiling is what takes the time: so each cell meets each kind of CPU and both types, but not each
pair of them (neighbours in the catalogue meet the other pairs); twins, and the cells invented for
tests, which use every operation, meet one pair each. Every third cell is compiled as for users for
one pair, the others quickly. With the environment variable ANYRNN_EVERY_PAIR, as in `make
contract`, each cell meets each pair, compiled as for users. A pair serves all sizes (primes, 1,
more and fewer than a vector, rows split between threads and units split). The two tests that
compare bits are about how work is divided: each takes one pair of a cell. What is written to starts
as NaN.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

import anyrnn
from anyrnn import Gradients, SequenceResult
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.machine import memory
from anyrnn.kernels.cpu.program import prepared_commands
from anyrnn.kernels.result import Result
from checks import TARGETS, TWINS, Case, close_gradients, close_results, make_case, poisoned
from invented_cells import INVENTED, SMALLEST

# time, batch, and the free sizes of the cell in their order
SIZES = [
    (1, 1, (1, 1, 1, 1)),
    (3, 1, (3, 37, 5, 2)),
    (4, 2, (2, 5, 7, 3)),
    (2, 13, (17, 19, 23, 3)),
]


TYPES = (np.float32, np.float64)
CELLS = {**anyrnn.CATALOGUE, **INVENTED}
EVERY_PAIR = [*product(CELLS, TARGETS, TYPES)]
SOME_PAIRS = [
    (name, target, TYPES[(place + other) % 2])
    for place, name in enumerate(anyrnn.CATALOGUE)
    for other, target in enumerate(TARGETS)
    if name not in TWINS or other == place % len(TARGETS)
] + [
    (name, TARGETS[place % len(TARGETS)], TYPES[place // len(TARGETS) % 2])
    for place, name in enumerate(INVENTED)
]
EVERY = bool(os.environ.get("ANYRNN_EVERY_PAIR"))
COMBINATIONS = EVERY_PAIR if EVERY else SOME_PAIRS
FOR_USERS = {
    name: TARGETS[place // 3 % len(TARGETS)]
    for cells in (anyrnn.CATALOGUE, INVENTED)
    for place, name in enumerate(cells)
    if place % 3 == 0
}


def each(combinations: Iterable[tuple[str, str, Any]]) -> pytest.MarkDecorator:
    marked = [
        pytest.param(
            *pair, marks=[pytest.mark.optimised] if FOR_USERS.get(pair[0]) == pair[1] else []
        )
        for pair in combinations
    ]
    return pytest.mark.parametrize(("name", "target", "dtype"), marked)


FIRST, LAST = ({pair[0]: pair for pair in pairs} for pairs in (COMBINATIONS[::-1], COMBINATIONS))
each_combination = each(COMBINATIONS)


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill every fresh array with NaN."""
    monkeypatch.setattr(policy, "PARALLEL", 0)  # small runs are divided between threads too
    monkeypatch.setattr(prepared_commands, "KEPT", -1)  # no memory of a run before
    monkeypatch.setattr(memory, "empty", poisoned(memory.empty))
    monkeypatch.setattr(np, "empty", poisoned(np.empty))
    monkeypatch.setattr(np, "empty_like", poisoned(np.empty_like))


def case(name: str, seed: int, time: int, batch: int, sizes: tuple[int, ...], dtype: Any) -> Case:
    """A case with the same numbers in both types, and weights that neither vanish nor grow."""
    cell = CELLS[name]
    numbers = [max(size, SMALLEST.get(name, 1)) for size in sizes]
    drawn = make_case(cell, seed, time, batch, dict(zip(cell.free_sizes, numbers, strict=False)))
    scale = 1 / max(drawn.sizes.values()) ** 0.5
    parameters = {name: scale * array for name, array in drawn.parameters.items()}
    return replace(drawn, parameters=parameters).as_type(np.float32).as_type(dtype)


@cache
def exact(name: str, place: int) -> tuple[SequenceResult, Gradients]:
    """What the interpreter makes of a case in float64."""
    given = case(name, place, *SIZES[place], np.float64)
    return given.interpret(), given.gradients()


def run(case: Case, target: str, threads: int = 2) -> tuple[Result, Gradients]:
    made = anyrnn.compile(case.cell, case.sizes, dtype=case.x.dtype, target=target, threads=threads)
    result = made.forward(case.x, case.states, parameters=case.parameters, save=True)
    return result, result.backward(case.output_gradient, case.state_gradients)


def rows_of(case: Case, chosen: Any) -> Case:
    """The case with some rows of the batch."""
    return replace(
        case,
        x=case.x[:, chosen],
        states=tuple(state[chosen] for state in case.states),
        output_gradient=case.output_gradient[:, chosen],
        state_gradients=tuple(gradient[chosen] for gradient in case.state_gradients),
    )


def by_row(found: tuple[Result, Gradients], chosen: Any) -> list[np.ndarray]:
    """What is computed for each row of the batch, of some rows."""
    result, gradients = found
    over_time = [array[:, chosen] for array in (result.output, gradients.x)]
    return over_time + [array[chosen] for array in (*result.states, *gradients.states)]


def same_bits(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert np.isfinite(ours).all()


@each_combination
def test_values_and_gradients(name: str, target: str, dtype: Any) -> None:
    single = dtype == np.float32
    for place, (time, batch, sizes) in enumerate(SIZES):
        result, gradients = run(case(name, place, time, batch, sizes, dtype), target)
        arrays = (result.output, *result.states, gradients.x, *gradients.states)
        assert all(a.dtype == dtype for a in (*arrays, *gradients.parameters.values()))
        wanted, wanted_gradients = exact(name, place)
        close_results(result, wanted, 1e-5 if single else 1e-12)
        close_gradients(gradients, wanted_gradients, 1e-4 if single else 1e-11)


@each(COMBINATIONS if EVERY else FIRST.values())
def test_a_row_of_nan_touches_no_other(name: str, target: str, dtype: Any) -> None:
    for batch in (3, 13):  # units split between threads, and rows
        given = case(name, 5, 3, batch, (5, 19, 3, 2), dtype)
        clean = run(given, target)
        spoilt = replace(
            given,
            x=given.x.copy(),
            states=tuple(state.copy() for state in given.states),
            output_gradient=given.output_gradient.copy(),
        )
        for array in (spoilt.x[:, 1], spoilt.output_gradient[:, 1], *(s[1] for s in spoilt.states)):
            array.fill(np.nan)
        others = [row for row in range(batch) if row != 1]
        same_bits(by_row(run(spoilt, target), others), by_row(clean, others))


@each(COMBINATIONS if EVERY else LAST.values())
def test_neither_threads_nor_other_rows_change_a_bit(name: str, target: str, dtype: Any) -> None:
    given = case(name, 6, 3, 13, (5, 37, 3, 2), dtype)
    whole = run(given, target, threads=1)
    everything = slice(None)
    for threads in (2, 3):
        again = run(given, target, threads)
        same_bits(by_row(again, everything), by_row(whole, everything))
        for key, gradient in again[1].parameters.items():
            np.testing.assert_array_equal(gradient, whole[1].parameters[key])
    parts = ([4], 2), ([2, 3], 1), ([2, 3], 2), ([0, 5, 6, 7, 12], 1), ([*range(1, 12)], 2)
    for chosen, threads in parts:
        part = run(rows_of(given, chosen), target, threads)
        same_bits(by_row(part, everything), by_row(whole, chosen))
