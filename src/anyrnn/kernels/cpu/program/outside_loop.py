"""What is computed outside the loop, as instructions written once for a cell and its sizes.

Products that a stacked parameter serves together are one product, before the loop and after it:
the gates' cotangents lie side by side in one array, so that the gradient of a stacked matrix is one
product of that array, and so is the gradient of the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from anyrnn.derivative.reverse import PREFIX
from anyrnn.graph.cell import Cell, StoredParameter
from anyrnn.graph.nodes import Node
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.program.instructions import (
    AddToGradient,
    Columns,
    Expand,
    Instruction,
    Multiply,
    MultiplyOne,
    Operate,
    OuterGradients,
    SumOfProducts,
)
from anyrnn.schedule.loop import Schedule
from anyrnn.schedule.normal import operands


class _Member(NamedTuple):
    stored: StoredParameter
    place: int


def side_by_side(cell: Cell, planned: Schedule) -> tuple[Node, ...]:
    """The emitted values in the order in which they should lie side by side in one array."""
    outputs = planned.graph.outputs
    order: dict[Node, None] = {}
    for stored in cell.parameters:
        nodes = [outputs.get(PREFIX + name) for name in stored.members]
        if all(node is not None and node.traits.batch_sum for node in nodes):
            vectors = [node.arguments[0] for node in nodes if node is not None]
            order.update(dict.fromkeys(vector for vector in vectors if vector in planned.emitted))
    return tuple(order)


class Writer:
    """Writes instructions.

    Args:
        cell: The cell.
        planned: The schedule of its step or of its derivative's.
        sizes: The named sizes.

    Attributes:
        columns: Where the values begin and end that lie side by side in one array.
    """

    def __init__(self, cell: Cell, planned: Schedule, sizes: Mapping[str, int]) -> None:
        self.cell, self.planned, self.sizes = cell, planned, sizes
        self.members = {
            name: _Member(stored, index)
            for stored in cell.parameters
            for index, name in enumerate(stored.members)
        }
        self.bounds = {
            stored.name: [bound.evaluate(sizes) for bound in stored.bounds]
            for stored in cell.parameters
        }
        joined = side_by_side(cell, planned)
        edges = [0, *accumulate(self.width(node) for node in joined)]
        self.columns = dict(zip(joined, pairwise(edges), strict=True))

    def width(self, node: Node) -> int:
        """The number of columns of the array of a value."""
        return self._shape(node.type)[-1]

    def _shape(self, type_: Type) -> tuple[int, ...]:
        shape = tuple(size.evaluate(self.sizes) for size in type_.shape)
        return shape or ((1,) if type_.per_row else ())

    def instructions(
        self, nodes: Sequence[Node], wanted: Iterable[Node], gradients: Iterable[str]
    ) -> tuple[list[Instruction], list[AddToGradient | OuterGradients]]:
        """What to do for some values.

        Args:
            nodes: What can be computed, each after its arguments.
            wanted: The values that are wanted.
            gradients: The stored parameters whose gradients are wanted too.

        Returns:
            The instructions for the values, in order, and those for the gradients.
        """
        last = self._gradients(gradients)
        recipes = self._recipes(nodes)
        needed = {*wanted, *(argument for part in last for argument in part.arguments)}
        for node in reversed(nodes):
            if node in needed and node in recipes:
                needed.update(recipes[node].arguments)
        chosen = {id(recipes[n]): recipes[n] for n in nodes if n in needed and n in recipes}
        return list(chosen.values()), last

    def _recipes(self, nodes: Sequence[Node]) -> dict[Node, Instruction]:
        """How to compute each node."""
        found: dict[Node, Instruction] = {}
        sums = self._sums_of_products(nodes)
        for node in nodes:
            if node in sums:
                terms = tuple(self._runs((m, p.arguments[1]) for p, m in sums[node]))
                stored = sums[node][0][1].stored.name
                found[node] = SumOfProducts(node, stored, terms, self.width(node))
            elif node not in found and node.operation == "product" and node.type.per_row:
                if node.arguments[0].operation == "parameter":
                    together = self._products(node, nodes)
                    found.update(dict.fromkeys(together.results, together))
                else:
                    found[node] = MultiplyOne(node, self.width(node))
            elif node not in found:
                found[node] = self.operation(node)
        return found

    def operation(self, node: Node) -> Instruction:
        """One operation."""
        if node.operation == "expand":
            return Expand(node, operands(node), self._shape(node.type))
        bounds = {
            key: value.evaluate(self.sizes)
            for key, value in node.attributes.items()
            if isinstance(value, Size)
        }
        return Operate(node, node.arguments, bounds, self._shape(node.type))

    def _products(self, node: Node, nodes: Sequence[Node]) -> Multiply:
        """A product, and with it those of the neighbouring members with the same vector."""
        vector = node.arguments[1]
        own = self.members[node.arguments[0].name]
        together = {own.place: node}
        for other in nodes:
            if other.operation == "product" and other.arguments[1] is vector:
                member = self.members.get(other.arguments[0].attributes.get("name", ""))
                if member is not None and member.stored is own.stored:
                    together[member.place] = other
        first = last = own.place
        while first - 1 in together:
            first -= 1
        while last + 1 in together:
            last += 1
        bounds = self.bounds[own.stored.name]
        start = bounds[first]
        parts = {
            together[index]: (bounds[index] - start, bounds[index + 1] - start)
            for index in range(first, last + 1)
        }
        return Multiply(own.stored.name, start, bounds[last + 1], vector, parts)

    def _sums_of_products(self, nodes: Sequence[Node]) -> dict[Node, list[tuple[Node, _Member]]]:
        """Sums of products of the transposed members of one stored parameter: their terms."""
        found: dict[Node, list[tuple[Node, _Member]]] = {}
        for node in nodes:
            if node.operation == "product" and node.arguments[0].operation == "transpose":
                matrix = node.arguments[0].arguments[0]
                if matrix.operation == "parameter" and node.arguments[1] in self.columns:
                    found[node] = [(node, self.members[matrix.name])]
            elif node.operation == "add":
                left, right = (found.get(argument) for argument in node.arguments)
                if left and right and left[0][1].stored is right[0][1].stored:
                    found[node] = left + right
        return found

    def _runs(self, members: Iterable[tuple[_Member, Node]]) -> Iterator[tuple[int, int, Columns]]:
        """Stretches of neighbouring members whose vectors lie side by side too: the rows of the
        stored parameter, and the vectors.
        """
        run: list[tuple[_Member, Node]] = []
        for member, vector in sorted(members, key=lambda pair: pair[0].place):
            if run and not (
                member.place == run[-1][0].place + 1
                and vector in self.columns
                and run[-1][1] in self.columns
                and self.columns[run[-1][1]][1] == self.columns[vector][0]
            ):
                yield self._stretch(run)
                run = []
            run.append((member, vector))
        if run:
            yield self._stretch(run)

    def _stretch(self, run: list[tuple[_Member, Node]]) -> tuple[int, int, Columns]:
        stored, first = run[0][0]
        bounds = self.bounds[stored.name]
        vectors = tuple(vector for _, vector in run)
        columns = Columns(vectors)
        if len(vectors) > 1:
            columns = Columns(vectors, self.columns[vectors[0]][0], self.columns[vectors[-1]][1])
        return bounds[first], bounds[run[-1][0].place + 1], columns

    def _gradients(self, names: Iterable[str]) -> list[AddToGradient | OuterGradients]:
        """How to compute the gradients of stored parameters: what comes from the same vectors is
        computed together.
        """
        found: list[AddToGradient | OuterGradients] = []
        together: dict[Columns, dict[Node | None, list[tuple[str, int, int]]]] = {}
        for name in names:
            for start, stop, columns, other, summed in self._gradient(name):
                if summed:
                    found.append(AddToGradient(name, start, stop, columns, summed=True))
                else:
                    others = together.setdefault(columns, {})
                    others.setdefault(other, []).append((name, start, stop))
        for columns, others in together.items():
            if list(others) == [None]:
                found += [AddToGradient(*part, columns) for part in others[None]]
                continue
            _, start, stop = next(iter(others.values()))[0]
            wide = tuple((other, self.width(other)) if other else None for other in others)
            parts = tuple(map(tuple, others.values()))
            found.append(OuterGradients(columns, stop - start, wide, parts))
        return found

    def _gradient(self, name: str) -> Iterator[tuple[int, int, Columns, Node | None, bool]]:
        """What the gradient of a stored parameter is the sum of: for some of its rows the outer
        products of vectors with others, or the vectors, or what is their sum already.
        """
        stored = next(stored for stored in self.cell.parameters if stored.name == name)
        by_vector: dict[Node | None, list[tuple[_Member, Node]]] = {}
        for index, member in enumerate(stored.members):
            node = self.planned.graph.outputs.get(PREFIX + member)
            if node is None:
                continue
            if node.traits.batch_sum and all(argument.type.per_row for argument in node.arguments):
                vector = node.arguments[1] if node.operation == "outer" else None
                found = by_vector.setdefault(vector, [])
                found.append((_Member(stored, index), node.arguments[0]))
            else:
                start, stop = self.bounds[name][index : index + 2]
                yield start, stop, Columns((node,)), None, True
        for vector, members in by_vector.items():
            for start, stop, columns in self._runs(members):
                yield start, stop, columns, vector, False
