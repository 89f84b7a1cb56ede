"""Run a cell over sequences with the kernels of a target, with our own derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyrnn.errors import ArrayError
from anyrnn.kernels.run import Array, ArrayInterface, Arrays, Run, Slot
from anyrnn.kernels.target import Target, target_for
from anyrnn.torch import operations_path
from anyrnn.torch.tensors import DTYPES, TYPES, Results, empty, problem, wants_gradient
from anyrnn.torch.torch_ops import TORCH


def array(tensor: Tensor) -> Array:
    """The memory of a tensor as an array."""
    return tensor.detach().numpy()


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., Array]:
    """PyTorch's function on NumPy arrays: its threads are awake already."""

    def computed(*arrays: Array, **bounds: Any) -> Array:
        return function(*(torch.from_numpy(np.asarray(part)) for part in arrays), **bounds).numpy()

    return computed


def _ready(tensors: Sequence[Tensor], slots: Sequence[Slot]) -> tuple[list[Tensor], list[int]]:
    found, starts, kind, dtype = [], [], None, None
    for tensor, slot in zip(tensors, slots, strict=True):
        if slot.dtype is not kind:
            kind = slot.dtype
            dtype = TYPES[kind]
        start = 0
        try:
            if tensor.shape == slot.shape and tensor.dtype is dtype and tensor.is_cpu:
                tensor = tensor.contiguous()
                start = tensor.data_ptr()
        except RuntimeError:  # it is nested or sparse, and has no shape or no memory
            pass
        if not start:
            assert dtype is not None
            wrong = problem(tensor, slot.shape, dtype, torch.device("cpu"))
            raise ArrayError(*slot.name, wrong or "has no memory: its storage was freed")
        found.append(tensor)
        starts.append(start)
    return found, starts


TENSORS = ArrayInterface(
    operations={name: _on_arrays(function) for name, function in TORCH.items()},
    empty=empty,
    ready=_ready,
    address=Tensor.data_ptr,
    view=array,
)
NO_MEMORY = torch.empty(0)


def target_of(tensor: Tensor) -> Target:
    """The target of the device of a tensor."""
    target = target_for(tensor.device.type)
    assert target is not None, "a path is chosen before it is taken"
    return target


def arrays_of(run: Run, seed: Tensor | None, rows: Tensor, tensors: Sequence[Tensor]) -> Arrays:
    """What a run is given: after the rows the states and the stored parameters, in order."""
    count = len(run.cell.states)
    parameters = dict(zip(run.cell.parameter_names, tensors[count:], strict=True))
    return Arrays(TENSORS, rows, tensors[:count], parameters, seed)


class _Recorded(torch.autograd.Function):
    """A run as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        run: Run,
        seed: Tensor | None,
        leading: Sequence[int] | None,
        rows: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        arrays = arrays_of(run, seed, rows, tensors)
        output, last, residuals = target_of(rows).record(run, arrays)
        if leading is not None:
            output = output.view(*leading, -1)
        results, ctx.counters = _separate([output, *last], residuals.values())
        ctx.run, ctx.seed, ctx.names = run, seed, tuple(residuals)
        ctx.whole = leading is not None
        ctx.save_for_backward(rows, *tensors, *residuals.values())
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        run: Run = ctx.run
        (rows, *rest), (output, *last) = ctx.saved_tensors, gradients
        if ctx.whole:
            gradients = output.reshape(run.steps.rows, output.shape[-1]), *last
        count = len(run.cell.states)
        number = count + len(run.cell.parameters)
        arrays = arrays_of(run, ctx.seed, rows, rest[:number])
        several = not all(map(torch._C._has_storage, gradients))  # gradients, under vmap
        if several or torch.is_grad_enabled():
            return None, None, None, *_again(run, arrays, gradients)
        x_needed, *needs = ctx.needs_input_grad[3:]
        residuals = dict(zip(ctx.names, rest[number:], strict=True))
        try:
            if any(counter._version for counter in ctx.counters):
                _, _, residuals = target_of(rows).record(run, arrays)
            wanted = (x_needed, *needs[count:])
            x, states, parameters = target_of(rows).backward(
                run, arrays, residuals, gradients, wanted
            )
        except ArrayError as error:
            changed = f"{error.problem}, as in the forward pass; it was changed since then"
            raise ArrayError(error.kind, run.name_of(error.name), changed) from None
        return None, None, None, x, *states, *map(parameters.get, run.cell.parameter_names)


def _separate(
    arrays: Sequence[Tensor], saved: Iterable[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The results of a run, which are no views, and count changes apart from what is saved; and for
    those that are rows of what is saved, tensors that count with them, without memory.
    """
    read = {id(tensor if tensor._base is None else tensor._base) for tensor in saved}
    results, counters = [], []
    for array in arrays:
        base = array._base
        shared = id(array if base is None else base) in read
        if shared or base is not None:
            array = array.data
        if shared:
            counters.append(array.detach())
            counters[-1].data = NO_MEMORY
        results.append(array)
    return results, counters


def _again(run: Run, arrays: Arrays, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The derivative as an expression, to be differentiated or for several gradients at a time: run
    again in PyTorch operations.
    """
    inputs = arrays.differentiable
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    twice = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        output, last = operations_path.execute(run, arrays)
        found = torch.autograd.grad(
            [output, *last], wanted, list(gradients), create_graph=twice, allow_unused=True
        )
    given = iter(found)
    return tuple(next(given) if tensor.requires_grad else None for tensor in inputs)


def over(run: Run, batch_sizes: Sequence[int], rows: Tensor) -> Run:
    """The run over so many rows at each step, with the threads of PyTorch."""
    dtype = DTYPES.get(rows.dtype)
    return run.over(tuple(batch_sizes), dtype, torch.get_num_threads())


def execute(run: Run, arrays: Arrays) -> Results:
    """Run a cell over sequences of falling lengths.

    Args:
        run: What to run, with its steps.
        arrays: What it is given; its rows may be (time, batch, input) too.

    Returns:
        The outputs, laid out as the inputs, and the last states, each (batch, size).

    Raises:
        ArrayError: A tensor is not as the cell has it.
    """
    rows, leading = arrays.rows, None
    if rows.dim() == 3:
        leading, rows = rows.shape[:2], rows.reshape(-1, rows.shape[2])
    named = map(arrays.parameters.__getitem__, run.cell.parameter_names)
    tensors = [rows, *arrays.states, *named]
    try:
        if wants_gradient(tensors):
            output, *last = _Recorded.apply(run, arrays.seed, leading, *tensors)  # type: ignore[misc]
        else:
            output, last = target_of(rows).forward(run, Arrays(arrays.interface, rows, *arrays[2:]))
            output = output if leading is None else output.view(*leading, -1)
    except ArrayError as error:
        raise ArrayError(error.kind, run.name_of(error.name), error.problem) from None
    return output, tuple(last)
