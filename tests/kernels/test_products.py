"""Large products on our own kernels against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.matrix_products import OuterSums, projection
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from checks import TARGETS


def normal(*shape: int, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("rows", "length", "units"), [(1, 1, 1), (7, 13, 37), (64, 33, 130)])
@pytest.mark.parametrize("threads", [1, 2])
def test_projection(rows, length, units, threads, target) -> None:
    vectors, wide = normal(rows, length), normal(length, 2 * units)
    for add in (False, True):
        commands = CommandBuffer(arithmetic(host(target), np.float64), threads)
        matrix = commands.give(wide.shape)[:, units:].T
        places = commands.give(vectors.shape), commands.give((rows, units))
        projection(commands, matrix, rows, add)(*places)
        out = normal(rows, units) if add else np.full((rows, units), np.nan)
        expected = vectors @ wide[:, units:] + (out if add else 0)
        commands.finish().run(NUMPY_ARRAYS, [wide, vectors, out])
        np.testing.assert_allclose(out, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("width", "sizes"), [(1, [1]), (37, [5, None]), (20, [16, 3, None])])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("in_place", [True, False])
def test_outer_sums_over_several_parts(width, sizes, threads, in_place, target) -> None:
    """Vectors in the workspace are read in place, those of a caller are packed."""
    commands, given = CommandBuffer(arithmetic(host(target), np.float64), threads), []
    sums = OuterSums(commands, width, sizes, 40)
    expected = [np.zeros((width, size) if size else (width,)) for size in sizes]
    for rows in (1, 37, 100):
        vectors, places = normal(rows, 2 * width), []
        given.append(vectors)
        whole = commands.give(vectors.shape)
        if in_place:
            source, whole = whole, commands.scratch(vectors.shape)
            commands.copy(source, whole)
        place = whole[:, width:]
        for total, size in zip(expected, sizes, strict=True):
            if size is None:
                total += vectors[:, width:].sum(0)
                places.append(None)
                continue
            other = normal(rows, size + 1)
            given.append(other)
            places.append(commands.give(other.shape)[:, 1:])
            total += vectors[:, width:].T @ other[:, 1:]
        sums.add(place, places, -(-rows // 40))
    outs = [commands.give(total.shape) for total in expected]
    sums.write(outs)
    found = [np.full_like(total, np.nan) for total in expected]
    commands.finish().run(NUMPY_ARRAYS, [*given, *found])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-11, rtol=1e-11)
