"""One step of a cell, without a derivative, by the shortest way into a kernel: for streams, where
every microsecond counts.

All that a call depends on is looked at here, once. A call that is out of the ordinary goes the
usual way, which computes it or says what is wrong with it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import Arrays, Run, Sizes
from anyrnn.kernels.target import Step, Target, target_for
from anyrnn.torch import precision
from anyrnn.torch.path import asked, transformed
from anyrnn.torch.tensors import DTYPES, PLAIN, Results

Slot = tuple[tuple[int, ...] | None, torch.dtype]


def single_step(run: Run, arrays: Arrays) -> Results | None:
    """Run a cell for one step by the short way there is for it, if this call can take it.

    Args:
        run: What to run.
        arrays: What it is given: the inputs, (..., batch, input), and the states, each (..., batch,
            size).

    Returns:
        The outputs, laid out as the inputs, and the new states, as the states; None where
        something is in the way: autograd, another device, a parameter of another shape, ...
    """
    if torch.compiler.is_compiling() or asked() or transformed():
        return None
    low = precision.low_dtype(arrays.rows)
    if low is None:
        return enter(run, arrays)
    matrices = [stored.name for stored in run.cell.parameters if stored.is_matrix]
    short = all(arrays.parameters[name].dtype == torch.bfloat16 for name in matrices)
    kept = matrices if short and precision.operand(low) else ()
    found = enter(*precision.widened(run, low, arrays, kept))
    return None if found is None else precision.cast_results(run, low, arrays, found)


def enter(run: Run, arrays: Arrays) -> Results | None:
    """As `single_step`, for tensors that plain PyTorch computes with. Where products round what
    they multiply to bfloat16, all matrices may be of that type.
    """
    rows, states, parameters, operand = arrays.rows, arrays.states, arrays.parameters, run.operand
    dtype, batch, threads = rows.dtype, states[0].shape[-2], torch.get_num_threads()
    short = operand is not None and torch.bfloat16 in {p.dtype for p in parameters.values()}
    key = target_for("cpu"), run.cell, run.sizes, batch, dtype, threads, operand, short
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
