"""Operations outside the loop, each on all rows of a segment of steps at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.matrix_products import (
    OuterSums,
    Project,
    outer_products,
    projection,
    whole_tiles,
)
from anyrnn.kernels.cpu.program.placed_rows import PlacedRows
from anyrnn.kernels.cpu.program.varying import Count, Segment
from anyrnn.kernels.run import Array

Operations = Mapping[str, Callable[..., Array]]  # as `anyrnn.graph.interpret` has them
Place = BufferView | PlacedRows
Rows = tuple[str, int, int]  # a stored parameter, the first of its rows, and the end
FEW = 32  # as many rows or fewer take less time than what large products prepare
SIDE_BY_SIDE = "side by side"  # the buffer of the values that are columns of one array


@dataclass
class Frame:
    """What segment operations read and write while a run is recorded."""

    commands: CommandBuffer
    values: dict[Node, Any]  # of the segment's rows, as a `BufferView` or `PlacedRows`
    parameters: Mapping[str, BufferView]
    operations: Operations
    columns: Mapping[Node, tuple[int, int]]  # of the values that lie side by side in one array
    capacity: int  # the most rows of a segment
    most_part: int  # the most rows of a part of a segment
    segment: Segment  # the one whose commands are recorded
    alone: bool  # whether it is the only one
    computing: Arithmetic  # how products with parameters are computed
    whole: dict[Node, BufferView] = field(default_factory=dict)  # results, for all steps
    placed: dict[Node, PlacedRows] = field(default_factory=dict)  # those whose rows are anywhere
    gathered: dict[Any, BufferView] = field(default_factory=dict)  # rows of the segment
    totals: dict[str, BufferView] = field(default_factory=dict)  # gradients of parameters
    fresh: bool = True  # the first segment, so gradients are written, not accumulated
    buffers: dict[Any, BufferView] = field(default_factory=dict)  # shared by all segments
    projections: dict[Any, Project] = field(default_factory=dict)  # packed once for all
    outer: dict[Any, OuterSums] = field(default_factory=dict)  # sums of all segments so far

    @property
    def rows(self) -> Count:
        """The number of rows of the segment."""
        return self.segment.last - self.segment.first

    @property
    def few(self) -> bool:
        """Whether there are few rows in all."""
        return self.alone and isinstance(self.rows, int) and self.rows <= FEW

    def value(self, nodes: tuple[Node, ...]) -> BufferView:
        """A value, or several that lie side by side, as one array."""
        if len(nodes) == 1:
            return self.rows_of(nodes[0])
        (start, _), (_, stop) = self.columns[nodes[0]], self.columns[nodes[-1]]
        return self.buffers[SIDE_BY_SIDE][: self.rows, start:stop]

    def rows_of(self, node: Node) -> BufferView:
        """A value with one row after another: a copy where rows are anywhere."""
        found = self.values[node]
        if not isinstance(found, PlacedRows):
            return found
        key = found.array.block, found.array.offset, "rows"
        if key not in self.gathered:
            place = self.gathered[key] = self.buffer(key, found.array.shape[1])
            self.commands.copy_rows(found.array, place, self.capacity, found.offsets)
        return self.gathered[key]

    def buffer(self, key: Any, width: int) -> BufferView:
        """The buffer of a value."""
        found = self.buffers.get(key)
        if found is None:
            found = self.buffers[key] = self.commands.scratch((self.capacity, width))
        return found[: self.rows]

    def project(
        self, key: Any, matrix: BufferView, vectors: BufferView, out: Place, add: bool
    ) -> None:
        """Multiply a matrix that follows from parameters only with each row of an array."""
        found = self.projections.get(key)
        if found is None:
            found = projection(
                self.commands,
                matrix,
                self.capacity,
                add,
                once=True,
                in_place=self.few and self.computing.packed and whole_tiles(self.commands, matrix),
                placed=isinstance(out, PlacedRows),
                computing=self.computing,
            )
            self.projections[key] = found
        found(vectors, out)

    def destination(self, node: Node, width: int) -> Place:
        """The destination of a value: its result if it is one, a buffer if not."""
        if node in self.placed:
            return self.placed[node][self.segment.first : self.segment.last]
        found = self.whole.get(node)
        if found is None:
            return self.buffer(node, width)
        return found[self.segment.first : self.segment.last]

    def stored(self, rows: Rows) -> BufferView:
        """Some rows of a stored parameter."""
        name, start, stop = rows
        return self.parameters[name][start:stop]

    def total(self, rows: Rows) -> BufferView:
        """The gradient of some rows of a stored parameter."""
        name, start, stop = rows
        return self.totals[name][start:stop]


@dataclass(frozen=True)
class SegmentOperation:
    """An operation on all rows of a segment."""

    results: tuple[Node, ...]  # the values that it computes; none where it adds to gradients
    arguments: tuple[Node, ...]  # the values that it needs

    def write(self, frame: Frame) -> None:
        """Append its commands for the segment of a frame."""
        raise NotImplementedError


@dataclass(frozen=True)
class Operate(SegmentOperation):
    """One operation of the graph; slices and transposed matrices are views."""

    bounds: dict[str, int]
    shape: tuple[int, ...]

    def write(self, frame: Frame) -> None:  # noqa: D102
        (node,) = self.results
        arguments = [frame.rows_of(argument) for argument in self.arguments]
        if node.operation == "transpose":
            result = arguments[0].T
        elif node.operation == "slice":
            result = arguments[0][..., self.bounds["start"] : self.bounds["stop"]]
        else:
            rows = (frame.rows,) if node.type.per_row else ()
            function = partial(frame.operations[node.operation], **self.bounds)
            dtype = np.bool_ if node.traits.comparison else None
            result = frame.commands.compute(function, arguments, (*rows, *self.shape), dtype)
        frame.values[node] = result


@dataclass(frozen=True)
class Expand(SegmentOperation):
    """A value broadcast along the hidden axis or the rows."""

    shape: tuple[int, ...]

    def write(self, frame: Frame) -> None:  # noqa: D102
        (node,) = self.results
        if node.type.per_row:
            place = frame.destination(node, self.shape[-1])
            assert isinstance(place, BufferView)
        else:
            place = frame.commands.scratch(self.shape)
        frame.commands.copy(frame.rows_of(self.arguments[0]), place)
        frame.values[node] = place


@dataclass(frozen=True)
class Multiply(SegmentOperation):
    """Products with the same vectors as one product, with a matrix that is computed, or with
    neighbouring members of a stored parameter.
    """

    matrix: Rows | None  # of the stored parameter; None for the first argument
    columns: tuple[tuple[int, int], ...]  # which columns of the product each result is

    def write(self, frame: Frame) -> None:  # noqa: D102
        *computed, vectors = map(frame.rows_of, self.arguments)
        matrix = computed[0] if self.matrix is None else frame.stored(self.matrix)
        first, width = self.results[0], self.columns[-1][1]
        alone = len(self.results) == 1
        out = frame.destination(first, width) if alone else frame.buffer(first, width)
        frame.project(first, matrix, vectors, out, False)
        for node, (start, stop) in zip(self.results, self.columns, strict=True):
            frame.values[node] = out if isinstance(out, PlacedRows) else out[:, start:stop]


@dataclass(frozen=True)
class SumOfProducts(SegmentOperation):
    """A sum of products with transposed members of one stored parameter; neighbouring members are
    one product.
    """

    terms: tuple[tuple[Rows, tuple[Node, ...]], ...]

    def write(self, frame: Frame) -> None:  # noqa: D102
        (node,) = self.results
        for place, (rows, vectors) in enumerate(self.terms):
            matrix = frame.stored(rows).T
            out = frame.values[node] = frame.destination(node, matrix.shape[0])
            frame.project((node, place), matrix, frame.value(vectors), out, place > 0)


@dataclass(frozen=True)
class GradientOperation(SegmentOperation):
    """Adds to gradients of stored parameters."""

    parts: tuple[tuple[Rows, ...], ...]  # of each sum, the rows that it is the gradient of


@dataclass(frozen=True)
class AddToGradient(GradientOperation):
    """Adds what is a sum over the rows already to the gradient of a stored parameter."""

    def write(self, frame: Frame) -> None:  # noqa: D102
        part, total = frame.value(self.arguments), frame.total(self.parts[0][0])
        if frame.fresh:
            frame.commands.copy(part, total)
        else:
            frame.commands.call(lambda part, total: np.add(total, part, out=total), part, total)


@dataclass(frozen=True)
class OuterGradients(GradientOperation):
    """Adds the outer products of some vectors with others, and their sums, to gradients.

    Attributes:
        left: The vectors, as one.
        others: The other vectors; None for the sum of `left` itself. Their `parts` are several
            where gradients are equal.
    """

    left: tuple[Node, ...]
    others: tuple[Node | None, ...]

    def write(self, frame: Frame) -> None:  # noqa: D102
        left = frame.value(self.left)
        others = [frame.values[other] if other else None for other in self.others]
        if frame.few and all(place.row_major for place in self._places(frame)):
            outer_products(frame.commands, left, others, self._places(frame))
            return
        sums = frame.outer.get(self)
        if sums is None:
            sizes = [None if other is None else other.shape[1] for other in others]
            sums = OuterSums(frame.commands, left.shape[1], sizes, frame.most_part)
            frame.outer[self] = sums
        sums.add(left, others, frame.segment.parts)

    def finish(self, frame: Frame) -> None:
        """Write the sums into the gradients, after the last segment."""
        places = self._places(frame)
        if self in frame.outer:
            frame.outer[self].write(places)
        for first, part in zip(places, self.parts, strict=True):
            for equal in part[1:]:
                frame.commands.copy(first, frame.total(equal))

    def _places(self, frame: Frame) -> list[BufferView]:
        """The gradients that are computed, of those that are equal the first one."""
        return [frame.total(part[0]) for part in self.parts]
