"""Large products outside the loop, on the same team of threads.

The product of a matrix with each row of an array is a loop of one step whose stage has no
equations. So the result of a row has the same bits whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from anyrnn.graph.nodes import Graph, Node, make
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.emit.packing import PackingJob
from anyrnn.kernels.cpu.emit.tiles import WIDEST
from anyrnn.kernels.cpu.program import packing
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.loop_kernel import Loop
from anyrnn.kernels.cpu.program.placed_rows import PlacedRows
from anyrnn.kernels.cpu.program.prepared_commands import WORKSPACE
from anyrnn.kernels.cpu.program.step_rows import OneStep
from anyrnn.kernels.cpu.program.varying import Varying
from anyrnn.kernels.run import NOTHING
from anyrnn.schedule.forms import FUSED
from anyrnn.schedule.placement import place
from anyrnn.schedule.stages import levels, split

Project = Callable[[BufferView, BufferView | PlacedRows], None]

UNITS, LENGTH = Size.of("units"), Size.of("length")
MATRIX = make("parameter", name="matrix", type=Type((UNITS, LENGTH), per_row=False))
VECTOR = make("input", name="vector", type=Type((LENGTH,), per_row=True))
BEFORE = make("input", name="before", type=Type((UNITS,), per_row=True))
PRODUCT = make("product", MATRIX, VECTOR)
SUM = make("add", PRODUCT, BEFORE)


@lru_cache(maxsize=16)
def _loop(result: Node, arithmetic: Arithmetic, placed: bool) -> Loop:
    """The kernel of a product, or of one that is added to what is there, whose rows are anywhere if
    they are `placed`.
    """
    placement = place(Graph({"": result}), (), [""], FUSED)
    leaves = {BEFORE, result}.intersection((*result.arguments, result)) if placed else ()
    return Loop(split(placement, levels(placement)), arithmetic, frozenset(leaves))


def projection(
    commands: CommandBuffer,
    matrix: BufferView,
    rows: int,
    add: bool = False,
    room: dict[int, BufferView] | None = None,
    once: bool = False,
    in_place: bool = False,
    most: int | None = None,
    placed: bool = False,
    computing: Arithmetic | None = None,
) -> Project:
    """Append the packing of a matrix that at most `rows` rows of arrays are multiplied with.

    Args:
        commands: The command buffer.
        matrix: The matrix, (units, length).
        rows: The most rows.
        add: Whether to add to what is there.
        room: Workspaces by their size, for products that are computed one after another to share.
        once: Whether the matrix follows from parameters only.
        in_place: Whether to read it in place instead of packing it, as `Loop.prepare`.
        most: The most columns of the matrix, if their number varies.
        placed: Whether the rows of the products are anywhere in their array.
        computing: How it is computed, if not as other commands.

    Returns:
        A function that appends the products of the matrix with each row of an array, (rows,
        length), which are written into another, (rows, units).
    """
    result, (units, length) = SUM if add else PRODUCT, matrix.shape
    varying = {"length": length} if isinstance(length, Varying) else NOTHING
    sizes: dict[str, Any] = {"units": units, "length": most if varying else length}
    prepared = _loop(result, computing or commands.arithmetic, placed).prepare(
        commands,
        {MATRIX: matrix},
        sizes,
        rows,
        room,
        once=once,
        in_place=in_place,
        varying=varying,
    )

    def project(vectors: BufferView, out: BufferView | PlacedRows) -> None:
        values: dict[Node, Any] = {VECTOR: vectors, BEFORE: out, result: out}
        prepared.run(OneStep(vectors.shape[0]), values, {}, False)

    return project


def outer_products(
    commands: CommandBuffer,
    vectors: BufferView,
    others: Sequence[BufferView | None],
    outs: Sequence[BufferView],
) -> None:
    """Append what `OuterSums` computes, of all rows at once and into the results as they lie: with
    few rows most of the work of sums is in what they are transposed into.
    """
    rows, width = vectors.shape
    turned = _wide(commands, width, rows)
    _transpose(commands, [(vectors, turned)], rows)
    room: dict[int, BufferView] = {}
    for other, out in zip(others, outs, strict=True):
        if other is None:
            other, out = commands.constant(np.ones((rows, 1), vectors.dtype)), out.column
        projection(commands, other.T, width, room=room)(turned[:, :rows], out)


def whole_tiles(commands: CommandBuffer, matrix: BufferView) -> bool:
    """Whether products may read a matrix in place: its columns are contiguous, and no tile reads
    what follows them.
    """
    units = matrix.shape[0]
    tiles = isinstance(units, int) and units % (WIDEST * commands.arithmetic.lanes) == 0
    return tiles and _in_columns(commands, matrix)


def _in_columns(commands: CommandBuffer, matrix: BufferView) -> bool:
    """Whether the columns of a matrix are contiguous, and multiplied as they are."""
    return commands.arithmetic.operand is Operand.PLAIN and matrix.steps[0] == 1


class OuterSums:
    """Sums over rows of the outer products of vectors of size `width` with others, and of these
    vectors themselves: the gradients of matrices and biases.

    `others` are the sizes of the other vectors; None for the sum of the vectors themselves. They
    are added in parts of at most so many rows.
    """

    def __init__(
        self, commands: CommandBuffer, width: int, others: Sequence[int | None], most: int
    ) -> None:
        self.commands, self.lanes = commands, commands.arithmetic.lanes
        self.starts = [*accumulate((other or 1 for other in others), initial=0)]
        self.sums = commands.scratch((self.starts[-1], width))  # transposed
        self.most = most
        self.turned = _wide(commands, self.starts[-1], most)
        ones = [self.turned[n] for n, other in zip(self.starts, others, strict=False) if not other]
        for row in ones:
            commands.copy(commands.constant(np.ones(row.shape, row.dtype)), row)
        self.room: dict[int, BufferView] = {}
        self.fresh = True

    def add(
        self, vectors: BufferView, others: Sequence[BufferView | PlacedRows | None], parts: int
    ) -> None:
        """Add more rows, in so many parts: vectors, (rows, width), and the others, each (rows,
        size), or None for the sum of the vectors themselves.
        """
        rows = vectors.shape[0]
        for part in range(parts):
            first, last = rows * part // parts, rows * (part + 1) // parts
            given = [
                (other[first:last], self.turned[start:])
                for start, other in zip(self.starts, others, strict=False)
                if other is not None
            ]
            for placed in (False, True):
                chosen = [pair for pair in given if isinstance(pair[0], PlacedRows) == placed]
                _transpose(self.commands, chosen, self.most)
            transposed, add = vectors[first:last].T, not self.fresh
            in_place = self._can_be_read(transposed)
            if in_place:
                self.commands.scratch((WIDEST * self.lanes,))  # so that something follows it
            project = projection(
                self.commands,
                transposed,
                self.starts[-1],
                add,
                self.room,
                in_place=in_place,
                most=self.most,
            )
            project(self.turned[:, : last - first], self.sums)
            self.fresh = False

    def _can_be_read(self, matrix: BufferView) -> bool:
        """Whether products may read a matrix in place, and what follows it in memory: it is in the
        workspace.
        """
        return matrix.block == WORKSPACE and _in_columns(self.commands, matrix)

    def write(self, outs: Sequence[BufferView]) -> None:
        """Write the sums: for each of the others (width, size), or (width,) for None."""
        parts = [self.sums[start:stop] for start, stop in pairwise(self.starts)]
        pairs, copies = [], []
        for part, out in zip(parts, outs, strict=True):
            if len(out.shape) == 1:
                copies.append((part[0], out))
            elif out.steps[0] == 1:  # transposed as well
                copies.append((part, out.T))
            elif out.shape[1] % self.lanes == 0:
                pairs.append((part, out))
            else:
                wide = _wide(self.commands, *out.shape)
                pairs.append((part, wide))
                copies.append((wide[:, : out.shape[1]], out))
        _transpose(self.commands, pairs, self.starts[-1])
        for source, out in copies:
            self.commands.copy(source, out)


def _wide(commands: CommandBuffer, rows: int, columns: int) -> BufferView:
    """An array whose rows are whole vector registers."""
    lanes = commands.arithmetic.lanes
    return commands.scratch((rows, -(-columns // lanes) * lanes))


def _transpose(
    commands: CommandBuffer,
    pairs: Sequence[tuple[BufferView | PlacedRows, BufferView]],
    most: int,
) -> None:
    """Transpose matrices of at most so many rows into arrays whose rows are whole vectors."""
    lanes = commands.arithmetic.lanes
    jobs = [(_transposition(matrix, out, lanes), matrix, out) for matrix, out in pairs]
    shapes = [matrix.shape for matrix, _ in pairs]
    elements = sum((most if isinstance(n, Varying) else n) * size for n, size in shapes)
    packing.write(commands, jobs, elements)


def _transposition(matrix: BufferView | PlacedRows, out: BufferView, lanes: int) -> PackingJob:
    vectors = -(-matrix.shape[0] // lanes)
    return PackingJob(
        units=matrix.shape[0],
        length=matrix.shape[1],
        element_step=out.steps[0],
        vectors=vectors,
        all_vectors=vectors,
    )
