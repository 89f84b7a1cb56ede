"""What is computed outside the loop, for the rows of all steps at a time, in large products.

Products that a stacked parameter serves together are one product, before the loop and after it:
the gates' cotangents lie side by side in one array, so that the gradient of a stacked matrix is one
product of that array, and so is the gradient of the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anyrnn.derivative.reverse import PREFIX
from anyrnn.graph.cell import Cell, StoredParameter
from anyrnn.graph.nodes import Node
from anyrnn.graph.operations import Type
from anyrnn.schedule.loop import Schedule
from anyrnn.schedule.normal import operands
from anyrnn.torch.operations import TORCH


@dataclass(frozen=True)
class Member:
    """A matrix of a stored parameter: which parameter, and which of its members."""

    stored: StoredParameter
    index: int


def _members(cell: Cell) -> dict[str, Member]:
    return {
        name: Member(stored, index)
        for stored in cell.parameters
        for index, name in enumerate(stored.members)
    }


def _outers(cell: Cell, planned: Schedule) -> dict[str, list[Node]]:
    """The vectors whose outer products are the gradients of a stored parameter's members."""
    outputs = planned.graph.outputs
    found = {}
    for stored in cell.parameters:
        nodes = [outputs.get(PREFIX + name) for name in stored.members]
        if all(node is not None and node.operation in ("outer", "batch_sum") for node in nodes):
            found[stored.name] = [node.arguments[0] for node in nodes if node is not None]
    return found


def side_by_side(cell: Cell, planned: Schedule) -> tuple[Node, ...]:
    """The emitted values in the order in which they should lie side by side in one array."""
    order: dict[Node, None] = {}
    for vectors in _outers(cell, planned).values():
        order.update(dict.fromkeys(vector for vector in vectors if vector in planned.emitted))
    return tuple(order)


class Outside:
    """Computes nodes outside the loop.

    Args:
        cell: The cell.
        sizes: The named sizes.
        rows: The number of rows of all steps.
        parameters: The stored parameters.
        values: The values known so far; results are added.
    """

    def __init__(
        self,
        cell: Cell,
        sizes: Mapping[str, int],
        rows: int,
        parameters: Mapping[str, Tensor],
        values: dict[Node, Tensor],
    ) -> None:
        self.sizes, self.rows, self.parameters, self.values = sizes, rows, parameters, values
        self.members = _members(cell)
        self.bounds = {
            stored.name: [bound.evaluate(sizes) for bound in stored.bounds]
            for stored in cell.parameters
        }
        self.joined: Tensor | None = None
        self.columns: dict[Node, tuple[int, int]] = {}

    def lay_out(self, nodes: Sequence[Node], like: Tensor) -> dict[Node, Tensor]:
        """Make an array in which values lie side by side, and give out the columns of each."""
        stop = 0
        for node in nodes:
            start, stop = stop, stop + self._shape(node.type)[-1]
            self.columns[node] = (start, stop)
        self.joined = like.new_empty(self.rows, stop)
        return {node: self.joined[:, start:stop] for node, (start, stop) in self.columns.items()}

    def compute(self, nodes: Iterable[Node]) -> None:
        """Compute nodes, given in an order in which each comes after its arguments."""
        nodes = [node for node in nodes if node not in self.values]
        groups = self._groups(nodes)
        inner = {part for group in groups.values() for part, _ in group[1:]}
        inner |= {n for root in groups for n in _chain(root, groups[root])} - set(groups)
        for node in nodes:
            if node in self.values or (node in inner and node.operation in ("add", "product")):
                continue
            if node in groups:
                self.values[node] = self._sum_of_products(node, groups[node])
            elif node.operation == "product" and node.arguments[0].operation == "parameter":
                self._products(node, nodes)
            else:
                self.values[node] = self._one(node)

    def _one(self, node: Node) -> Tensor:
        arguments = [self.values[argument] for argument in operands(node)]
        if node.operation == "expand":
            return arguments[0].expand(self._shape(node.type))
        if node.operation == "slice":
            bounds = [node.attributes[key].evaluate(self.sizes) for key in ("start", "stop")]
            return TORCH["slice"](*arguments, *bounds)
        if node.operation == "outer" and arguments[0].dim() == arguments[1].dim() == 2:
            return arguments[0].t() @ arguments[1]
        return TORCH[node.operation](*arguments)

    def _shape(self, type_: Type) -> list[int]:
        rows = [self.rows] if type_.per_row else []
        shape = [size.evaluate(self.sizes) for size in type_.shape]
        return rows + (shape or ([1] if type_.per_row else []))

    def _products(self, node: Node, nodes: Sequence[Node]) -> None:
        """A product, and with it those of the neighbouring members with the same vector."""
        vector = node.arguments[1]
        own = self.members[node.arguments[0].name]
        together = {own.index: node}
        for other in nodes:
            if other.operation == "product" and other.arguments[1] is vector:
                member = self.members.get(other.arguments[0].attributes.get("name", ""))
                if member is not None and member.stored is own.stored:
                    together[member.index] = other
        first = last = own.index
        while first - 1 in together:
            first -= 1
        while last + 1 in together:
            last += 1
        bounds = self.bounds[own.stored.name]
        matrix = self.parameters[own.stored.name][bounds[first] : bounds[last + 1]]
        product = TORCH["product"](matrix, self.values[vector])
        for index in range(first, last + 1):
            start, stop = (bounds[index + more] - bounds[first] for more in (0, 1))
            self.values[together[index]] = product[..., start:stop]

    def _groups(self, nodes: Sequence[Node]) -> dict[Node, list[tuple[Node, Member]]]:
        """Sums of products of the transposed members of one stored parameter: their terms."""
        found: dict[Node, list[tuple[Node, Member]]] = {}
        for node in nodes:
            if node.operation == "product" and node.arguments[0].operation == "transpose":
                matrix = node.arguments[0].arguments[0]
                if matrix.operation == "parameter" and node.arguments[1] in self.columns:
                    found[node] = [(node, self.members[matrix.name])]
            elif node.operation == "add":
                left, right = (found.get(argument) for argument in node.arguments)
                if left and right and left[0][1].stored is right[0][1].stored:
                    found[node] = left + right
        summed = {
            argument for node in found if node.operation == "add" for argument in node.arguments
        }
        return {root: terms for root, terms in found.items() if root not in summed}

    def _sum_of_products(self, root: Node, terms: list[tuple[Node, Member]]) -> Tensor:
        stored = terms[0][1].stored
        matrix, bounds = self.parameters[stored.name], self.bounds[stored.name]
        ordered = sorted(((member.index, node.arguments[1]) for node, member in terms), key=_first)
        total: Tensor | None = None
        for run in self._runs(ordered):
            part = self._columns(run)
            rows = matrix[bounds[run[0][0]] : bounds[run[-1][0] + 1]]
            total = part @ rows if total is None else torch.addmm(total, part, rows)
        assert total is not None
        return total

    def _runs(self, ordered: Iterable[tuple[int, Node]]) -> Iterator[list[tuple[int, Node]]]:
        """Stretches of neighbouring members whose vectors lie side by side too."""
        run: list[tuple[int, Node]] = []
        for index, vector in ordered:
            if run and not (
                index == run[-1][0] + 1
                and vector in self.columns
                and run[-1][1] in self.columns
                and self.columns[run[-1][1]][1] == self.columns[vector][0]
            ):
                yield run
                run = []
            run.append((index, vector))
        if run:
            yield run

    def _columns(self, run: list[tuple[int, Node]]) -> Tensor:
        if len(run) == 1:
            return self.values[run[0][1]]
        assert self.joined is not None
        return self.joined[:, self.columns[run[0][1]][0] : self.columns[run[-1][1]][1]]

    def gradient(self, stored: StoredParameter, outputs: Mapping[str, Node]) -> Tensor | None:
        """The gradient of a stored parameter: zero for members that have no influence.

        Args:
            stored: The parameter.
            outputs: The nodes of the gradients of its members.
        """
        like = self.parameters[stored.name]
        nodes = [outputs.get(PREFIX + name) for name in stored.members]
        if all(node is None for node in nodes):
            return None
        total = torch.zeros_like(like) if None in nodes else torch.empty_like(like)
        bounds = self.bounds[stored.name]
        by_vector: dict[Node | None, list[tuple[int, Node]]] = {}
        for index, node in enumerate(nodes):
            if node is None:
                continue
            if self.direct(node):
                vector = node.arguments[1] if node.operation == "outer" else None
                by_vector.setdefault(vector, []).append((index, node.arguments[0]))
            else:
                total[bounds[index] : bounds[index + 1]] = self.values[node]
        for vector, members in by_vector.items():
            for run in self._runs(members):
                place = total[bounds[run[0][0]] : bounds[run[-1][0] + 1]]
                columns = self._columns(run)
                if vector is None:
                    torch.sum(columns, dim=0, out=place)
                else:
                    torch.mm(columns.t(), self.values[vector], out=place)
        return total

    def direct(self, node: Node) -> bool:
        """Whether a gradient is an outer product, or a sum, of a value in the joined array."""
        if node.operation not in ("outer", "batch_sum") or node.arguments[0] not in self.columns:
            return False
        return node.arguments[-1].type.per_row


def _first(pair: tuple[int, Node]) -> int:
    return pair[0]


def _chain(root: Node, terms: list[tuple[Node, Member]]) -> set[Node]:
    """The sums and products inside a sum of products."""
    products = {node for node, _ in terms}
    found: set[Node] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        found.add(node)
        if node not in products:
            stack += node.arguments
    return found
