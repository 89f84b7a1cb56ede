"""The target of GPUs on NumPy arrays, by Triton's interpreter on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import anyrnn
import contract
from anyrnn.graph.cell import Cell
from anyrnn.kernels.gpu import form, source
from anyrnn.kernels.gpu.target import GPU
from anyrnn.kernels.run import NOTHING, Array, Arrays, Run
from anyrnn.kernels.target import registered
from anyrnn.torch.compiled_path import TENSORS
from checks import close_gradients, close_results, make_case


class OnArrays(GPU):
    """The target on NumPy arrays, and with NaN in memory that it does not write."""

    def forward(self, run: Run, arrays: Arrays) -> tuple[Any, list[Any]]:
        output, last = super().forward(run, _tensors(arrays))
        return output.numpy(), [state.numpy() for state in last]

    def record(
        self, run: Run, arrays: Arrays, into: Mapping[Any, Any] = NOTHING
    ) -> tuple[Any, list[Any], dict[Any, Any]]:
        output, last, saved = super().record(run, _tensors(arrays))
        return output.numpy(), [state.numpy() for state in last], saved

    def backward(
        self,
        run: Run,
        arrays: Arrays,
        residuals: Mapping[Any, Any],
        gradients: Sequence[Any],
        wanted: Sequence[bool],
    ) -> tuple[Any | None, list[Any], dict[str, Any]]:
        above = [*map(_tensor, gradients)]
        x, last, totals = super().backward(run, _tensors(arrays), residuals, above, wanted)
        found = {name: total.numpy() for name, total in totals.items()}
        return x if x is None else x.numpy(), [state.numpy() for state in last], found


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _tensors(arrays: Arrays) -> Arrays:
    return Arrays(
        TENSORS,
        _tensor(arrays.rows),
        [*map(_tensor, arrays.states)],
        {name: _tensor(array) for name, array in arrays.parameters.items()},
        None if arrays.seed is None else _tensor(arrays.seed),
    )


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that is not written is NaN; chunks of scans have four steps, so that few steps are
    several, and the interpreter has less to do.
    """
    made = torch.Tensor.new_empty

    def new_empty(*given: Any, **options: Any) -> torch.Tensor:
        found = made(*given, **options)
        return found.fill_(torch.nan) if found.is_floating_point() else found

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)
    monkeypatch.setattr(form, "CHUNK", 4)
    source.loop_source.cache_clear()
    yield
    source.loop_source.cache_clear()


def check(cell: Cell, tolerance: float = 1e-5, smallest: int = 1, **sizes: Any) -> None:
    """Compare results and gradients of a cell with the interpreter."""
    case = make_case(cell, 0, **{"time": 2, "batch": 2, **sizes}, smallest=smallest)
    seed = contract.SEED if cell.draws else None
    wanted, wanted_gradients = contract.run_interpreter(case, seed)
    case = case.as_type(np.float32)
    with registered(OnArrays("cpu")):
        made = anyrnn.compile(cell, case.sizes)
        given = {"parameters": case.parameters, "seed": seed}
        found = made.forward(case.x, case.states, **given, save=True)
        gradients = found.backward(case.output_gradient, case.state_gradients)
    close_results(found, wanted, tolerance)
    close_gradients(gradients, wanted_gradients, 4 * tolerance)
