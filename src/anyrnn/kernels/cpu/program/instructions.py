"""Instructions outside the loop, each for the rows of many steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.matrix_products import OuterSums, Project, projection
from anyrnn.kernels.run import Array

Operations = Mapping[str, Callable[..., Array]]  # as `anyrnn.graph.interpret` has them


@dataclass
class Frame:
    """What instructions read and write while a run is recorded: arrays, and the rows of a segment.

    Attributes:
        commands: The command buffer.
        values: The values of the rows, by node.
        parameters: The stored parameters.
        operations: A function for each elementwise operation.
        whole: The results for the rows of all steps, by node.
        totals: The gradients of stored parameters.
        capacity: The most rows of a segment.
        first: The first row of the segment.
        last: The end of its rows.
        fresh: Whether it is the first segment, so gradients are written, not accumulated.
        buffers: Memory for values of the rows, by node, which all segments share.
        projections: Products with matrices, by the nodes that they compute.
        outer: Sums of outer products, by the instruction that accumulates them.
        emitted: Where the loop writes, by node.
        sums: Sums over the rows, by what is summed.
    """

    commands: CommandBuffer
    values: dict[Node, BufferView]
    parameters: Mapping[str, BufferView]
    operations: Operations
    capacity: int
    whole: dict[Node, BufferView] = field(default_factory=dict)
    totals: dict[str, BufferView] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    fresh: bool = True
    buffers: dict[Any, BufferView] = field(default_factory=dict)
    projections: dict[Any, Project] = field(default_factory=dict)
    outer: dict[Any, OuterSums] = field(default_factory=dict)
    emitted: dict[Node, BufferView] = field(default_factory=dict)
    sums: dict[Any, BufferView] = field(default_factory=dict)

    def buffer(self, key: Any, width: int) -> BufferView:
        """The buffer of a value."""
        found = self.buffers.get(key)
        if found is None:
            found = self.buffers[key] = self.commands.scratch((self.capacity, width))
        return found[: self.last - self.first]

    def project(
        self, key: Any, matrix: BufferView, vectors: BufferView, out: BufferView, add: bool
    ) -> None:
        """Multiply a matrix with each row of an array; it is packed once for all segments."""
        found = self.projections.get(key)
        if found is None:
            found = projection(self.commands, matrix, self.capacity, add)
            self.projections[key] = found
        found(vectors, out)

    def place(self, node: Node, width: int) -> BufferView:
        """The destination of a value: its result if it is one, a buffer if not."""
        found = self.whole.get(node)
        return self.buffer(node, width) if found is None else found[self.first : self.last]


class Instruction(Protocol):
    """A computation.

    Attributes:
        results: What it computes; nothing where it adds to a gradient.
        arguments: What it needs.
    """

    @property
    def results(self) -> tuple[Node, ...]: ...  # noqa: D102

    @property
    def arguments(self) -> tuple[Node, ...]: ...  # noqa: D102

    def write(self, frame: Frame) -> None: ...  # noqa: D102


class Columns(NamedTuple):
    """A value, or the columns of several that lie side by side in one array."""

    nodes: tuple[Node, ...]
    start: int = 0
    stop: int = 0

    def of(self, frame: Frame) -> BufferView:
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
    shape: tuple[int, ...]

    @property
    def results(self) -> tuple[Node, ...]:
        """The operation."""
        return (self.node,)

    def write(self, frame: Frame) -> None:
        """Compute it; slices and transposed matrices are views."""
        arguments = [frame.values[argument] for argument in self.arguments]
        operation = self.node.operation
        if operation == "transpose":
            result = arguments[0].T
        elif operation == "slice":
            result = arguments[0][..., self.bounds["start"] : self.bounds["stop"]]
        else:
            rows = (frame.last - frame.first,) if self.node.type.per_row else ()
            function = partial(frame.operations[operation], **self.bounds)
            dtype = np.bool_ if self.node.traits.comparison else None
            result = frame.commands.compute(function, arguments, (*rows, *self.shape), dtype)
        frame.values[self.node] = result


@dataclass(frozen=True)
class Expand:
    """A value broadcast along the hidden axis or the rows."""

    node: Node
    arguments: tuple[Node, ...]
    shape: tuple[int, ...]

    @property
    def results(self) -> tuple[Node, ...]:
        """The value."""
        return (self.node,)

    def write(self, frame: Frame) -> None:
        """Broadcast it."""
        if self.node.type.per_row:
            place = frame.place(self.node, self.shape[-1])
        else:
            place = frame.commands.scratch(self.shape)
        frame.commands.copy(frame.values[self.arguments[0]], place)
        frame.values[self.node] = place


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

    def write(self, frame: Frame) -> None:
        """Compute all as one product; each is some columns of the result."""
        matrix = frame.parameters[self.stored][self.start : self.stop]
        first = next(iter(self.parts))
        width = self.stop - self.start
        alone = len(self.parts) == 1
        out = frame.place(first, width) if alone else frame.buffer(first, width)
        frame.project(first, matrix, frame.values[self.vector], out, False)
        for node, (start, stop) in self.parts.items():
            frame.values[node] = out[:, start:stop]


@dataclass(frozen=True)
class MultiplyOne:
    """A product with a matrix that is computed, not stored."""

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

    def write(self, frame: Frame) -> None:
        """Compute it."""
        matrix, vector = (frame.values[argument] for argument in self.node.arguments)
        out = frame.values[self.node] = frame.place(self.node, self.width)
        frame.project(self.node, matrix, vector, out, False)


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

    def write(self, frame: Frame) -> None:
        """Compute it, with one product for neighbouring members."""
        out = frame.values[self.node] = frame.place(self.node, self.width)
        for place, (start, stop, columns) in enumerate(self.terms):
            matrix = frame.parameters[self.stored][start:stop]
            frame.project((self.node, place), matrix.T, columns.of(frame), out, place > 0)


@dataclass(frozen=True)
class AddToGradient:
    """Add a sum over the rows to the gradient of some rows of a stored parameter.

    Attributes:
        stored: The parameter.
        start: The first of its rows.
        stop: The end of its rows.
        left: What to sum over the rows.
        summed: Whether it is that sum already.
    """

    stored: str
    start: int
    stop: int
    left: Columns
    summed: bool = False
    results: tuple[Node, ...] = ()

    @property
    def places(self) -> tuple[tuple[str, int, int], ...]:
        """The rows of a stored parameter that this is the gradient of."""
        return ((self.stored, self.start, self.stop),)

    @property
    def arguments(self) -> tuple[Node, ...]:
        """What the gradient is computed from."""
        return self.left.nodes

    def write(self, frame: Frame) -> None:
        """Add, or write in the first segment."""
        total = frame.totals[self.stored][self.start : self.stop]
        if self.summed:
            part = self.left.of(frame)
        else:  # two biases have the same one
            part = frame.sums.get(self.left)
            if part is None:
                left, function = self.left.of(frame), frame.operations["batch_sum"]
                part = frame.commands.compute(function, [left], left.shape[1:])
                frame.sums[self.left] = part
        if frame.fresh:
            frame.commands.copy(part, total)
        else:
            frame.commands.call(_add, part, total)


def _add(part: Array, total: Array) -> None:
    total += part


@dataclass(frozen=True)
class OuterGradients:
    """Add the outer products of some vectors with others, and their sums, to gradients.

    Attributes:
        left: The vectors.
        width: Their size.
        others: The other vectors and their sizes; None for the sum of `left` itself.
        parts: Which rows of which stored parameter belong to each of the others; several where
            their gradients are equal.
    """

    left: Columns
    width: int
    others: tuple[tuple[Node, int] | None, ...]
    parts: tuple[tuple[tuple[str, int, int], ...], ...]
    results: tuple[Node, ...] = ()

    @property
    def places(self) -> tuple[tuple[str, int, int], ...]:
        """The rows of stored parameters that this is the gradient of."""
        return tuple(place for part in self.parts for place in part)

    @property
    def arguments(self) -> tuple[Node, ...]:
        """What the gradients are computed from."""
        return (*self.left.nodes, *(other[0] for other in self.others if other))

    def write(self, frame: Frame) -> None:
        """Add to the sums."""
        sums = frame.outer.get(self)
        if sums is None:
            sizes = [other[1] if other else None for other in self.others]
            sums = OuterSums(frame.commands, self.width, sizes, frame.capacity)
            frame.outer[self] = sums
        others = [frame.values[other[0]] if other else None for other in self.others]
        sums.add(self.left.of(frame), others)

    def finish(self, frame: Frame) -> None:
        """Write the sums into the gradients."""
        places = [
            [frame.totals[name][start:stop] for name, start, stop in part] for part in self.parts
        ]
        frame.outer[self].write([first for first, *_ in places])
        for first, *equal in places:
            for place in equal:
                frame.commands.copy(first, place)
