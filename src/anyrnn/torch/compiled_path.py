"""Run a cell over a sequence with compiled kernels, with our own derivative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anyrnn.errors import ArrayError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.cpu import passes
from anyrnn.kernels.cpu.passes import Call
from anyrnn.kernels.cpu.program.program import steps_of
from anyrnn.kernels.cpu.program.single_step import step
from anyrnn.torch import operations_path
from anyrnn.torch.arrays import DTYPES, TENSORS


def _named(cell: Cell, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {stored.name: tensor for stored, tensor in zip(cell.parameters, tensors, strict=True)}


class _Run(torch.autograd.Function):
    """A run as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, call: Call, rows: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(call.cell.states)
        output, last, saved = passes.record(call, rows, tensors[:count], tensors[count:])
        ctx.call, ctx.names = call, tuple(saved)
        ctx.save_for_backward(rows, output, *tensors, *saved.values())
        return output, *last

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        call, cell = ctx.call, ctx.call.cell
        rows, _, *rest = ctx.saved_tensors
        count = len(cell.states)
        tensors, kept = rest[: count + len(cell.parameters)], rest[count + len(cell.parameters) :]
        several = not all(map(torch._C._has_storage, gradients))  # gradients, under vmap
        if several or torch.is_grad_enabled():
            return _again(ctx, call, rows, tensors, gradients)
        needs = ctx.needs_input_grad[1:]
        asked = [
            stored.name
            for stored, needed in zip(cell.parameters, needs[1 + count :], strict=True)
            if needed
        ]
        output_gradient, *state_gradients = gradients
        try:
            x, states, parameters = passes.backward(
                call,
                rows,
                dict(zip(ctx.names, kept, strict=True)),
                tensors[count:],
                output_gradient,
                state_gradients,
                needs[0],
                asked,
            )
        except ArrayError as error:
            name = f"{error.name} of the cell '{cell.name}'"
            changed = f"{error.problem}, as in the forward pass; it was changed since then"
            raise ArrayError(error.kind, name, changed) from None
        return None, x, *states, *(parameters.get(stored.name) for stored in cell.parameters)


def _again(
    ctx: Any, call: Call, rows: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[Any, ...]:
    """The derivative as an expression, to be differentiated or for several gradients at a time: run
    again in PyTorch operations.
    """
    cell = call.cell
    inputs = [rows, *tensors]
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    twice = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        output, last = operations_path.execute(
            cell,
            rows,
            call.steps.batch_sizes,
            tensors[: len(cell.states)],
            _named(cell, tensors[len(cell.states) :]),
            dict(call.sizes),
            call.reverse,
            call.seed,
        )
        found = torch.autograd.grad(
            [output, *last], wanted, list(gradients), create_graph=twice, allow_unused=True
        )
    given = iter(found)
    return (None, *(next(given) if tensor.requires_grad else None for tensor in inputs))


def call(
    cell: Cell,
    sizes: tuple[tuple[str, int], ...],
    batch_sizes: tuple[int, ...],
    reverse: bool,
    dtype: torch.dtype,
    memory: str,
    seed: Tensor | None = None,
    operand: str | None = None,
) -> Call:
    """A run with the threads and the tensors of PyTorch."""
    return Call(
        cell,
        sizes,
        steps_of(batch_sizes),
        reverse,
        DTYPES[dtype],
        torch.get_num_threads(),
        TENSORS,
        seed,
        memory=memory,
        operand=operand,
    )


def execute(
    cell: Cell,
    rows: Tensor,
    batch_sizes: Sequence[int],
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    reverse: bool = False,
    seed: Tensor | None = None,
    memory: str = "high",
    operand: str | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over sequences of falling lengths; as `anyrnn.torch.execute.execute`. What is
    multiplied is rounded to `operand`.
    """
    names, steps = tuple(sizes.items()), tuple(batch_sizes)
    run = call(cell, names, steps, reverse, rows.dtype, memory, seed, operand)
    tensors = [*states, *(parameters[stored.name] for stored in cell.parameters)]
    if torch.is_grad_enabled() and any(t.requires_grad for t in (rows, *tensors)):
        output, *last = _Run.apply(run, rows, *tensors)  # type: ignore[misc]
        return output, tuple(last)
    output, last = passes.forward(run, rows, tensors[: len(states)], tensors[len(states) :])
    return output, tuple(last)


def single_step(
    cell: Cell,
    rows: Tensor,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: tuple[tuple[str, int], ...],
    operand: str | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """Run a cell for one step, without a derivative; as `anyrnn.torch.execute.single_step`. What is
    multiplied is rounded to `operand`; then all matrices may be of bfloat16.

    Returns:
        The outputs and the new states; None for a cell whose parameters have to be computed from
        others first, and for parameters that are not as the cell has them.
    """
    batch, tensors = states[0].shape[-2], [parameters[stored.name] for stored in cell.parameters]
    short = any(tensor.dtype == torch.bfloat16 for tensor in tensors)
    threads = torch.get_num_threads()
    found = step(cell, sizes, batch, DTYPES[rows.dtype], threads, operand=operand, short=short)
    if not found.possible:
        return None
    given = [rows, *states, *tensors]
    try:
        for tensor, place in zip(tensors, found.parameters, strict=True):
            if tensor.shape != place.shape:
                return None
        given = [tensor.contiguous() for tensor in given]
        addresses = [tensor.data_ptr() for tensor in given]
    except RuntimeError:  # a tensor without a shape or without memory
        return None
    if 0 in addresses:
        return None
    output = rows.new_empty(*rows.shape[:-1], found.output_size)
    new = [torch.empty_like(state) for state in given[1 : 1 + len(states)]]
    found.run([*addresses, output.data_ptr(), *(tensor.data_ptr() for tensor in new)])
    return output, tuple(new)
