"""A free list for the memory of large arrays.

A fresh large array costs a page fault for every 4 KiB, a third of the time of a run. The memory of
a collected array goes to the next one of about its size, in any thread.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections import OrderedDict
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 1 << 16  # bytes; smaller arrays are NumPy's
KEPT = 1 << 28  # bytes of the free list, at most
MOST = 1.5  # the largest ratio of a block's size to what is asked for
HUGE = 1 << 22  # bytes from which on huge pages are asked for


class _Block:
    """A block of memory, as NumPy reads it."""

    __slots__ = ("address", "interface", "memory", "size")

    def __init__(self, size: int) -> None:
        self.memory, self.size = _new(size), size
        self.address = np.frombuffer(self.memory, np.uint8).ctypes.data
        self.interface = {
            "data": (self.address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


def _new(size: int) -> Any:
    if sys.platform == "win32":
        return np.empty(size, np.uint8)
    try:
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no memory for {size} bytes") from error
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


class _Memory:
    """The free list, in the order of last use."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a call here may collect an array
        self.free: OrderedDict[int, _Block] = OrderedDict()  # by address
        self.of_size: dict[int, list[int]] = {}  # the addresses of blocks of equal size
        self.bytes = 0

    def take(self, size: int) -> _Block:
        """A block: the smallest free one that fits, and is not much larger; of equals the last one
        used, which may be in the cache; or a new one.
        """
        with self.lock:
            fits = self.of_size.get(size)
            if not fits:
                sizes = [n for n in [*self.of_size] if size < n <= MOST * size and self.of_size[n]]
                fits = self.of_size[min(sizes)] if sizes else None
            if fits:
                block = self.free.pop(fits.pop())
                self.bytes -= block.size
                return block
        return _Block(size)

    def give(self, block: _Block) -> None:
        """Take a block back, and release those that were used the longest ago."""
        with self.lock:
            self.free[block.address] = block
            self.of_size.setdefault(block.size, []).append(block.address)
            self.bytes += block.size
            while self.bytes > KEPT:
                address, old = self.free.popitem(last=False)
                self.of_size[old.size].remove(address)
                self.bytes -= old.size


_memory = _Memory()


def _after_fork() -> None:
    _memory.lock = threading.RLock()  # a thread that is not in the child may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Lease:
    """Owns a block while an array refers to it."""

    __slots__ = ("__array_interface__", "block")

    def __init__(self, size: int) -> None:
        self.block = _memory.take(size)
        self.__array_interface__ = self.block.interface

    def __del__(self) -> None:
        if hasattr(self, "block") and _memory is not None:  # it is none while the process ends
            _memory.give(self.block)


@lru_cache(maxsize=1024)
def _rounded(size: int) -> int:
    """The size class: at most an eighth more than is asked for, and whole pages."""
    step = max(mmap.PAGESIZE, 1 << (size.bit_length() - 4))
    return -(-size // step) * step


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An uninitialised array, aligned to a cache line; its memory goes back to the free list."""
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size >= LEAST:
        return np.ndarray(shape, dtype, np.asarray(_Lease(_rounded(size))))
    raw = np.empty(size + 64, np.uint8)
    return np.ndarray(shape, dtype, raw, -raw.__array_interface__["data"][0] % 64)
