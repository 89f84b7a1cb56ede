"""Run a cell over sequences, on the path that is chosen for the call."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import Arrays, DeviceSteps, Run
from anyrnn.torch import (
    compiled_path,
    custom_operators,
    operations_path,
    padded_run,
    precision,
    vendor_path,
)
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.path import Path, choose, forced
from anyrnn.torch.single_step import single_step
from anyrnn.torch.tensors import Results, check_parameters
from anyrnn.torch.tracing import untraced

__all__ = ["Path", "breaks_graph", "choose", "execute", "forced"]


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


def execute(
    run: Run,
    rows: Tensor,
    batch_sizes: Sequence[int] | DeviceSteps | None,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    seed: Tensor | None = None,
    stacked: bool = False,
    packed: PackedWeights | None = None,
) -> Results:
    """Run a cell over sequences of falling lengths, on the path that fits.

    Args:
        run: What to run.
        rows: The inputs of all steps, step after step, (sum of batch_sizes, input); or for
            sequences of one length (time, batch, input).
        batch_sizes: The number of rows of each step, never rising: a sequence that has ended is
            left out. None for sequences of one length; where numbers are on a device, its steps.
        states: The initial states, each (batch, size).
        parameters: The stored parameters by name.
        seed: What random numbers follow from, (1,), for a cell that draws some; drawn with
            PyTorch's generator if not given.
        stacked: Whether the last states may be (1, batch, size), as those of one layer.
        packed: Where packed weights are kept from one run to the next, if they are.

    Returns:
        The outputs, laid out as the inputs, and the last states, each (batch, size).
    """
    arrays = Arrays(TENSORS, rows, states, parameters, seed, packed)
    if _count(rows, batch_sizes) == 1:
        stored = [*map(parameters.__getitem__, run.cell.parameter_names)]
        single = single_step(run, rows, states, stored, recorded=False)
        if single is not None:
            return single
    if seed is None and run.cell.draws:
        arrays = arrays._replace(seed=torch.randint(1 << 62, (1,), dtype=torch.int64))
    path, low = choose(run.cell, arrays.differentiable), precision.low_dtype(rows)
    if low is None or not (path.name == "compiled" or precision.rounds(rows.device.type)):
        return _execute(path, run, batch_sizes, arrays, stacked)
    with torch.autocast(rows.device.type, enabled=False):
        typed_run, typed = precision.typed(run, low, arrays._replace(packed=None))
        found = _execute(path, typed_run, batch_sizes, typed)
    return precision.cast_results(run, low, arrays, found)


def _count(rows: Tensor, batch_sizes: Sequence[int] | DeviceSteps | None) -> int:
    """The number of steps; 0 for those whose numbers are on a device."""
    if isinstance(batch_sizes, DeviceSteps):
        return 0
    return rows.shape[0] if batch_sizes is None else len(batch_sizes)


def _execute(
    path: Path,
    run: Run,
    batch_sizes: Sequence[int] | DeviceSteps | None,
    arrays: Arrays,
    stacked: bool = False,
) -> Results:
    """Run a cell on a path; in a graph that is being traced as an operator, if there is one."""
    rows, name = arrays.rows, path.name
    if name == "compiled" and torch.compiler.is_compiling():
        if batch_sizes is None:
            check_parameters(run, arrays.parameters, rows)
            return custom_operators.execute(run, arrays)
        name = "operations"
    sizes = (rows.shape[1],) * rows.shape[0] if batch_sizes is None else batch_sizes
    if not isinstance(sizes, DeviceSteps) and not sizes[0]:
        name = "operations"  # nothing to compute, and no address to give to a kernel
    run = compiled_path.over(run, sizes, rows)
    if name == "compiled":
        if "torch._dynamo" in sys.modules:  # torch.compile may be looking at each function
            return untraced(compiled_path.execute, run, arrays, stacked)
        return compiled_path.execute(run, arrays, stacked)
    function = operations_path.execute
    if name == "vendor":
        function = (padded_run if isinstance(sizes, DeviceSteps) else vendor_path).execute
    if rows.dim() == 2:
        return function(run, arrays)
    output, last = function(run, arrays._replace(rows=rows.flatten(0, 1)))
    return output.unflatten(0, rows.shape[:2]), last
