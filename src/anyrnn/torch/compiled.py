"""Run a cell over a sequence with compiled kernels, with our own derivative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyrnn.derivative.reverse import PREFIX
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, topological
from anyrnn.kernels.cpu.loop import Loop
from anyrnn.schedule.loop import Schedule, schedule
from anyrnn.schedule.reverse import BEFORE, GRADIENT, Training, training
from anyrnn.torch import operations_path
from anyrnn.torch.outside import Outside, side_by_side

DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
Values = dict[Node, Tensor]

_training = lru_cache(maxsize=256)(training)


@lru_cache(maxsize=256)
def _inference(cell: Cell) -> Schedule:
    return schedule(cell.graph, cell.states, [cell.output])


@lru_cache(maxsize=1024)
def _loop(planned: Schedule, dtype: torch.dtype) -> Loop:
    return Loop(planned, DTYPES[dtype])


@dataclass(frozen=True)
class Call:
    """What a run is besides its tensors.

    Attributes:
        cell: The cell.
        sizes: The named sizes as numbers.
        batch_sizes: The number of rows of each step.
        reverse: Whether it goes from the last step to the first.
    """

    cell: Cell
    sizes: dict[str, int]
    batch_sizes: tuple[int, ...]
    reverse: bool

    @property
    def constant(self) -> bool:
        """Whether every step has the whole batch."""
        return self.batch_sizes[-1] == self.batch_sizes[0]

    @property
    def offsets(self) -> np.ndarray:
        """The first row of each step, and the number of all rows."""
        return np.concatenate([[0], np.cumsum(self.batch_sizes)]).astype(np.int64)


def _leaves(
    call: Call, planned: Schedule, parameters: Mapping[str, Tensor], like: Tensor
) -> Values:
    """The values of parameters, constants and sizes of a schedule."""
    evaluator = operations_path.Evaluator(call.cell, parameters, call.sizes)
    return evaluator.leaves(call.cell, (n for n in planned.graph.nodes() if n.is_leaf), like)


def _outside(call: Call, parameters: Mapping[str, Tensor], values: Values) -> Outside:
    return Outside(call.cell, call.sizes, sum(call.batch_sizes), parameters, values)


def _run_loop(
    planned: Schedule,
    call: Call,
    values: Values,
    states: Mapping[str, Tensor],
    reverse: bool,
    places: Mapping[Node, Tensor],
) -> dict[str, Tensor]:
    """Run the loop; emitted values are added, in their places if they have any, and the last
    states are returned.
    """
    wanted = {node for node in (*planned.carried, *planned.once) if node in values}
    arrays = {node: values[node].detach().numpy() for node in wanted}
    dtype = next(iter(states.values())).dtype
    prepared = _loop(planned, dtype).prepare(
        arrays, call.sizes, call.batch_sizes[0], torch.get_num_threads()
    )
    emitted, last = prepared.run(
        call.offsets,
        arrays,
        {name: state.numpy() for name, state in states.items()},
        reverse,
        {node: tensor.numpy() for node, tensor in places.items()},
    )
    values.update(places)
    for node, array in emitted.items():
        values.setdefault(node, torch.from_numpy(array))
    return {name: torch.from_numpy(array) for name, array in last.items()}


def _before(call: Call, new: Tensor, initial: Tensor) -> Tensor:
    """A state before each step, from the one after each step and the initial one."""
    if call.constant:
        batch = call.batch_sizes[0]
        parts = (new[batch:], initial) if call.reverse else (initial, new[: len(new) - batch])
        return torch.cat(parts)
    blocks = list(new.split(list(call.batch_sizes)))
    previous = []
    for time, size in enumerate(call.batch_sizes):
        earlier = time + 1 if call.reverse else time - 1
        inside = 0 <= earlier < len(blocks)
        block = blocks[earlier] if inside else initial[:0]
        if len(block) < size:
            block = torch.cat([block, initial[len(block) : size]])
        previous.append(block[:size])
    return torch.cat(previous)


def _forward(
    call: Call,
    planned: Schedule,
    rows: Tensor,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
) -> tuple[Values, dict[str, Tensor]]:
    """Run a forward schedule: the values of its results, and the last states."""
    cell = call.cell
    values = _leaves(call, planned, parameters, rows)
    for leaf in planned.graph.leaves("input"):
        values[leaf] = rows
    outside = _outside(call, parameters, values)
    outside.compute(node for node in planned.once if not node.is_leaf)
    outside.compute(planned.before)
    initial = dict(zip(cell.states, states, strict=True))
    last = _run_loop(planned, call, values, initial, call.reverse, {})
    for leaf in planned.graph.leaves("state"):
        needed = any(leaf in node.arguments for node in planned.after)
        if needed or leaf in planned.graph.outputs.values():
            new = values[planned.graph.outputs[leaf.name]]
            values[leaf] = _before(call, new, initial[leaf.name])
    outside.compute(planned.after)
    return values, last


class _Run(torch.autograd.Function):
    """A run as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, call: Call, rows: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        cell = call.cell
        states = tensors[: len(cell.states)]
        parameters = _named(cell, tensors[len(cell.states) :])
        plan = _training(cell)
        values, last = _forward(call, plan.forward, rows, states, parameters)
        outputs = plan.forward.graph.outputs
        output = values[outputs[cell.output]]
        kept = [values[outputs[name]] for name in plan.saved]
        new = {name: values[outputs[name]] for name in _histories(plan)}
        ctx.call, ctx.plan = call, plan
        ctx.names = (list(plan.saved), list(new))
        ctx.save_for_backward(rows, output, *tensors, *kept, *new.values())
        return output, *(last[name] for name in cell.states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        call, plan, cell = ctx.call, ctx.plan, ctx.call.cell
        rows, _, *rest = ctx.saved_tensors
        count = len(cell.states) + len(cell.parameters)
        tensors, rest = rest[:count], rest[count:]
        if torch.is_grad_enabled():  # somebody wants the derivative of the derivative
            return _twice(ctx, call, rows, tensors, gradients)
        saved = dict(zip(ctx.names[0], rest, strict=False))
        new = dict(zip(ctx.names[1], rest[len(saved) :], strict=True))
        states = dict(zip(cell.states, tensors, strict=False))
        parameters = _named(cell, tensors[len(cell.states) :])
        planned = plan.reverse
        values = _leaves(call, planned, parameters, rows)
        for leaf in planned.graph.leaves("input"):
            if leaf.name.startswith(BEFORE):
                name = leaf.name.removeprefix(BEFORE)
                values[leaf] = _before(call, new[name], states[name])
            elif leaf.name.startswith(GRADIENT):
                values[leaf] = gradients[0].contiguous()
            else:
                values[leaf] = saved.get(leaf.name, rows)
        outside = _outside(call, parameters, values)
        outside.compute(node for node in planned.once if not node.is_leaf)
        outside.compute(planned.before)
        initial = {
            PREFIX + name: gradient.contiguous()
            for name, gradient in zip(cell.states, gradients[1:], strict=True)
        }
        places = outside.lay_out(side_by_side(cell, planned), rows)
        last = _run_loop(planned, call, values, initial, not call.reverse, places)
        _states_after(call, planned, values, initial)
        outputs = _wanted(ctx, planned)
        roots = [n.arguments[-1] if outside.direct(n) else n for n in outputs.values()]
        reached = set(topological(roots))
        outside.compute(node for node in planned.after if node in reached)
        results: list[Tensor | None] = [None]
        x = outputs.get(PREFIX + cell.input)
        results.append(None if x is None else values[x])
        results += [last[PREFIX + name] for name in cell.states]
        results += [outside.gradient(stored, outputs) for stored in cell.parameters]
        return tuple(results)


def _wanted(ctx: Any, planned: Schedule) -> dict[str, Node]:
    """The gradients of input and parameters that somebody asks for, by name."""
    cell = ctx.call.cell
    asked = dict(zip(["x", *cell.states], ctx.needs_input_grad[1:], strict=False))
    names = [cell.input] if asked["x"] else []
    needs = ctx.needs_input_grad[2 + len(cell.states) :]
    for stored, needed in zip(cell.parameters, needs, strict=True):
        names += stored.members if needed else ()
    outputs = planned.graph.outputs
    return {PREFIX + name: outputs[PREFIX + name] for name in names if PREFIX + name in outputs}


def _states_after(
    call: Call, planned: Schedule, values: Values, initial: Mapping[str, Tensor]
) -> None:
    """The cotangents that reach each step, where something after the loop needs them."""
    for leaf in planned.graph.leaves("state"):
        if any(leaf in node.arguments for node in planned.after):
            new = values[planned.graph.outputs[leaf.name]]
            flipped = Call(call.cell, call.sizes, call.batch_sizes, not call.reverse)
            values[leaf] = _before(flipped, new, initial[leaf.name])


def _histories(plan: Training) -> list[str]:
    """The states whose value before each step the derivative reads."""
    names = [leaf.name for leaf in plan.reverse.graph.leaves("input")]
    return [name.removeprefix(BEFORE) for name in names if name.startswith(BEFORE)]


def _named(cell: Cell, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {stored.name: tensor for stored, tensor in zip(cell.parameters, tensors, strict=True)}


def _twice(
    ctx: Any, call: Call, rows: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[Any, ...]:
    """The derivative as a differentiable expression: run again in PyTorch operations."""
    cell = call.cell
    inputs = [rows, *tensors]
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    output, last = operations_path.execute(
        cell,
        rows,
        call.batch_sizes,
        tensors[: len(cell.states)],
        _named(cell, tensors[len(cell.states) :]),
        call.sizes,
        call.reverse,
    )
    found = torch.autograd.grad(
        [output, *last], wanted, list(gradients), create_graph=True, allow_unused=True
    )
    given = iter(found)
    return (None, *(next(given) if tensor.requires_grad else None for tensor in inputs))


def execute(
    cell: Cell,
    rows: Tensor,
    batch_sizes: Sequence[int],
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over sequences of falling lengths; as `anyrnn.torch.execute.execute`."""
    call = Call(cell, dict(sizes), tuple(batch_sizes), reverse)
    tensors = [*states, *(parameters[stored.name] for stored in cell.parameters)]
    if torch.is_grad_enabled() and any(t.requires_grad for t in (rows, *tensors)):
        output, *last = _Run.apply(call, rows, *tensors)  # type: ignore[misc]
        return output, tuple(last)
    planned = _inference(cell)
    detached = [tensor.detach() for tensor in tensors]
    values, last_states = _forward(
        call,
        planned,
        rows.detach(),
        detached[: len(states)],
        _named(cell, detached[len(states) :]),
    )
    output = values[planned.graph.outputs[cell.output]]
    return output, tuple(last_states[name] for name in cell.states)
