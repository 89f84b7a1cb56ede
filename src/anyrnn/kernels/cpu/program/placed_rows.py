"""Rows that are anywhere in an array, whose places follow from the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.varying import Count, value_of
from anyrnn.kernels.numpy_arrays import address
from anyrnn.kernels.run import Array


@dataclass(frozen=True, slots=True)
class PlacedRows:
    """Some rows of an array.

    Attributes:
        array: The array.
        index: Gives the row of the array of each row of a run, for the steps of the run; they keep
            that index in memory.
        first, last: Which rows of the run these are, a half-open range.
    """

    array: BufferView
    index: Callable[[Any], Array]
    first: Count
    last: Count

    @property
    def shape(self) -> tuple[Count, int]:
        """How many they are, and their size."""
        return self.last - self.first, self.array.shape[1]

    def __getitem__(self, rows: slice) -> PlacedRows:
        """Some of these rows."""
        first = self.first + (0 if rows.start is None else rows.start)
        last = self.last if rows.stop is None else self.first + rows.stop
        return replace(self, first=first, last=last)

    def start(self, steps: Any, numbers: Sequence[int]) -> int:
        """Where the index of these rows begins."""
        index = self.index(steps)
        return address(index) + value_of(self.first, numbers) * index.itemsize

    def offsets(self, steps: Any, numbers: Sequence[int]) -> Array:
        """The offset of each row in the array, in bytes."""
        first, last = (value_of(bound, numbers) for bound in (self.first, self.last))
        return self.index(steps)[first:last] * self.array.strides[0]
