"""Arithmetic on large arrays without a framework.

The product of a matrix with each row of an array is a kernel too: a loop of one step, with a stage
that has no equations. So a row's result depends on no other row, and one team of threads does all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from anyrnn.graph.interpret import NUMPY
from anyrnn.graph.nodes import Graph, make
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu import memory
from anyrnn.kernels.cpu.instructions import Arithmetic, Array, Project
from anyrnn.kernels.cpu.loop import Loop
from anyrnn.kernels.cpu.target import Target
from anyrnn.schedule.loop import Accumulator, Schedule, Stage

UNITS, LENGTH = Size.of("units"), Size.of("length")
MATRIX = make("parameter", name="matrix", type=Type((UNITS, LENGTH), per_row=False))
VECTOR = make("input", name="vector", type=Type((LENGTH,), per_row=True))
PRODUCT = make("product", MATRIX, VECTOR)


@lru_cache(maxsize=16)
def _loop(dtype: np.dtype[Any], target: Target | None) -> Loop:
    """The kernel of a product."""
    sums = (Accumulator(PRODUCT, ((MATRIX, VECTOR),)),)
    stages = (Stage(0, UNITS, sums, (PRODUCT,)),)
    graph = Graph({"product": PRODUCT})
    planned = Schedule(graph, (), (), (), (VECTOR,), stages, (PRODUCT,), (), {})
    return Loop(planned, dtype, target)


def projection(matrix: Array, rows: int, threads: int, target: Target | None) -> Project:
    """Make ready to multiply a matrix with rows of arrays; as `Arithmetic.projection`."""
    sizes = {"units": matrix.shape[0], "length": matrix.shape[1]}
    prepared = _loop(matrix.dtype, target).prepare({MATRIX: matrix}, sizes, rows, threads)

    def project(vectors: Array, out: Array, add: bool) -> None:
        place = memory.empty(out.shape, out.dtype) if add else out
        steps = np.array([0, len(vectors)], np.int64)
        prepared.run(steps, {VECTOR: vectors}, {}, False, {PRODUCT: place})
        if add:
            out += place

    return project


def _multiply(left: Array, right: Array, out: Array, add: bool) -> None:
    if add:
        out += left @ right
    else:
        np.matmul(left, right, out=out)


NUMPY_ARITHMETIC = Arithmetic(NUMPY, projection, _multiply)
