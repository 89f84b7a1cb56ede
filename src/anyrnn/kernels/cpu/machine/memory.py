"""Large arrays whose memory is used again after them.

A fresh large array costs a page fault for every 4 KiB, worth a third of a run. Memory of an array
that nobody refers to any more goes to the next one of about its size, in whatever thread.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections import OrderedDict
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 1 << 16  # bytes; smaller arrays come from NumPy
KEPT = 1 << 28  # bytes that are kept at most for later
MOST = 1.5  # times what is asked for that a block may have
HUGE = 1 << 22  # bytes from which on large pages are asked for


class _Memory:
    """The free blocks, the ones that were used last at the end."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # an array may end in the middle of a call here
        self.free: OrderedDict[int, tuple[int, Any]] = OrderedDict()  # by address: size, block
        self.bytes = 0

    def take(self, size: int) -> tuple[int, int, Any]:
        """The address of a block, its size, and the block: of the free ones the smallest that is
        not much larger than what is asked for, and of such the last one used; or a new one.
        """
        with self.lock:
            fits = [
                (found, -place, address)
                for place, (address, (found, _)) in enumerate(self.free.items())
                if size <= found <= MOST * size
            ]
            if fits:
                found, _, address = min(fits)
                self.bytes -= found
                return address, found, self.free.pop(address)[1]
        block = self._new(size)
        return np.frombuffer(block, np.uint8).ctypes.data, size, block

    @staticmethod
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

    def give(self, address: int, size: int, block: Any) -> None:
        """Take a block back; the ones that have waited longest are let go."""
        with self.lock:
            self.free[address] = (size, block)
            self.bytes += size
            while self.bytes > KEPT:
                _, (old, _) = self.free.popitem(last=False)
                self.bytes -= old


_memory = _Memory()


def _after_fork() -> None:
    _memory.lock = threading.RLock()  # a thread that is not in the child may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Lease:
    """Owns a block as long as an array refers to it."""

    def __init__(self, size: int) -> None:
        self.address, self.size, self.block = _memory.take(size)
        self.__array_interface__ = {
            "data": (self.address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        if hasattr(self, "address"):
            _memory.give(self.address, self.size, self.block)


def _rounded(size: int) -> int:
    """A size that others are likely to ask for too: at most an eighth more, and whole pages."""
    step = max(mmap.PAGESIZE, 1 << (size.bit_length() - 4))
    return -(-size // step) * step


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array that begins at a cache line; its contents are undefined.

    Args:
        shape: Its shape.
        dtype: Its type.

    Returns:
        The array; its memory is used again when nothing refers to it any more.
    """
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size >= LEAST:
        return np.ndarray(shape, dtype, np.asarray(_Lease(_rounded(size))))
    raw = np.empty(size + 64, np.uint8)
    return np.ndarray(shape, dtype, raw, -raw.__array_interface__["data"][0] % 64)
