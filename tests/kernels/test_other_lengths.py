"""Commands are recorded once for sequences of many lengths, and compute what those of one do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn.kernels.cpu.machine import memory
from anyrnn.kernels.cpu.program import program, program_plan, varying
from anyrnn.kernels.cpu.program.program_writer import ProgramWriter
from anyrnn.kernels.cpu.program.varying import Varying, rounded_up
from anyrnn.kernels.cpu.target import CPU, _forward, _reverse
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.run import Arrays, Run, Steps
from anyrnn.torch import LSTM
from checks import Case, make_case, poisoned
from invented_cells import INVENTED

CELLS = {
    **{name: anyrnn.get(name) for name in ("lstm", "gru")},
    **{name: INVENTED[name] for name in ("delayed", "shared_result")},
}
LENGTHS = [(5, 3, 3, 2, 1), (5, 5, 5, 5, 4), (4, 1, 1, 1, 1), (5, 5, 1), (3, 2, 2), (4, 4, 3, 2, 2)]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs that were recorded; fresh memory is full of NaN."""
    found: list[Any] = []

    class Counted(ProgramWriter):
        def __init__(self, *given: Any) -> None:
            found.append(given)
            super().__init__(*given)

    monkeypatch.setattr(program, "ProgramWriter", Counted)
    monkeypatch.setattr(memory, "empty", poisoned(memory.empty))
    _forget()
    return found


def _forget() -> None:
    _forward.cache_clear()
    _reverse.cache_clear()


def passes(
    case: Case, batch_sizes: Sequence[int], reverse: bool = False, threads: int = 1
) -> list[np.ndarray]:
    """Everything that both passes compute, on the first rows of the first steps of a case."""
    steps, batch = Steps(tuple(batch_sizes)), batch_sizes[0]
    run = Run(case.cell, tuple(case.sizes.items()), reverse)
    run = run._replace(steps=steps, dtype=case.x.dtype, threads=threads)
    rows, gradient = (
        np.concatenate([part[:size] for part, size in zip(array, batch_sizes, strict=False)])
        for array in (case.x, case.output_gradient)
    )
    states, above = (
        [part[:batch].copy() for part in parts] for parts in (case.states, case.state_gradients)
    )
    target, arrays = CPU(), Arrays(NUMPY_ARRAYS, rows, states, case.parameters)
    plain = target.forward(run, arrays)
    output, last, residuals = target.record(run, arrays)
    wanted = [True] * (1 + len(case.parameters))
    x, begun, totals = target.backward(run, arrays, residuals, [gradient, *above], wanted)
    found = [plain[0], *plain[1], output, *last, *begun, *totals.values(), x]
    return [array.copy() for array in found if array is not None]


@pytest.mark.parametrize(
    ("reverse", "threads", "segment"), [(False, 1, 8 << 20), (True, 2, 8 << 20), (False, 2, 1)]
)
@pytest.mark.parametrize("name", CELLS)
def test_the_bits_of_a_recording_of_their_own(
    name: str,
    reverse: bool,
    threads: int,
    segment: int,
    written: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program_plan, "SEGMENT_BYTES", segment)
    monkeypatch.setattr(varying, "PART", 7)
    monkeypatch.setattr(varying, "LEADING", 1)  # all but powers of two are rounded up
    monkeypatch.setattr("anyrnn.kernels.cpu.policy.PARALLEL", 0)
    case = make_case(CELLS[name], 0, time=5, batch=5).as_type(np.float32)
    alone = []
    for sizes in LENGTHS:
        _forget()
        alone.append(passes(case, sizes, reverse, threads))
    _forget()
    for _ in range(2):
        for sizes, wanted in zip(LENGTHS, alone, strict=True):
            for ours, theirs in zip(passes(case, sizes, reverse, threads), wanted, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_other_lengths_are_not_recorded(written: list[Any]) -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5), torch.randn(40, 8, 3, requires_grad=True)
    for seed in range(20):
        lengths = torch.randint(1, 40, (8,), generator=torch.Generator().manual_seed(seed))
        lengths[seed % 8] = 40
        layer(x, lengths=lengths)[0].sum().backward()
        with torch.no_grad():
            layer(x, lengths=lengths)
    assert len(written) <= 6  # with and without a gradient, and backwards: with many rows or few


def test_many_numbers_of_steps_share_few_recordings() -> None:
    rounded = [rounded_up(number) for number in range(1, 1025)]
    assert all(number <= most <= 1.25 * number for number, most in enumerate(rounded, 1))
    assert len(set(rounded)) < 40
    assert rounded == sorted(rounded)


def test_numbers_that_vary() -> None:
    rows, more = Varying({1: 1}), Varying({1: 2, 2: 1}, 3)
    numbers = [0, 10, 7]
    for found, wanted in (
        (rows + more, 10 + 30),
        (2 + more - rows, 2 + 30 - 10),
        (5 - rows * 3, 5 - 30),
        (-(-more // 4), 8),
        (more * 8 // 4, 60),
        ((rows * 3 // 4) * 2 + 1, 15),
        (more - more + rows, 10),
    ):
        assert found(numbers) == wanted
    assert rows + more - rows == more
    assert more - more == 0
    assert rows != 10
