"""Run a cell over sequences in PyTorch operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import DRAW, drawing, evaluate
from anyrnn.graph.nodes import Node
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.sizes import Size
from anyrnn.kernels.run import Arrays, Run
from anyrnn.schedule.build import place_operations
from anyrnn.schedule.neighbours import products_together
from anyrnn.schedule.phases import operands
from anyrnn.torch.tensors import Results, check_parameters
from anyrnn.torch.torch_ops import TORCH, uniform

Values = dict[Any, Any]  # by node


class Evaluator:
    """Computes nodes for given parameters and sizes."""

    def __init__(
        self, cell: Cell, parameters: Mapping[str, Tensor], sizes: Mapping[str, int]
    ) -> None:
        self.parameters = parameters
        self.sizes = sizes
        self.rows = {
            name: (stored.name, rows)
            for stored in cell.parameters
            for name, rows in stored.rows(sizes).items()
        }

    def run(self, groups: Iterable[Sequence[Node]], values: Values, rows: int = 0) -> None:
        """Compute groups of nodes, adding their results to the values.

        Args:
            groups: Each a node, or products that are computed together.
            values: The values of leaves and of nodes before; and what draws random numbers.
            rows: The number of rows of what has a value for each row.
        """
        for group in groups:
            node, *others = group
            arguments: list[Any] = [values[argument] for argument in operands(node)]
            if others:
                values.update(zip(group, self._products(group, arguments[1]), strict=True))
                continue
            if node.operation == "random":
                values[node] = values[DRAW](node)
                continue
            if node.operation == "slice":
                arguments += self._numbers(node.attributes[key] for key in ("start", "stop"))
            elif node.operation == "expand":
                arguments.append([rows] * node.type.per_row + self._numbers(node.type.shape))
            values[node] = TORCH[node.operation](*arguments)

    def _numbers(self, sizes: Iterable[Size]) -> list[int]:
        return [size.evaluate(self.sizes) for size in sizes]

    def _products(self, group: Sequence[Node], vector: Tensor) -> tuple[Tensor, ...]:
        members = [node.arguments[0].name for node in group]
        together = TORCH["product"](self._stacked(members), vector)
        rows = [self.rows[member][1] for member in members]
        return together.split([own.stop - own.start for own in rows], dim=-1)

    def _stacked(self, members: Sequence[str]) -> Tensor:
        """Neighbouring members of a stored parameter."""
        (name, first), (_, last) = self.rows[members[0]], self.rows[members[-1]]
        tensor = self.parameters[name]
        if (first.start, last.stop) == (0, len(tensor)):
            return tensor
        return tensor[first.start : last.stop]


def execute(run: Run, arrays: Arrays) -> Results:
    """Run a cell over sequences of falling lengths; as `anyrnn.torch.compiled_path.execute`, with
    PyTorch's own derivative, to any order.

    Raises:
        ArrayError: A parameter is not as the cell has it.
    """
    rows, states, seed = arrays.rows, arrays.states, arrays.seed
    check_parameters(run, arrays.parameters, rows)
    cell, sizes, batch_sizes = run.cell, dict(run.sizes), run.steps.batch_sizes
    placement = place_operations(cell)
    once, before, loop = _groups(cell)
    evaluator = Evaluator(cell, arrays.parameters, sizes)
    graph = placement.graph
    given = {**split_parameters(cell, arrays.parameters, sizes), cell.input: rows}
    leaves = [n for n in graph.nodes() if n.is_leaf and n.operation != "state"]
    values: Values = evaluate(
        leaves, given, sizes, None, TORCH, lambda number, _: rows.new_tensor(number)
    )
    state_leaves = {leaf: cell.states.index(leaf.name) for leaf in graph.leaves("state")}
    evaluator.run(once, values)
    evaluator.run(before, values, len(rows))
    output = graph.outputs[cell.output]
    hoisted = {output}.intersection([*graph.leaves("input"), *placement.before])
    hoisted.update(placement.loop_inputs)
    loop_inputs = {node: values[node].split(list(batch_sizes)) for node in hoisted}

    def numbers(*given: Any) -> Tensor:
        return uniform(*given).to(rows)

    current = list(states)
    ended: list[list[Tensor]] = [[] for _ in states]  # rows of sequences over, or not begun
    if run.reverse:
        ended = [[state] for state in states]
        current = [state[:0] for state in states]
    outputs: list[Tensor] = [rows] * len(batch_sizes)
    order = range(len(batch_sizes))
    for time in reversed(order) if run.reverse else order:
        current = _resize(current, ended, batch_sizes[time], run.reverse)
        values.update({node: parts[time] for node, parts in loop_inputs.items()})
        values.update({leaf: current[place] for leaf, place in state_leaves.items()})
        if seed is not None:
            values[DRAW] = drawing(seed, time, batch_sizes[time], sizes, numbers)
        evaluator.run(loop, values, batch_sizes[time])
        outputs[time] = values[output]
        current = [values[graph.outputs[name]] for name in cell.states]
    last = tuple(
        torch.cat([state, *reversed(parts)]) if parts and not run.reverse else state
        for state, parts in zip(current, ended, strict=True)
    )
    return torch.cat(outputs), last


@lru_cache(maxsize=256)
def _groups(cell: Cell) -> list[list[tuple[Node, ...]]]:
    """What is computed together: once, before the loop and in it."""
    placement = place_operations(cell)
    phases = placement.once, placement.before, placement.loop
    return [products_together(cell, nodes) for nodes in phases]


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
