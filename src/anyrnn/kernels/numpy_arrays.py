"""NumPy's arrays as runs take them."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_ubyte
from typing import Any

import numpy as np

from anyrnn.errors import ArrayError
from anyrnn.graph.interpret import NUMPY
from anyrnn.kernels.cpu.machine import memory
from anyrnn.kernels.run import Array, ArrayInterface, Reader, Slot


def address(array: Array) -> int:
    """Where an array's memory begins."""
    return array.__array_interface__["data"][0]


def memory_at(start: int, size: int) -> Array:
    """So many bytes of memory as an array, which does not keep it alive."""
    there: Any = (c_ubyte * size).from_address(start)
    return np.ndarray((size,), np.uint8, there)


def _reader(slots: Sequence[Slot]) -> Reader:
    def read(arrays: Sequence[Array]) -> tuple[list[Array], list[int]]:
        found = []
        for array, slot in zip(arrays, slots, strict=True):
            if array.shape != slot.shape:
                raise ArrayError(*slot.name, f"has shape {array.shape}; expected {slot.shape}")
            right = array.dtype == slot.dtype and array.flags.c_contiguous
            found.append(array if right else np.ascontiguousarray(array, slot.dtype))
        return found, [*map(address, found)]

    return read


def _changes(arrays: Sequence[Array]) -> list[int] | None:
    """No array counts its changes; there are none to one that cannot be written."""
    return None if any(array.flags.writeable for array in arrays) else []


NUMPY_ARRAYS = ArrayInterface(
    operations=NUMPY,
    maker=lambda shape, dtype: lambda: memory.empty(shape, dtype),
    reader=_reader,
    address=address,
    view=lambda array: array,
    changes=_changes,
    alias=lambda array: array,
)
