"""What is computed outside the loop, for the rows of many steps at a time, in large products.

Products that a stacked parameter serves together are one product, before the loop and after it:
the gates' cotangents lie side by side in one array, so that the gradient of a stacked matrix is one
product of that array, and so is the gradient of the input.

What is to be done is written down once for each cell and its sizes, as a list of instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anyrnn.derivative.reverse import PREFIX
from anyrnn.graph.cell import Cell, StoredParameter
from anyrnn.graph.interpret import NUMPY
from anyrnn.graph.nodes import Node
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu import memory
from anyrnn.schedule.loop import Schedule
from anyrnn.schedule.normal import operands

Array = NDArray[Any]


@dataclass(frozen=True)
class Arithmetic:
    """How large arrays are computed with: by NumPy, or by a framework on the same memory.

    Attributes:
        operations: A function for each operation, as `anyrnn.graph.interpret` has them.
        multiply: Write the product of two matrices into a third, or add it to what is there.
    """

    operations: Mapping[str, Callable[..., Array]]
    multiply: Callable[[Array, Array, Array, bool], None]


def _multiply(left: Array, right: Array, out: Array, add: bool) -> None:
    if add:
        out += left @ right
    else:
        np.matmul(left, right, out=out)


NUMPY_ARITHMETIC = Arithmetic(NUMPY, _multiply)


@dataclass
class Frame:
    """The arrays of a run, and the rows that are worked on.

    Attributes:
        values: What is known of the rows, by node.
        parameters: The stored parameters.
        arithmetic: How to compute.
        whole: The results for the rows of all steps, by node.
        totals: The gradients of stored parameters.
        capacity: The most rows that are worked on at a time.
        dtype: The type of all arrays.
        first: The first of the rows.
        last: The end of the rows.
        fresh: Whether they are the first ones that are worked on.
        buffers: Memory for values of the rows, by node, used again for the next rows.
        emitted: Where the loop writes, by node.
    """

    values: dict[Node, Array]
    parameters: Mapping[str, Array]
    arithmetic: Arithmetic
    whole: dict[Node, Array]
    totals: dict[str, Array]
    capacity: int
    dtype: Any
    first: int = 0
    last: int = 0
    fresh: bool = True
    buffers: dict[Any, Array] = field(default_factory=dict)
    emitted: dict[Node, Array] = field(default_factory=dict)

    def buffer(self, key: Any, width: int) -> Array:
        """Memory for a value of the rows."""
        found = self.buffers.get(key)
        if found is None:
            found = self.buffers[key] = memory.empty((self.capacity, width), self.dtype)
        return found[: self.last - self.first]

    def place(self, node: Node, width: int) -> Array:
        """Where to write a value of the rows: into its result if it is one."""
        found = self.whole.get(node)
        return self.buffer(node, width) if found is None else found[self.first : self.last]


class Instruction(Protocol):
    """Something to compute.

    Attributes:
        results: What it computes; nothing where it adds to a gradient.
        arguments: What it needs.
    """

    @property
    def results(self) -> tuple[Node, ...]: ...  # noqa: D102

    @property
    def arguments(self) -> tuple[Node, ...]: ...  # noqa: D102

    def run(self, frame: Frame) -> None: ...  # noqa: D102


class Columns(NamedTuple):
    """A value, or the columns of several that lie side by side in one array."""

    nodes: tuple[Node, ...]
    start: int = 0
    stop: int = 0

    def of(self, frame: Frame) -> Array:
        """The array."""
        if len(self.nodes) == 1:
            return frame.values[self.nodes[0]]
        return frame.buffers[JOINED][: frame.last - frame.first, self.start : self.stop]


JOINED = "joined"  # the buffer of the values that lie side by side


@dataclass(frozen=True)
class Operate:
    """One operation."""

    node: Node
    arguments: tuple[Node, ...]
    bounds: dict[str, int]

    @property
    def results(self) -> tuple[Node, ...]:
        """The operation."""
        return (self.node,)

    def run(self, frame: Frame) -> None:
        """Compute it."""
        arguments = [frame.values[argument] for argument in self.arguments]
        function = frame.arithmetic.operations[self.node.operation]
        frame.values[self.node] = function(*arguments, **self.bounds)


@dataclass(frozen=True)
class Expand:
    """A value repeated along the hidden axis or the rows."""

    node: Node
    arguments: tuple[Node, ...]
    shape: tuple[int, ...]

    @property
    def results(self) -> tuple[Node, ...]:
        """The repeated value."""
        return (self.node,)

    def run(self, frame: Frame) -> None:
        """Repeat it."""
        if self.node.type.per_row:
            array = frame.place(self.node, self.shape[-1])
        else:
            array = memory.empty(self.shape, frame.dtype)
        array[...] = frame.values[self.arguments[0]]
        frame.values[self.node] = array


@dataclass(frozen=True)
class Multiply:
    """Products of neighbouring members of a stored parameter with the vectors of one node."""

    stored: str
    start: int
    stop: int
    vector: Node
    parts: dict[Node, tuple[int, int]]

    @property
    def results(self) -> tuple[Node, ...]:
        """The products."""
        return tuple(self.parts)

    @property
    def arguments(self) -> tuple[Node, ...]:
        """The vectors."""
        return (self.vector,)

    def run(self, frame: Frame) -> None:
        """Compute all at once; each is some columns of the result."""
        matrix = frame.parameters[self.stored][self.start : self.stop]
        first = next(iter(self.parts))
        width = self.stop - self.start
        alone = len(self.parts) == 1
        out = frame.place(first, width) if alone else frame.buffer(first, width)
        frame.arithmetic.multiply(frame.values[self.vector], matrix.T, out, False)
        for node, (start, stop) in self.parts.items():
            frame.values[node] = out[:, start:stop]


@dataclass(frozen=True)
class MultiplyOne:
    """A product with a matrix that is not a stored one."""

    node: Node
    width: int

    @property
    def results(self) -> tuple[Node, ...]:
        """The product."""
        return (self.node,)

    @property
    def arguments(self) -> tuple[Node, ...]:
        """The matrix and the vectors."""
        return self.node.arguments

    def run(self, frame: Frame) -> None:
        """Compute it."""
        matrix, vector = (frame.values[argument] for argument in self.node.arguments)
        out = frame.values[self.node] = frame.place(self.node, self.width)
        frame.arithmetic.multiply(vector, matrix.T, out, False)


@dataclass(frozen=True)
class SumOfProducts:
    """A sum of products with transposed members of one stored parameter."""

    node: Node
    stored: str
    terms: tuple[tuple[int, int, Columns], ...]
    width: int

    @property
    def results(self) -> tuple[Node, ...]:
        """The sum."""
        return (self.node,)

    @property
    def arguments(self) -> tuple[Node, ...]:
        """The vectors."""
        return tuple(node for *_, columns in self.terms for node in columns.nodes)

    def run(self, frame: Frame) -> None:
        """Compute it, one product for all neighbouring members."""
        out = frame.values[self.node] = frame.place(self.node, self.width)
        for place, (start, stop, columns) in enumerate(self.terms):
            matrix = frame.parameters[self.stored][start:stop]
            frame.arithmetic.multiply(columns.of(frame), matrix, out, place > 0)


@dataclass(frozen=True)
class AddToGradient:
    """Add to the gradient of some rows of a stored parameter.

    Attributes:
        stored: The parameter.
        start: The first of its rows.
        stop: The end of its rows.
        left: What to add: the sum over all rows of the batch of its outer product with `right`, or
            of itself; or it is the sum already.
        right: The vectors of an outer product.
        summed: Whether `left` is the sum already.
    """

    stored: str
    start: int
    stop: int
    left: Columns
    right: Node | None = None
    summed: bool = False
    results: tuple[Node, ...] = ()

    @property
    def arguments(self) -> tuple[Node, ...]:
        """What the gradient is computed from."""
        return self.left.nodes if self.right is None else (*self.left.nodes, self.right)

    def run(self, frame: Frame) -> None:
        """Add, or write where these are the first rows."""
        total = frame.totals[self.stored][self.start : self.stop]
        part = self.left.of(frame)
        if self.right is not None:
            right = frame.values[self.right]
            frame.arithmetic.multiply(part.T, right, total, not frame.fresh)
            return
        if not self.summed:
            part = frame.arithmetic.operations["batch_sum"](part)
        if frame.fresh:
            total[...] = part
        else:
            total += part


class _Member(NamedTuple):
    stored: StoredParameter
    place: int


def side_by_side(cell: Cell, planned: Schedule) -> tuple[Node, ...]:
    """The emitted values in the order in which they should lie side by side in one array."""
    outputs = planned.graph.outputs
    order: dict[Node, None] = {}
    for stored in cell.parameters:
        nodes = [outputs.get(PREFIX + name) for name in stored.members]
        if all(node is not None and node.operation in ("outer", "batch_sum") for node in nodes):
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
    ) -> tuple[list[Instruction], list[AddToGradient]]:
        """What to do for some values.

        Args:
            nodes: What can be computed, each after its arguments.
            wanted: The values that are wanted.
            gradients: The stored parameters whose gradients are wanted too.

        Returns:
            The instructions for the values, in order, and those for the gradients.
        """
        last = [part for name in gradients for part in self._gradient(name)]
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
        return Operate(node, node.arguments, bounds)

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

    def _gradient(self, name: str) -> Iterator[AddToGradient]:
        """What the gradient of a stored parameter is the sum of."""
        stored = next(stored for stored in self.cell.parameters if stored.name == name)
        by_vector: dict[Node | None, list[tuple[_Member, Node]]] = {}
        for index, member in enumerate(stored.members):
            node = self.planned.graph.outputs.get(PREFIX + member)
            if node is None:
                continue
            if node.operation in ("outer", "batch_sum") and all(
                argument.type.per_row for argument in node.arguments
            ):
                vector = node.arguments[1] if node.operation == "outer" else None
                found = by_vector.setdefault(vector, [])
                found.append((_Member(stored, index), node.arguments[0]))
            else:
                start, stop = self.bounds[name][index : index + 2]
                yield AddToGradient(name, start, stop, Columns((node,)), summed=True)
        for vector, members in by_vector.items():
            for start, stop, columns in self._runs(members):
                yield AddToGradient(name, start, stop, columns, vector)
