"""Large products on our own kernels against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kernels.test_loop import TARGETS

from anyrnn.kernels.cpu import products
from anyrnn.kernels.cpu.products import OuterSums, projection
from anyrnn.kernels.cpu.target import host


def normal(*shape: int, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("rows", "length", "units"), [(1, 1, 1), (7, 13, 37), (64, 33, 130)])
@pytest.mark.parametrize("threads", [1, 2])
def test_projection(rows, length, units, threads, target) -> None:
    vectors, wide = normal(rows, length), np.zeros((length, 2 * units))
    wide[:, ::2] = normal(units, length).T
    matrix = wide[:, ::2].T
    for add in (False, True):
        out = normal(rows, units) if add else np.full((rows, units), np.nan)
        expected = vectors @ matrix.T + (out if add else 0)
        projection(matrix, rows, threads, host(target), add)(vectors, out)
        np.testing.assert_allclose(out, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("width", "sizes"), [(1, [1]), (37, [5, None]), (20, [16, 3, None])])
@pytest.mark.parametrize("threads", [1, 2])
def test_outer_sums_over_several_parts(width, sizes, threads, target, monkeypatch) -> None:
    monkeypatch.setattr(products, "ROWS", 40)
    sums = OuterSums(width, sizes, np.float64, threads, host(target))
    expected = [np.zeros((width, size) if size else (width,)) for size in sizes]
    for rows in (1, 37, 100):
        vectors = normal(rows, 2 * width)[:, width:]
        others = [normal(rows, size + 1)[:, 1:] if size else None for size in sizes]
        sums.add(vectors, others)
        for total, other in zip(expected, others, strict=True):
            total += vectors.sum(0) if other is None else vectors.T @ other
    found = [np.full_like(total, np.nan) for total in expected]
    sums.write(found)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-11, rtol=1e-11)
