"""Large products outside the loop, on the same team of threads.

The product of a matrix with each row of an array is a kernel too: a loop of one step, with a stage
that has no equations. So a row's result depends on no other row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyrnn.graph.nodes import Graph, Node, make
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu import memory, pack
from anyrnn.kernels.cpu.loop import Loop, address
from anyrnn.kernels.cpu.pack import Job
from anyrnn.kernels.cpu.target import Target, host
from anyrnn.schedule.loop import Accumulator, Schedule, Stage

Array = NDArray[Any]
Project = Callable[[Array, Array], None]

UNITS, LENGTH = Size.of("units"), Size.of("length")
MATRIX = make("parameter", name="matrix", type=Type((UNITS, LENGTH), per_row=False))
VECTOR = make("input", name="vector", type=Type((LENGTH,), per_row=True))
BEFORE = make("input", name="before", type=Type((UNITS,), per_row=True))
PRODUCT = make("product", MATRIX, VECTOR)
SUM = make("add", PRODUCT, BEFORE)

ROWS = 2048  # the most rows of a batch that a sum goes over at a time: they fit the second cache


@lru_cache(maxsize=16)
def _loop(result: Node, dtype: np.dtype[Any], target: Target | None) -> Loop:
    """The kernel of a product, or of one that is added to what is there."""
    stages = (Stage(0, UNITS, (Accumulator(PRODUCT, ((MATRIX, VECTOR),)),), (result,)),)
    carried = tuple(node for node in (VECTOR, BEFORE) if node in Graph({"": result}).nodes())
    planned = Schedule(Graph({"": result}), (), (), (), carried, stages, (result,), (), {})
    return Loop(planned, dtype, target)


def projection(
    matrix: Array, rows: int, threads: int, target: Target | None, add: bool = False
) -> Project:
    """Make ready to multiply a matrix with rows of arrays.

    Args:
        matrix: The matrix, (units, length).
        rows: The most rows.
        threads: The most threads to use.
        target: The CPU to compile for; this one if not given.
        add: Whether to add to what is there.

    Returns:
        A function that writes the products of the matrix with each row of an array, (rows, length),
        into another, (rows, units).
    """
    result = SUM if add else PRODUCT
    sizes = {"units": matrix.shape[0], "length": matrix.shape[1]}
    loop = _loop(result, matrix.dtype, target)
    prepared = loop.prepare({MATRIX: matrix}, sizes, rows, threads)

    def project(vectors: Array, out: Array) -> None:
        steps = np.array([0, len(vectors)], np.int64)
        prepared.run(steps, {VECTOR: vectors, BEFORE: out}, {}, False, {result: out})

    return project


class OuterSums:
    """Sums over the rows of a batch of the outer products of some vectors with others, and of these
    vectors themselves: the gradients of matrices and biases.

    Args:
        width: The size of the vectors.
        others: The sizes of the other vectors; None for the sum of the vectors themselves.
        dtype: The type of all arrays.
        threads: The most threads to use.
        target: The CPU to compile for; this one if not given.
    """

    def __init__(
        self,
        width: int,
        others: Sequence[int | None],
        dtype: Any,
        threads: int,
        target: Target | None,
    ) -> None:
        self.dtype, self.threads, self.target = np.dtype(dtype), threads, target or host()
        self.starts = [0]
        for other in others:
            self.starts.append(self.starts[-1] + (other or 1))
        self.sums = memory.empty((self.starts[-1], width), self.dtype)  # transposed
        self.fresh = True

    def add(self, vectors: Array, others: Sequence[Array | None]) -> None:
        """Add more rows.

        Args:
            vectors: (rows, width).
            others: Each (rows, size); None for the sum of the vectors themselves.
        """
        rows = len(vectors)
        parts = -(-rows // ROWS)
        for part in range(parts):
            first, last = rows * part // parts, rows * (part + 1) // parts
            turned = self._turn([o if o is None else o[first:last] for o in others], last - first)
            project = projection(
                vectors[first:last].T, len(self.sums), self.threads, self.target, not self.fresh
            )
            project(turned, self.sums)
            self.fresh = False

    def _turn(self, others: Sequence[Array | None], rows: int) -> Array:
        """The transposed vectors, one below the other; a row of ones for None."""
        turned = self._wide(len(self.sums), rows)
        given = [other for other in others if other is not None]
        places = [
            turned[n:] for n, other in zip(self.starts, others, strict=False) if other is not None
        ]
        self._transpose(given, places)
        for start, other in zip(self.starts, others, strict=False):
            if other is None:
                turned[start] = 1
        return turned[:, :rows]

    def _wide(self, rows: int, columns: int) -> Array:
        """An array whose rows are whole vectors."""
        lanes = self.target.lanes(self.dtype.itemsize == 8)
        return memory.empty((rows, -(-columns // lanes) * lanes), self.dtype)

    def _transpose(self, matrices: Sequence[Array], places: Sequence[Array]) -> None:
        """Write transposed matrices into arrays whose rows are whole vectors."""
        if matrices:
            lanes = self.target.lanes(self.dtype.itemsize == 8)
            pairs = zip(matrices, places, strict=True)
            jobs = [_transposition(matrix, place, lanes) for matrix, place in pairs]
            pack.run(np.array(jobs, np.int64), self.dtype, self.target, self.threads)

    def write(self, outs: Sequence[Array]) -> None:
        """Write the sums: for each of the others (width, size), or (width,) for None."""
        parts = [self.sums[start:stop] for start, stop in pairwise(self.starts)]
        turned = []
        for part, out in zip(parts, outs, strict=True):
            if out.ndim == 1:
                out[...] = part[0]
            else:
                wide = self._wide(*out.shape)
                turned.append((part, out if wide.shape == out.shape else wide, out))
        self._transpose([part for part, *_ in turned], [place for _, place, _ in turned])
        for _, place, out in turned:
            if place is not out:
                out[...] = place[:, : out.shape[1]]


def _transposition(matrix: Array, out: Array, lanes: int) -> Job:
    source, row, column = pack.source(matrix)
    vectors = -(-matrix.shape[0] // lanes)
    return Job(
        source=source,
        unit_stride=row,
        element_stride=column,
        units=matrix.shape[0],
        length=matrix.shape[1],
        place=address(out),
        block_step=0,
        element_step=out.strides[0] // out.itemsize,
        vectors=vectors,
        all_vectors=vectors,
    )
