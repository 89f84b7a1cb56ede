"""One step of a cell by the shortest way: for streams, and for decoders whose attention has to look
at each step before the next one.

Without a derivative that is a kernel. With one it is torch.nn's operator for a cell that has one:
what autograd takes to have a derivative in Python is more than such a step.

All that a call depends on is looked at here, once. A call that is out of the ordinary goes the
usual way, which computes it or says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from anyrnn.errors import ArrayError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import Arrays, Run, Sizes
from anyrnn.kernels.target import Step, Target, target_for
from anyrnn.torch import precision, vendor_path
from anyrnn.torch.path import is_ordinary
from anyrnn.torch.tensors import (
    DTYPE,
    DTYPES,
    IS_CPU,
    PLAIN,
    REQUIRES_GRAD,
    SHAPE,
    Results,
    changed_since,
    check_parameters,
)

LARGE = 1 << 20  # elements of an LSTM's matrices from which on our kernels are faster

Slot = tuple[tuple[int, ...] | None, torch.dtype]


def single_step(run: Run, arrays: Arrays, recorded: bool = True) -> Results | None:
    """Run a cell for one step by the short way there is for it, if this call can take it.

    Args:
        run: What to run.
        arrays: What it is given: the inputs, (..., batch, input), and the states, each (..., batch,
            size).
        recorded: Whether autograd may follow.

    Returns:
        The outputs, laid out as the inputs, and the new states, as the states; None where
        something is in the way: autograd, another device, a parameter of another shape, ...
    """
    if torch.compiler.is_compiling() or not is_ordinary():
        return None
    rows, states, parameters = arrays[1:4]
    plain = rows.dtype in DTYPES and not torch.is_autocast_enabled("cpu")
    tensors = *parameters.values(), rows, *states
    if torch.is_grad_enabled() and any(map(REQUIRES_GRAD, tensors)):
        return _recorded(run, arrays) if recorded and plain else None
    low = None if plain else precision.low_dtype(rows)
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
def by_vendor(cell: Cell, sizes: Sizes, memory: str) -> str | None:
    """The class of torch.nn whose operator computes a step that autograd follows, as it is faster
    there than our kernels; None if our kernels do.
    """
    kind = vendor_path.mode(cell)
    if kind is None or memory == "low" or "projection" in cell.sizes:
        return None
    matrices = [s.shape_for(dict(sizes)) for s in cell.parameters if s.is_matrix]
    large = sum(rows * columns for rows, columns in matrices) > LARGE
    return None if large and kind == "LSTM" else vendor_path.class_name(cell)


class VendorStep(NamedTuple):
    """A step by torch.nn's operator.

    Attributes:
        run: Computes it.
        shapes: The shapes of the stored parameters by name.
        reads_result: Whether its derivative reads the new state.
    """

    run: vendor_path.Step
    shapes: Mapping[str, tuple[int, ...]]
    reads_result: bool


@lru_cache(maxsize=256)
def _vendor(cell: Cell, sizes: Sizes, memory: str) -> VendorStep | None:
    """The step by torch.nn's operator, if that is to be taken."""
    name = by_vendor(cell, sizes, memory)
    if name is None:
        return None
    shapes = cell.stored_shapes(dict(sizes))
    return VendorStep(vendor_path.step_of(cell), shapes, name == "RNN")


def _recorded(run: Run, arrays: Arrays) -> Results | None:
    """As `single_step`, by torch.nn's operator with its derivative."""
    step = _vendor(run.cell, run.sizes, run.memory)
    if step is None:
        return None
    rows, states, stored = arrays.rows, arrays.states, arrays.parameters
    parameters = [*map(stored.__getitem__, step.shapes)]
    tensors = [rows, *states, *parameters]
    try:
        if not (
            [*map(SHAPE, parameters)] == [*step.shapes.values()]
            and {rows.dtype}.issuperset(map(DTYPE, tensors))
            and PLAIN.issuperset(map(type, tensors))
            and all(map(IS_CPU, tensors))
            and all(map(Tensor.data_ptr, tensors))
        ):
            return None
    except RuntimeError:  # a tensor without a shape or without memory
        return None
    layer = rows.dim() == 3
    if layer:
        flat = [state.flatten(0, 1) for state in states]
        new = step.run(rows.flatten(0, 1), flat, stored)
    else:
        new = step.run(rows, states, stored)
    # every derivative goes through the last state: of an LSTM it is c
    graph: Any = new[-1].grad_fn
    check = partial(_check_again, run, stored, parameters, step.shapes, rows.dtype)
    graph.register_prehook(check)
    # copies where a caller could not change each result in place
    if layer:
        output = torch.stack([new[0]], int(rows.shape[0] != 1))
        return output, tuple(torch.stack([state]) for state in new)
    new = tuple(map(torch.clone, new)) if step.reads_result else new
    return new[0], new


def _check_again(
    run: Run,
    stored: Mapping[str, Tensor],
    parameters: Sequence[Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    gradients: object,
) -> None:
    """Before the derivative, check that parameters are as they were; as for a run of kernels.

    Raises:
        ArrayError: One is not.
    """
    same = [*map(SHAPE, parameters)] == [*shapes.values()]
    if not same or {dtype} != {*map(DTYPE, parameters)}:
        try:
            check_parameters(run, stored, torch.empty(0, dtype=dtype))
        except ArrayError as error:
            raise changed_since(run, error) from None


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
