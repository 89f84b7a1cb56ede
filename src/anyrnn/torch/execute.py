"""Run a cell over sequences, on the path that is chosen for the call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import Run
from anyrnn.torch import compiled_path, custom_operators, operations_path, precision, vendor_path
from anyrnn.torch.path import Path, choose, forced
from anyrnn.torch.single_step import single_step
from anyrnn.torch.tensors import check_parameters, wants_gradient
from anyrnn.torch.tracing import run_key, untraced

__all__ = ["PATHS", "Path", "breaks_graph", "choose", "execute", "forced"]

PATHS = {"compiled": compiled_path.execute, "operations": operations_path.execute}  # of any cell
_FUNCTIONS = {**PATHS, "vendor": vendor_path.execute}


def breaks_graph(cell: Cell, given: object, lengths: object, tensors: Iterable[Tensor]) -> bool:
    """Whether torch.compile is tracing, and a layer cannot be a part of its graph: for packed
    sequences, for lengths, and on the path of operations, which goes through time in Python.

    Raises:
        InputError: torch.export is tracing, and there are lengths.
    """
    if not torch.compiler.is_dynamo_compiling():
        if lengths is not None and torch.compiler.is_compiling():
            raise InputError(
                "torch.export takes sequences of one length; leave out lengths, mask and resets"
            )
        return False
    if not isinstance(given, Tensor) or lengths is not None:
        return True
    return choose(cell, [given, *tensors]).name != "compiled"


def draw_seed() -> Tensor:
    """What the random numbers of a call follow from, drawn with PyTorch's generator."""
    return torch.randint(1 << 62, (1,), dtype=torch.int64)


def execute(
    run: Run,
    rows: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    seed: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over sequences of falling lengths, on the path that fits.

    Args:
        run: What to run.
        rows: The inputs of all steps, step after step, (sum of batch_sizes, input); or for
            sequences of one length (time, batch, input).
        batch_sizes: The number of rows of each step, never rising: a sequence that has ended is
            left out. None for sequences of one length while torch.compile or torch.export trace.
        states: The initial states, each (batch, size).
        parameters: The stored parameters by name.
        seed: What random numbers follow from, (1,), for a cell that draws some; drawn with
            PyTorch's generator if not given.

    Returns:
        The outputs, laid out as the inputs, and the last states, each (batch, size).
    """
    cell, tensors = run.cell, [rows, *states, *parameters.values()]
    if batch_sizes is not None and len(batch_sizes) == 1:
        single = single_step(cell, run.sizes, rows, states, parameters)
        if single is not None:
            return single
    seed = draw_seed() if seed is None and cell.draws else seed
    path, low = choose(cell, tensors), precision.low_dtype(rows)
    if low is None:
        return _execute(path, run, rows, batch_sizes, states, parameters, seed)
    given, count = [rows, *states], 1 + len(states)
    how = run.reverse, run.memory, precision.operand(low)
    run = Run(cell, run.sizes, *how, called=run.called)
    with torch.autocast("cpu", enabled=False):
        wide = [tensor.to(precision.compute_dtype(tensor.dtype)) for tensor in tensors]
        weights = dict(zip(parameters, wide[count:], strict=True))
        found = _execute(path, run, wide[0], batch_sizes, wide[1:count], weights, seed)
    return precision.cast_results(cell, low, given, found)


def _execute(
    path: Path,
    run: Run,
    rows: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    seed: Tensor | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell on a path."""
    if torch.compiler.is_compiling():
        return _traced(path, run, rows, batch_sizes, states, parameters, seed)
    assert batch_sizes is not None
    if batch_sizes[0] == 0:  # nothing to compute, and no address to give to a kernel
        path = Path("operations", "an empty batch")
    function = _FUNCTIONS[path.name]
    arguments = compiled_path.over(run, batch_sizes, rows), rows, states, parameters, seed
    if path.name != "compiled":
        return _on_rows(function, *arguments)
    if "torch._dynamo" in sys.modules:
        return untraced(function, *arguments)  # torch.compile may be looking at each function
    return function(*arguments)


def _on_rows(
    function: Callable[..., tuple[Tensor, tuple[Tensor, ...]]], run: Run, rows: Tensor, *given: Any
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Call a path with rows step after step, for inputs (time, batch, input) too."""
    if rows.dim() == 2:
        return function(run, rows, *given)
    output, last = function(run, rows.flatten(0, 1), *given)
    return output.unflatten(0, rows.shape[:2]), last


def _traced(
    path: Path,
    run: Run,
    rows: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    seed: Tensor | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell in a graph that is being traced: as an operator, if that is possible."""
    one = rows.dim() == 2 and batch_sizes is not None and len(batch_sizes) == 1
    if path.name == "compiled" and (rows.dim() == 3 or one):
        x = rows.unsqueeze(0) if one else rows
        check_parameters(run, parameters, rows)
        key = run_key(run.cell, run.sizes, run.reverse, run.memory, run.operand)
        ordered = [parameters[stored.name] for stored in run.cell.parameters]
        recorded = torch.compiler.is_dynamo_compiling() and wants_gradient([x, *states, *ordered])
        output, last = custom_operators.execute(key, x, states, ordered, seed, recorded)
        return output.squeeze(0) if one else output, last
    function = _FUNCTIONS["vendor" if path.name == "vendor" else "operations"]
    if batch_sizes is None:
        batch_sizes = [rows.shape[1]] * rows.shape[0]
    run = compiled_path.over(run, batch_sizes, rows)
    return _on_rows(function, run, rows, states, parameters, seed)
