"""Arrays without memory: where in which block of memory they will be when commands run."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np


@dataclass(slots=True, eq=False)
class BufferView:
    """An array without memory: a strided view of a block, which can be sliced and transposed.

    Its offset and its shape may vary with the steps of a run.

    Attributes:
        block: The index of the block.
        offset: Its offset in the block, in bytes.
        shape: Its shape.
        strides: Its strides, in bytes.
        dtype: Its type.
        name: For messages, what an array that a caller gives is, and what it is called.
    """

    block: int
    offset: Any
    shape: tuple[Any, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    name: tuple[str, str] = ("array", "")

    def __getitem__(self, key: Any) -> BufferView:
        """A subview: for each axis an index, or a slice without a step."""
        keys = key if isinstance(key, tuple) else (key,)
        if keys[0] is ...:
            keys = (slice(None),) * (len(self.shape) - len(keys) + 1) + keys[1:]
        offset, shape, strides = self.offset, [], []
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            part = keys[axis] if axis < len(keys) else slice(None)
            if isinstance(part, slice):
                start, stop = part.start or 0, size if part.stop is None else part.stop
                if isinstance(size, int) and isinstance(start, int) and isinstance(stop, int):
                    start, stop, _ = part.indices(size)
                    stop = max(start, stop)
                shape.append(stop - start)
                strides.append(stride)
            else:
                start = part
            offset += start * stride
        return BufferView(self.block, offset, tuple(shape), tuple(strides), self.dtype)

    @property
    def varies(self) -> bool:
        """Whether its offset or its shape varies."""
        return not all(isinstance(number, int) for number in (self.offset, *self.shape))

    @property
    def T(self) -> BufferView:  # noqa: N802 - as NumPy calls it
        """The transposed view."""
        return BufferView(self.block, self.offset, self.shape[::-1], self.strides[::-1], self.dtype)

    @property
    def column(self) -> BufferView:
        """A vector as a matrix with one column."""
        shape, strides = (*self.shape, 1), (*self.strides, self.dtype.itemsize)
        return BufferView(self.block, self.offset, shape, strides, self.dtype)

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides in elements."""
        return tuple(stride // self.dtype.itemsize for stride in self.strides)

    @property
    def row_major(self) -> bool:
        """Whether rows are contiguous."""
        return not self.shape or self.strides[-1] == self.dtype.itemsize or self.shape[-1] == 1

    @property
    def contiguous(self) -> bool:
        """Whether the whole array is contiguous."""
        size = self.dtype.itemsize
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != size:
                return False
            size *= length
        return True

    @property
    def bytes(self) -> Any:
        """The size of a contiguous array of this shape."""
        return prod(self.shape) * self.dtype.itemsize
