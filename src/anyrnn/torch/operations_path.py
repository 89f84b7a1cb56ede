"""Run a cell over a sequence in PyTorch operations.

`execute` is the interface that every way to run a cell implements: rows of all steps in one tensor,
the number of rows of each step, initial states in, last states out. Here the derivative is
PyTorch's own, to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node
from anyrnn.graph.randomness import EVERY_STEP
from anyrnn.graph.sizes import Size
from anyrnn.schedule.plan import Instruction, plan
from anyrnn.torch.operations import TORCH
from anyrnn.torch.randomness import uniform

Values = dict[Node, Tensor]


class Evaluator:
    """Computes instructions for given parameters and sizes."""

    def __init__(
        self,
        cell: Cell,
        parameters: Mapping[str, Tensor],
        sizes: Mapping[str, int],
        like: Tensor,
    ) -> None:
        self.parameters = parameters
        self.sizes = sizes
        self.like = like
        self.draw: Callable[[Node], Tensor] | None = None  # of a cell that draws random numbers
        self.bounds = {
            stored.name: [bound.evaluate(sizes) for bound in stored.bounds]
            for stored in cell.parameters
        }

    def leaves(self, cell: Cell, leaves: Iterable[Node]) -> Values:
        """The values of parameters, constants and sizes."""
        places = {
            name: (stored.name, index)
            for stored in cell.parameters
            for index, name in enumerate(stored.members)
        }
        values: Values = {}
        for leaf in leaves:
            if leaf.operation == "parameter":
                name, index = places[leaf.name]
                start, stop = self.bounds[name][index : index + 2]
                tensor = self.parameters[name]
                if (start, stop) != (0, len(tensor)):
                    tensor = tensor[start:stop]
                values[leaf] = tensor if leaf.type.shape else tensor[0]
            elif leaf.operation == "constant":
                values[leaf] = self.like.new_tensor(leaf.attributes["value"])
            elif leaf.operation == "size":
                number = leaf.attributes["size"].evaluate(self.sizes)
                values[leaf] = self.like.new_tensor(float(number))
        return values

    def run(self, instructions: Iterable[Instruction], values: Values) -> None:
        """Compute instructions, adding their results to the values."""
        for instruction in instructions:
            node = instruction.nodes[0]
            if instruction.stacked is not None and len(instruction.nodes) > 1:
                self._products(instruction, values)
                continue
            if node.operation == "random":
                assert self.draw is not None
                values[node] = self.draw(node)
                continue
            arguments = [values[argument] for argument in node.arguments]
            if node.operation == "slice":
                bounds = (node.attributes[key] for key in ("start", "stop"))
                values[node] = TORCH["slice"](*arguments, *self._numbers(bounds))
            else:
                values[node] = TORCH[node.operation](*arguments)

    def _numbers(self, sizes: Iterable[Size]) -> list[int]:
        return [size.evaluate(self.sizes) for size in sizes]

    def _products(self, instruction: Instruction, values: Values) -> None:
        assert instruction.stacked is not None
        bounds = self.bounds[instruction.stacked.name]
        edges = bounds[instruction.first : instruction.first + len(instruction.nodes) + 1]
        matrix = self.parameters[instruction.stacked.name]
        if edges[-1] - edges[0] < len(matrix):
            matrix = matrix[edges[0] : edges[-1]]
        together = TORCH["product"](matrix, values[instruction.nodes[0].arguments[1]])
        lengths = [stop - start for start, stop in pairwise(edges)]
        values.update(zip(instruction.nodes, together.split(lengths, dim=-1), strict=True))


def execute(
    cell: Cell,
    rows: Tensor,
    batch_sizes: Sequence[int],
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    reverse: bool = False,
    seed: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over sequences of falling lengths.

    Args:
        cell: The cell.
        rows: The inputs of all steps, step after step, (sum of batch_sizes, input).
        batch_sizes: The number of rows of each step, never rising: a sequence that has ended is
            left out.
        states: The initial states, each (batch, size).
        parameters: The stored parameters by name.
        sizes: The named sizes as numbers.
        reverse: From the last step to the first, each sequence from its own end.
        seed: What random numbers follow from, for a cell that draws some.

    Returns:
        The outputs, laid out as the inputs, and the last states, each (batch, size).
    """
    planned = plan(cell)
    evaluator = Evaluator(cell, parameters, sizes, rows)
    graph = planned.graph
    values: Values = evaluator.leaves(cell, [n for n in graph.nodes() if n.is_leaf])
    input_leaf = next(iter(graph.leaves("input")), None)
    if input_leaf is not None:
        values[input_leaf] = rows
    state_leaves = {leaf.name: leaf for leaf in graph.leaves("state")}
    evaluator.run(planned.once, values)
    evaluator.run(planned.sequence, values)
    carried = [values[node].split(list(batch_sizes)) for node in planned.carried]

    current = list(states)
    ended: list[list[Tensor]] = [
        [] for _ in states
    ]  # rows of sequences that are over, or not begun
    if reverse:
        ended = [[state] for state in states]
        current = [state[:0] for state in states]
    outputs: list[Tensor] = [rows] * len(batch_sizes)
    order = range(len(batch_sizes))
    for time in reversed(order) if reverse else order:
        current = _resize(current, ended, batch_sizes[time], reverse)
        for node, parts in zip(planned.carried, carried, strict=True):
            values[node] = parts[time]
        for name, state in zip(cell.states, current, strict=True):
            if name in state_leaves:
                values[state_leaves[name]] = state
        if seed is not None:
            evaluator.draw = partial(_draw, seed, time, batch_sizes[time], sizes, rows)
        evaluator.run(planned.step, values)
        outputs[time] = values[graph.outputs[cell.output]]
        current = [values[graph.outputs[name]] for name in cell.states]
    last = tuple(
        torch.cat([state, *reversed(parts)]) if parts and not reverse else state
        for state, parts in zip(current, ended, strict=True)
    )
    return torch.cat(outputs), last


def _draw(
    seed: Tensor, step: int, rows: int, sizes: Mapping[str, int], like: Tensor, node: Node
) -> Tensor:
    """The random numbers of a node at a step."""
    when = step if node.attributes["every_step"] else EVERY_STEP
    units = node.type.shape[0].evaluate(sizes)
    return uniform(seed, node.attributes["stream"], when, rows, units).to(like)


def _resize(
    states: list[Tensor], ended: list[list[Tensor]], size: int, reverse: bool
) -> list[Tensor]:
    """The states of the rows of a step: rows that end are put aside, rows that begin are added."""
    if len(states[0]) == size:
        return states
    if reverse:
        return [
            torch.cat([state, initial[len(state) : size]]) if len(state) else initial[:size]
            for state, (initial,) in zip(states, ended, strict=True)
        ]
    for state, parts in zip(states, ended, strict=True):
        parts.append(state[size:])
    return [state[:size] for state in states]
