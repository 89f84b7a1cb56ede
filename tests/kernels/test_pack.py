"""Packed matrices: blocks of units, then elements, then the units of a block."""

from __future__ import annotations

import numpy as np
import pytest

from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.emit.packing import PackingJob
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.program import packing
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from checks import TARGETS


def views(units: int, length: int, commands: CommandBuffer) -> list[BufferView]:
    """A matrix by rows, by columns, and as a part of a larger one."""
    rows, columns = commands.give((units, length)), commands.give((length, units))
    larger = commands.give((2 * units, length + 3))
    part = BufferView(
        larger.block,
        larger.offset + larger.strides[1],
        (units, length),
        (2 * larger.strides[0], larger.strides[1]),
        larger.dtype,
    )
    return [rows, columns.T, part]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize(("units", "length"), [(1, 1), (16, 16), (37, 5), (5, 67), (64, 33)])
@pytest.mark.parametrize("threads", [1, 2])
def test_pack_lays_out_blocks(units, length, vectors, dtype, target, threads, monkeypatch) -> None:
    monkeypatch.setattr(packing, "PARALLEL", 0)
    cpu = host(target)
    lanes = cpu.lanes(dtype is np.float64)
    blocks = -(-units // (lanes * vectors))
    commands = CommandBuffer(arithmetic(cpu, dtype), threads)
    sources = views(units, length, commands)
    places = [commands.give((blocks, length, vectors, lanes)) for _ in sources]
    job = PackingJob(
        units=units,
        length=length,
        block_step=length * vectors * lanes,
        element_step=vectors * lanes,
        vectors=vectors,
        all_vectors=blocks * vectors,
    )
    pairs = zip(sources, places, strict=True)
    packing.write(commands, [(job, *pair) for pair in pairs], job.units * job.length)
    matrix = np.random.default_rng(0).normal(size=(units, length)).astype(dtype)
    larger = np.zeros((2 * units, length + 3), dtype)
    larger[::2, 1:-2] = matrix
    packed = [np.full(place.shape, np.nan, dtype) for place in places]
    commands.finish().run(NUMPY_ARRAYS, [matrix, np.ascontiguousarray(matrix.T), larger, *packed])
    whole = np.zeros((blocks * vectors * lanes, length), dtype)
    whole[:units] = matrix
    expected = whole.reshape(blocks, vectors, lanes, length).transpose(0, 3, 1, 2)
    for found in packed:
        np.testing.assert_array_equal(found, expected)
