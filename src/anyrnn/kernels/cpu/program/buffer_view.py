"""Arrays without memory: where in which block of memory they will be when commands run."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np


@dataclass(slots=True, eq=False)
class BufferView:
    """An array without memory: a strided view of a block, which can be sliced and transposed.

    Attributes:
        block: The index of the block.
        offset: Its offset in the block, in bytes.
        shape: Its shape.
        strides: Its strides, in bytes.
        dtype: Its type.
        name: For messages, what an array that a caller gives is, and what it is called.
    """

    block: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    name: tuple[str, str] = ("array", "")

    def __len__(self) -> int:
        """The size of the first axis."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> BufferView:
        """A subview: for each axis an index, or a slice without a step."""
        keys = key if isinstance(key, tuple) else (key,)
        if keys[0] is ...:
            keys = (slice(None),) * (len(self.shape) - len(keys) + 1) + keys[1:]
        offset, shape, strides = self.offset, [], []
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            part = keys[axis] if axis < len(keys) else slice(None)
            if isinstance(part, slice):
                start, stop, _ = part.indices(size)
                shape.append(max(0, stop - start))
                strides.append(stride)
            else:
                start = part
            offset += start * stride
        return BufferView(self.block, offset, tuple(shape), tuple(strides), self.dtype)

    @property
    def T(self) -> BufferView:  # noqa: N802 - as NumPy calls it
        """The transposed view."""
        return BufferView(self.block, self.offset, self.shape[::-1], self.strides[::-1], self.dtype)

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
    def bytes(self) -> int:
        """The size of a contiguous array of this shape."""
        return prod(self.shape) * self.dtype.itemsize
