"""Run a cell over sequences with the kernels of a target, with our own derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyrnn.errors import ArrayError
from anyrnn.kernels.run import Array, ArrayInterface, Run, Slot
from anyrnn.kernels.target import Target, target_for
from anyrnn.torch import operations_path
from anyrnn.torch.tensors import DTYPES, TYPES, empty, problem, wants_gradient
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
    found, starts = [], []
    for tensor, slot in zip(tensors, slots, strict=True):
        dtype, start = TYPES[slot.dtype], 0
        try:
            if tensor.shape == slot.shape and tensor.dtype is dtype and tensor.is_cpu:
                found.append(tensor.contiguous())
                start = found[-1].data_ptr()
        except RuntimeError:  # it is nested or sparse, and has no shape or no memory
            pass
        if not start:
            wrong = problem(tensor, slot.shape, dtype, torch.device("cpu"))
            raise ArrayError(*slot.name, wrong or "has no memory: its storage was freed")
        starts.append(start)
    return found, starts


TENSORS = ArrayInterface(
    operations={name: _on_arrays(function) for name, function in TORCH.items()},
    empty=empty,
    ready=_ready,
    address=Tensor.data_ptr,
    view=array,
)


def target_of(tensor: Tensor) -> Target:
    """The target of the device of a tensor."""
    target = target_for(tensor.device.type)
    assert target is not None, "a path is chosen before it is taken"
    return target


class _Recorded(torch.autograd.Function):
    """A run as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, seed: Tensor | None, rows: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        count = len(run.cell.states)
        output, last, residuals = target_of(rows).record(
            run, TENSORS, rows, tensors[:count], tensors[count:], seed
        )
        results, ctx.versions = _results((output, *last), residuals.values())
        ctx.run, ctx.seed, ctx.names = run, seed, tuple(residuals)
        ctx.save_for_backward(rows, *tensors, *[tensor.data for tensor in residuals.values()])
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        run: Run = ctx.run
        rows, *rest = ctx.saved_tensors
        count, number = len(run.cell.states), len(run.cell.states) + len(run.cell.parameters)
        several = not all(map(torch._C._has_storage, gradients))  # gradients, under vmap
        if several or torch.is_grad_enabled():
            return None, None, *_again(run, ctx.seed, rows, rest[:number], gradients)
        needs = ctx.needs_input_grad[2:]
        residuals = dict(zip(ctx.names, rest[number:], strict=True))
        try:
            if any(counter._version != version for counter, version in ctx.versions):
                _, _, residuals = target_of(rows).record(
                    run, TENSORS, rows, rest[:count], rest[count:number], ctx.seed
                )
            x, states, parameters = target_of(rows).backward(
                run,
                TENSORS,
                rows,
                residuals,
                rest[count:number],
                gradients,
                (needs[0], *needs[1 + count :]),
                ctx.seed,
            )
        except ArrayError as error:
            changed = f"{error.problem}, as in the forward pass; it was changed since then"
            raise ArrayError(error.kind, run.name_of(error.name), changed) from None
        return None, None, x, *states, *map(parameters.get, run.cell.parameter_names)


def _results(
    arrays: Sequence[Tensor], saved: Iterable[Tensor]
) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, int]]]:
    """The results of a run, which are no views; and of those that are rows of what the derivative
    reads, tensors without that memory that count how often it is changed, and the counts so far.
    """
    read = {id(tensor if tensor._base is None else tensor._base) for tensor in saved}
    versions = []
    for array in arrays:
        if id(array if array._base is None else array._base) in read:
            counter = array.detach()
            counter.data = counter.new_empty(0)
            versions.append((counter, counter._version))
    return tuple(map(Tensor.detach, arrays)), versions


def _again(
    run: Run,
    seed: Tensor | None,
    rows: Tensor,
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """The derivative as an expression, to be differentiated or for several gradients at a time: run
    again in PyTorch operations.
    """
    inputs, count = [rows, *tensors], len(run.cell.states)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    twice = torch.is_grad_enabled()
    parameters = dict(zip(run.cell.parameter_names, tensors[count:], strict=True))
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        output, last = operations_path.execute(run, rows, tensors[:count], parameters, seed)
        found = torch.autograd.grad(
            [output, *last], wanted, list(gradients), create_graph=twice, allow_unused=True
        )
    given = iter(found)
    return tuple(next(given) if tensor.requires_grad else None for tensor in inputs)


def over(run: Run, batch_sizes: Sequence[int], rows: Tensor) -> Run:
    """The run over so many rows at each step, with the threads of PyTorch."""
    dtype = DTYPES.get(rows.dtype)
    return run.over(tuple(batch_sizes), dtype, torch.get_num_threads())


def execute(
    run: Run,
    rows: Tensor,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    seed: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over sequences of falling lengths.

    Args:
        run: What to run, with its steps.
        rows: The inputs of all steps, step after step, (rows of all steps, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters by name.
        seed: The seed of random numbers, (1,), for a cell that draws some.

    Returns:
        The outputs, laid out as the inputs, and the last states, each (batch, size).

    Raises:
        ArrayError: A tensor is not as the cell has it.
    """
    tensors = [*states, *map(parameters.__getitem__, run.cell.parameter_names)]
    count = len(states)
    given = run, TENSORS, rows, tensors[:count], tensors[count:], seed
    try:
        if wants_gradient((rows, *tensors)):
            output, *last = _Recorded.apply(run, seed, rows, *tensors)  # type: ignore[misc]
        else:
            output, last = target_of(rows).forward(*given)
    except ArrayError as error:
        raise ArrayError(error.kind, run.name_of(error.name), error.problem) from None
    return output, tuple(last)
