"""One step of a cell by the shortest way: for streams, and for decoders whose attention has to look
at each step before the next one.

Without a derivative that is a kernel. With one it is torch.nn's operator, if it has the cell, where
that is faster: a module for single steps keeps no calls, and a layer's matrices may be large.

All that a call depends on is looked at here, once. A call that is out of the ordinary goes the
usual way, which computes it or says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from anyrnn.errors import ArrayError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import Arrays, Run, Sizes
from anyrnn.kernels.target import Target, target_for
from anyrnn.torch import precision, vendor_path
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.path import is_ordinary
from anyrnn.torch.tensors import (
    DTYPE,
    DTYPES,
    IS_CPU,
    PLAIN,
    REQUIRES_GRAD,
    SHAPE,
    Results,
    address_reader,
    changed_since,
    check_parameters,
    dense,
    list_maker,
)

LARGE = 1 << 20  # elements of an LSTM's matrices from which on our kernels are faster
LARGE_GATE = 1 << 16  # of the matrices of one gate, from which on the operators of others are


def single_step(
    run: Run,
    rows: Tensor,
    states: Sequence[Tensor],
    stored: Sequence[Any],
    recorded: bool = True,
    out: Results | None = None,
) -> Results | None:
    """Run a cell for one step by the short way there is for it, if this call can take it.

    Args:
        run: What to run.
        rows: The inputs, (..., batch, input).
        states: The states, each (..., batch, size).
        stored: The stored parameters, in the cell's order.
        recorded: Whether autograd may follow.
        out: Where to write the results; then not with a derivative, nor in mixed precision.

    Returns:
        The outputs, laid out as the inputs, and the new states, as the states; None where
        something is in the way: autograd, another device, a parameter of another shape, ...
    """
    if torch.compiler.is_compiling() or not is_ordinary() or not rows.is_cpu:
        return None
    tensors = [rows, *states, *stored]
    if not PLAIN.issuperset(map(type, tensors)):
        return None
    plain = rows.dtype in DTYPES and not torch.is_autocast_enabled("cpu")
    if torch.is_grad_enabled() and any(map(REQUIRES_GRAD, tensors)):
        useful = recorded and plain and out is None
        return _recorded(run, rows, states, stored) if useful else None
    low = None if plain else precision.low_dtype(rows)
    if low is None:
        return enter(run, len(states), tensors, out)
    return None if out is not None else _mixed(run, low, rows, states, stored)


def _mixed(
    run: Run, low: torch.dtype, rows: Tensor, states: Sequence[Tensor], stored: Sequence[Tensor]
) -> Results | None:
    """As `single_step`, with products of a `low` type."""
    cell = run.cell
    arrays = Arrays(TENSORS, rows, states, dict(zip(cell.parameter_names, stored, strict=True)))
    matrices = [stored.name for stored in cell.parameters if stored.is_matrix]
    short = all(arrays.parameters[name].dtype == torch.bfloat16 for name in matrices)
    kept = matrices if short and precision.operand(low) else ()
    run, wide = precision.widened(run, low, arrays, kept)
    found = enter(run, len(states), [wide.rows, *wide.states, *wide.parameters.values()])
    return None if found is None else precision.cast_results(run, low, arrays, found)


def enter(
    run: Run, states: int, tensors: Sequence[Tensor], out: Results | None = None
) -> Results | None:
    """As `single_step`, for tensors of PyTorch's own classes, and no derivative: the rows, so many
    states, the stored parameters. Where products round what they multiply to bfloat16, all matrices
    may be of that type.
    """
    found, rows = target_step(run, tensors), tensors[0]
    if found is None:
        return None
    first = 1 + states
    kind = rows.shape, tensors[1].shape
    known = found.known.get(kind) if out is None else None
    if known is not None:
        starts = known.read([*tensors])
        if starts is not None:
            made = known.make()
            found.run([*starts, *map(Tensor.data_ptr, made)])
            return made[0], tuple(made[1:])
    try:
        if not (
            [*map(DTYPE, tensors)] == found.dtypes
            and [*map(SHAPE, tensors[first:])] == found.shapes
            and all(map(IS_CPU, tensors))
        ):
            return None
        if not all(map(Tensor.is_contiguous, tensors)) or any(map(Tensor.is_neg, tensors)):
            tensors = [*map(dense, tensors)]
        addresses = [*map(Tensor.data_ptr, tensors)]
        if 0 in addresses:
            return None
        if out is not None:
            output, new = out
        else:
            known = known or found.known_kind(tensors, first)
            output, *new = known.make()
    except RuntimeError:  # a tensor without a shape or without memory
        return None
    found.run([*addresses, output.data_ptr(), *map(Tensor.data_ptr, new)])
    if out is not None:
        increment_version((output, *new))
    return output, tuple(new)


@lru_cache(maxsize=256)
def by_vendor(cell: Cell, sizes: Sizes, memory: str, layer: bool = True) -> str | None:
    """The class of torch.nn whose operator computes a step that autograd follows, as it is faster
    there than our kernels; None if our kernels do.

    Args:
        cell: The cell.
        sizes: Its named sizes.
        memory: What is saved for the derivative.
        layer: Whether this is a step of a layer, which keeps calls that come again.
    """
    kind = vendor_path.mode(cell)
    if kind is None or memory == "low" or "projection" in cell.sizes:
        return None
    matrices = [s.shape_for(dict(sizes)) for s in cell.parameters if s.is_matrix]
    if kind == "LSTM":
        ours = layer or sum(rows * columns for rows, columns in matrices) > LARGE
    else:
        gate = dict(sizes)["hidden"] * sum(columns for _, columns in matrices)
        ours = layer and gate <= LARGE_GATE
    return None if ours else vendor_path.class_name(cell)


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
def _vendor(cell: Cell, sizes: Sizes, memory: str, layer: bool) -> VendorStep | None:
    """The step by torch.nn's operator, if that is to be taken."""
    name = by_vendor(cell, sizes, memory, layer)
    if name is None:
        return None
    shapes = cell.stored_shapes(dict(sizes))
    return VendorStep(vendor_path.step_of(cell), shapes, name == "RNN")


def _recorded(
    run: Run, rows: Tensor, states: Sequence[Tensor], given: Sequence[Tensor]
) -> Results | None:
    """As `single_step`, by torch.nn's operator with its derivative."""
    layer = rows.dim() == 3
    step = _vendor(run.cell, run.sizes, run.memory, layer)
    if step is None:
        return None
    stored = dict(zip(run.cell.parameter_names, given, strict=True))
    parameters = [*map(stored.__getitem__, step.shapes)]
    tensors = [rows, *states, *parameters]
    try:
        if not (
            [*map(SHAPE, parameters)] == [*step.shapes.values()]
            and {rows.dtype}.issuperset(map(DTYPE, tensors))
            and all(map(IS_CPU, tensors))
            and all(map(Tensor.data_ptr, tensors))
        ):
            return None
    except RuntimeError:  # a tensor without a shape or without memory
        return None
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


class KnownKind(NamedTuple):
    """Tensors of some shapes that a step has been given before.

    Attributes:
        read: Tells where they begin.
        make: Makes the output and the new states.
    """

    read: Callable[[list[Tensor]], list[int] | None]
    make: Callable[[], list[Tensor]]


@dataclass
class TargetStep:
    """The step of a target, and what it is given.

    Attributes:
        run: Runs it, given addresses.
        output_size: The size of the output.
        dtypes: The type of each tensor: the input, the states, the parameters.
        shapes: Those of the parameters.
        known: The kinds of tensors that it has been given, by the shapes of the input and the first
            state: there are three layouts of the same rows.
    """

    run: Callable[[list[int]], None]
    output_size: int
    dtypes: list[torch.dtype]
    shapes: list[tuple[int, ...]]
    known: dict[Any, KnownKind] = field(default_factory=dict)

    def known_kind(self, tensors: Sequence[Tensor], first: int) -> KnownKind:
        """That of tensors it is given; the parameters begin with the first one."""
        rows, *states = map(SHAPE, tensors[:first])
        made = [(*rows[:-1], self.output_size), *states]
        kind = DTYPES[self.dtypes[0]]
        read = address_reader([rows, *states, *self.shapes], self.dtypes)
        found = KnownKind(read, list_maker(made, [kind] * first))
        self.known[rows, states[0]] = found
        return found


def target_step(run: Run, tensors: Sequence[Tensor]) -> TargetStep | None:
    """The step of a target for the input, the states and perhaps more; None if there is none."""
    operand = run.operand
    short = operand is not None and torch.bfloat16 in {*map(DTYPE, tensors)}
    key = tensors[1].shape[-2], tensors[0].dtype, torch.get_num_threads(), operand, short
    return _prepared(target_for("cpu"), run.cell, run.sizes, *key)


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
) -> TargetStep | None:
    """The step of a target; None where there is none, and where there is nothing to compute."""
    kind, step = DTYPES.get(dtype), None
    if kind is not None and batch and dict(sizes)["input"] and not target.refusal(cell, kind.name):
        step = target.step(Run(cell, sizes, operand=operand).over((batch,), kind, threads), short)
    if step is None:
        return None
    halves = [place.dtype == np.uint16 for place in step.parameters]
    dtypes = [dtype] * (1 + len(cell.states))
    dtypes += [torch.bfloat16 if half else dtype for half in halves]
    shapes = [place.shape for place in step.parameters]
    return TargetStep(step.run, step.output_size, dtypes, shapes)
