"""Selects the operations outside the loop, once for a cell and its sizes.

Products that a stacked parameter serves together are one product, before the loop and after it:
the gates' cotangents lie side by side in one array, so that the gradient of a stacked matrix is one
product of that array, and so is the gradient of the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Gradient
from anyrnn.graph.nodes import Node
from anyrnn.graph.operations import Type
from anyrnn.kernels.cpu.program.segment_operations import (
    AddToGradient,
    Expand,
    GradientOperation,
    Multiply,
    Operate,
    OuterGradients,
    Rows,
    SegmentOperation,
    SumOfProducts,
)
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.neighbours import products_together, runs, side_by_side
from anyrnn.schedule.phases import operands


class OperationSelection:
    """Selects the operations outside the loop of a schedule, for a cell of given sizes.

    Attributes:
        rows: Which rows of which stored parameter each member is.
        columns: Where the values begin and end that lie side by side in one array.
    """

    def __init__(self, cell: Cell, planned: Schedule, sizes: Mapping[str, int]) -> None:
        self.cell, self.planned, self.sizes = cell, planned, sizes
        self.rows: dict[str, Rows] = {
            name: (stored.name, rows.start, rows.stop)
            for stored in cell.parameters
            for name, rows in stored.rows(sizes).items()
        }
        joined = side_by_side(cell, planned)
        edges = [0, *accumulate(self.width(node) for node in joined)]
        self.columns = dict(zip(joined, pairwise(edges), strict=True))

    def width(self, node: Node) -> int:
        """The number of columns of a value."""
        return self._shape(node.type)[-1]

    def _shape(self, type_: Type) -> tuple[int, ...]:
        shape = tuple(size.evaluate(self.sizes) for size in type_.shape)
        return shape or ((1,) if type_.per_row else ())

    def operations(
        self, nodes: Sequence[Node], wanted: Iterable[Node], gradients: Iterable[str]
    ) -> tuple[list[SegmentOperation], list[GradientOperation]]:
        """The operations that compute the values wanted, and those for gradients.

        Args:
            nodes: What can be computed, each after its arguments.
            wanted: The values that are wanted.
            gradients: The stored parameters whose gradients are wanted too.
        """
        last = self._gradients(gradients)
        computes = self._operations_of(nodes)
        needed = {*wanted, *(argument for part in last for argument in part.arguments)}
        for node in reversed(nodes):
            if node in needed and node in computes:
                needed.update(computes[node].arguments)
        chosen = {id(computes[n]): computes[n] for n in nodes if n in needed and n in computes}
        return list(chosen.values()), last

    def _operations_of(self, nodes: Sequence[Node]) -> dict[Node, SegmentOperation]:
        """What computes each node."""
        found: dict[Node, SegmentOperation] = {}
        sums = self._sums_of_products(nodes)
        for group in products_together(self.cell, nodes):
            node = group[0]
            if node in sums:
                terms = tuple(self._runs(sums[node]))
                vectors = tuple(vector for _, joined in terms for vector in joined)
                found[node] = SumOfProducts((node,), vectors, terms)
            elif node.operation == "product" and node.type.per_row:
                found.update(dict.fromkeys(group, self._product(group)))
            else:
                found.update({each: self.operation(each) for each in group})
        return found

    def operation(self, node: Node) -> SegmentOperation:
        """One operation of the graph."""
        if node.operation == "expand":
            return Expand((node,), operands(node), self._shape(node.type))
        bounds = node.bounds(self.sizes)
        return Operate((node,), node.arguments, bounds, self._shape(node.type))

    def _product(self, group: tuple[Node, ...]) -> Multiply:
        """A product, or those of neighbouring members of a stored parameter with one vector."""
        matrix, vector = group[0].arguments
        if matrix.operation != "parameter":
            return Multiply(group, (matrix, vector), None, ((0, self.width(group[0])),))
        rows = [self.rows[node.arguments[0].name] for node in group]
        (stored, first, _), (*_, last) = rows[0], rows[-1]
        columns = tuple((start - first, stop - first) for _, start, stop in rows)
        return Multiply(group, (vector,), (stored, first, last), columns)

    def _sums_of_products(self, nodes: Sequence[Node]) -> dict[Node, list[tuple[str, Node]]]:
        """Sums of products of the transposed members of one stored parameter: of each term the
        member and the vector.
        """
        found: dict[Node, list[tuple[str, Node]]] = {}
        for node in nodes:
            if node.operation == "product" and node.arguments[0].operation == "transpose":
                matrix = node.arguments[0].arguments[0]
                if matrix.operation == "parameter" and node.arguments[1] in self.columns:
                    found[node] = [(matrix.name, node.arguments[1])]
            elif node.operation == "add":
                left, right = (found.get(argument) for argument in node.arguments)
                if left and right and self.rows[left[0][0]][0] == self.rows[right[0][0]][0]:
                    found[node] = left + right
        return found

    def _runs(self, terms: Iterable[tuple[str, Node]]) -> Iterator[tuple[Rows, tuple[Node, ...]]]:
        """Runs of neighbouring members whose vectors lie side by side too: the rows of the stored
        parameter, and the vectors.
        """
        places = self.cell.places

        def follows(one: tuple[str, Node], other: tuple[str, Node]) -> bool:
            ends, starts = self.columns.get(one[1]), self.columns.get(other[1])
            joined = ends is not None and starts is not None and ends[1] == starts[0]
            return joined and places[other[0]][1] == places[one[0]][1] + 1

        for run in runs(sorted(terms, key=lambda term: places[term[0]][1]), follows):
            (stored, start, _), (*_, stop) = self.rows[run[0][0]], self.rows[run[-1][0]]
            yield (stored, start, stop), tuple(vector for _, vector in run)

    def _gradients(self, names: Iterable[str]) -> list[GradientOperation]:
        """What computes the gradients of stored parameters, one operation for the same vectors."""
        found: list[GradientOperation] = []
        together: dict[tuple[Node, ...], dict[Node | None, list[Rows]]] = {}
        for name in names:
            for rows, vectors, other, summed in self._gradient(name):
                if summed:
                    found.append(AddToGradient((), vectors, ((rows,),)))
                else:
                    together.setdefault(vectors, {}).setdefault(other, []).append(rows)
        for vectors, others in together.items():
            parts, arguments = map(tuple, others.values()), (*vectors, *filter(None, others))
            found.append(OuterGradients((), arguments, tuple(parts), vectors, tuple(others)))
        return found

    def _gradient(self, name: str) -> Iterator[tuple[Rows, tuple[Node, ...], Node | None, bool]]:
        """What the gradient of a stored parameter is the sum of: for some of its rows the outer
        products of vectors with others, or the vectors, or what is their sum already.
        """
        stored = next(stored for stored in self.cell.parameters if stored.name == name)
        by_vector: dict[Node | None, list[tuple[str, Node]]] = {}
        for member in stored.members:
            node = self.planned.graph.outputs.get(Gradient(member))
            if node is None:
                continue
            if node.traits.batch_sum and all(argument.type.per_row for argument in node.arguments):
                vector = node.arguments[1] if node.operation == "outer" else None
                by_vector.setdefault(vector, []).append((member, node.arguments[0]))
            else:
                yield self.rows[member], (node,), None, True
        for vector, members in by_vector.items():
            for rows, vectors in self._runs(members):
                yield rows, vectors, vector, False
