"""Memory that is used again, but never by two arrays at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from anyrnn.kernels.cpu.machine import memory
from anyrnn.kernels.numpy_arrays import address

LARGE = (300, 1000)


def test_memory_is_used_again_when_nothing_refers_to_it() -> None:
    first = memory.empty(LARGE, np.float32)
    place = address(first)
    view = first[3:, ::2]
    del first
    other = memory.empty(LARGE, np.float32)
    assert address(other) != place, "a view still refers to it"
    del view
    assert address(memory.empty(LARGE, np.float32)) == place


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0), (5, 7), LARGE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_arrays_are_whole_and_begin_at_a_cache_line(shape, dtype) -> None:
    array = memory.empty(shape, dtype)
    array[...] = 1
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert address(array) % 64 == 0 or not array.size
    assert array.sum() == np.prod(shape)


def test_what_is_kept_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(memory, "KEPT", 4 << 20)
    arrays = [memory.empty((1 << 18,), np.float32) for _ in range(12)]
    del arrays
    assert memory._memory.bytes <= 4 << 20
    assert memory._memory.bytes == sum(block.size for block in memory._memory.free.values())


def test_threads_get_memory_of_their_own() -> None:
    wrong = []

    def work(number: int) -> None:
        for _ in range(200):
            array = memory.empty(LARGE, np.float32)
            array[::50] = number
            if not (array[::50] == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_too_much() -> None:
    with pytest.raises(MemoryError, match="no memory for"):
        memory.empty((1 << 30, 1 << 30), np.uint8)
