"""One step of a cell, without a derivative, by the shortest way into a kernel: for streams, where
every microsecond counts.

All that a call depends on is looked at here, once. A call that is out of the ordinary goes the
usual way, which computes it or says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import Run, Sizes
from anyrnn.kernels.target import Step, Target, target_for
from anyrnn.torch import precision
from anyrnn.torch.path import asked, transformed
from anyrnn.torch.tensors import DTYPES

Found = tuple[Tensor, tuple[Tensor, ...]]
Slot = tuple[tuple[int, ...] | None, torch.dtype]
PLAIN = frozenset((Tensor, nn.Parameter))


def single_step(
    cell: Cell,
    sizes: Sizes,
    rows: Tensor,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
) -> Found | None:
    """Run a cell for one step by the short way there is for it, if this call can take it.

    Args:
        cell: The cell.
        sizes: The named sizes, and their numbers.
        rows: The inputs, (..., batch, input).
        states: The states, each (..., batch, size).
        parameters: The stored parameters by name.

    Returns:
        The outputs, laid out as the inputs, and the new states, as the states; None where
        something is in the way: autograd, another device, a parameter of another shape, ...
    """
    if torch.compiler.is_compiling() or asked() or transformed():
        return None
    low = precision.low_dtype(rows)
    if low is None:
        return enter(cell, sizes, rows, states, parameters)
    given, operand = [rows, *states], precision.operand(low)
    x, *before = [tensor.to(precision.compute_dtype(tensor.dtype)) for tensor in given]
    weights = precision.step_parameters(cell, parameters, operand)
    found = enter(cell, sizes, x, before, weights, operand)
    return None if found is None else precision.cast_results(cell, low, given, found)


def enter(
    cell: Cell,
    sizes: Sizes,
    rows: Tensor,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    operand: str | None = None,
) -> Found | None:
    """As `single_step`, for tensors that plain PyTorch computes with. What is multiplied is rounded
    to `operand`; then all matrices may be of bfloat16.
    """
    dtype, batch, threads = rows.dtype, states[0].shape[-2], torch.get_num_threads()
    short = operand is not None and torch.bfloat16 in {p.dtype for p in parameters.values()}
    key = target_for("cpu"), cell, sizes, batch, dtype, threads, operand, short
    step, names, slots = _prepared(*key)
    if step is None:
        return None
    recorded, addresses, kept = torch.is_grad_enabled(), [], []
    tensors = [rows, *states, *map(parameters.__getitem__, names)]
    try:
        for tensor, (shape, kind) in zip(tensors, slots, strict=True):
            plain = type(tensor) in PLAIN and tensor.is_cpu and tensor.dtype is kind
            if not plain or (recorded and tensor.requires_grad):
                return None
            if shape is not None and tensor.shape != shape:
                return None
            kept.append(tensor := tensor.contiguous())
            addresses.append(tensor.data_ptr())
    except RuntimeError:  # a tensor without a shape or without memory
        return None
    if 0 in addresses:
        return None
    output = rows.new_empty(*rows.shape[:-1], step.output_size)
    new = tuple(map(torch.empty_like, kept[1 : 1 + len(states)]))
    step.run([*addresses, output.data_ptr(), *map(Tensor.data_ptr, new)])
    return output, new


@lru_cache(maxsize=256)
def _prepared(
    target: Target,
    cell: Cell,
    sizes: Sizes,
    batch: int,
    dtype: torch.dtype,
    threads: int,
    operand: str | None,
    short: bool,
) -> tuple[Step | None, tuple[str, ...], tuple[Slot, ...]]:
    """The step of a target, the names of the parameters that it reads, and of each tensor, the
    input and the states first, the shape, where callers have not looked at it, and the type. No
    step where there is none, and where there is nothing to compute.
    """
    kind, step = DTYPES.get(dtype), None
    if kind is not None and batch and dict(sizes)["input"] and not target.refusal(cell, kind.name):
        step = target.step(Run(cell, sizes, operand=operand).over((batch,), kind, threads), short)
    if step is None:
        return None, (), ()
    slots: list[Slot] = [(None, dtype)] * (1 + len(cell.states))
    for place in step.parameters:
        half = place.dtype == np.uint16
        slots.append((place.shape, torch.bfloat16 if half else dtype))
    return step, tuple(stored.name for stored in cell.parameters), tuple(slots)
