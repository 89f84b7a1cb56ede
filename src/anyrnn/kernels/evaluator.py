"""Computes nodes outside a loop with a framework's operations, on arrays of all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import DRAW
from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.schedule.phases import operands

Values = dict[Any, Any]  # by node


class Evaluator:
    """Computes nodes for given parameters and sizes.

    Args:
        cell: The cell.
        parameters: The stored parameters by name.
        sizes: The named sizes as numbers.
        operations: A function for each operation, on a framework's arrays.
    """

    def __init__(
        self,
        cell: Cell,
        parameters: Mapping[str, Any],
        sizes: Mapping[str, int],
        operations: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.parameters = parameters
        self.sizes = sizes
        self.operations = operations
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
                values.update(zip(group, self._together(group, values), strict=True))
                continue
            if node.operation == "random":
                values[node] = values[DRAW](node)
                continue
            if node.operation == "slice":
                arguments += self._numbers(node.attributes[key] for key in ("start", "stop"))
            elif node.operation == "expand":
                arguments.append([rows] * node.type.per_row + self._numbers(node.type.shape))
            values[node] = self.operations[node.operation](*arguments)

    def _numbers(self, sizes: Iterable[Size]) -> list[int]:
        return [size.evaluate(self.sizes) for size in sizes]

    def _together(self, group: Sequence[Node], values: Values) -> Sequence[Any]:
        """The products of neighbouring members of a stored parameter with one vector."""
        members = [node.arguments[0].name for node in group]
        vector = values[group[0].arguments[1]]
        together = self.operations["product"](self._stacked(members), vector)
        rows = [self.rows[member][1] for member in members]
        return together.split([own.stop - own.start for own in rows], -1)

    def _stacked(self, members: Sequence[str]) -> Any:
        """Neighbouring members of a stored parameter."""
        (name, first), (_, last) = self.rows[members[0]], self.rows[members[-1]]
        array = self.parameters[name]
        if (first.start, last.stop) == (0, len(array)):
            return array
        return array[first.start : last.stop]
