"""Packed matrices: blocks of units, then elements, then the units of a block."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kernels.test_loop import TARGETS

from anyrnn.kernels.cpu import memory, pack
from anyrnn.kernels.cpu.loop import address
from anyrnn.kernels.cpu.target import host


def views(units: int, length: int, dtype: type) -> list[np.ndarray]:
    """The same matrix by rows, by columns, and as a part of a larger one."""
    matrix = np.random.default_rng(0).normal(size=(units, length)).astype(dtype)
    larger = np.zeros((2 * units, length + 3), dtype)
    larger[::2, 1:-2] = matrix
    return [matrix, np.asfortranarray(matrix), larger[::2, 1:-2]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize(("units", "length"), [(1, 1), (16, 16), (37, 5), (5, 67), (64, 33)])
@pytest.mark.parametrize("threads", [1, 2])
def test_pack_lays_out_blocks(units, length, vectors, dtype, target, threads, monkeypatch) -> None:
    monkeypatch.setattr(pack, "PARALLEL", 0)
    cpu = host(target)
    lanes = cpu.lanes(dtype is np.float64)
    blocks = -(-units // (lanes * vectors))
    for matrix in views(units, length, dtype):
        packed = memory.empty((blocks, length, vectors, lanes), dtype)
        packed[...] = np.nan
        job = pack.Job(
            *pack.source(matrix),
            units,
            length,
            address(packed),
            block_step=length * vectors * lanes,
            element_step=vectors * lanes,
            vectors=vectors,
            all_vectors=blocks * vectors,
        )
        pack.run(np.array([job], np.int64), np.dtype(dtype), cpu, threads)
        whole = np.zeros((blocks * vectors * lanes, length), dtype)
        whole[:units] = matrix
        expected = whole.reshape(blocks, vectors, lanes, length).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(packed, expected)
