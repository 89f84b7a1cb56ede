"""Sequences of numbers that need not fit into memory."""

from collections.abc import Sequence
from typing import Any

import numpy
import pyarrow
from numpy.typing import NDArray

from anyrnn.tasks.data.columns import Rows


class Sequences(Sequence[NDArray[Any]]):
    """Sequences of numbers, each an array, in larger arrays that may lie on disk.

    Args:
        chunks: Lists of whole numbers, or of numbers of 32 bits, as Arrow has them.
        rows: Which of the lists these are; all, if not given.

    Example:
        >>> sequences = Sequences([pyarrow.array([[5, 6], [7]]), pyarrow.array([[8]])])
        >>> sequences[1], sequences[2], sequences.lengths
        (array([7]), array([8]), array([2, 1, 1]))
    """

    def __init__(self, chunks: Sequence[Any], rows: Rows | None = None) -> None:
        self._chunks, self._rows = chunks, rows
        self._starts = numpy.cumsum([0, *map(len, chunks)])
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._values = [chunk.values.to_numpy() for chunk in chunks]
        fractions = any(values.dtype.kind == "f" for values in self._values)
        self._kind: Any = numpy.float32 if fractions else numpy.int64
        lengths = [numpy.diff(offsets) for offsets in self._offsets]
        every: Rows = numpy.concatenate(lengths or [[]]).astype(numpy.int64)
        self.lengths: Rows = every if rows is None else every[rows]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        return self.padded(numpy.array([range(len(self))[index]]), 0)[0]

    def taken(self, rows: Sequence[int] | Rows) -> "Sequences":
        """The sequences of some rows."""
        chosen = numpy.asarray(rows, dtype=numpy.int64)
        return Sequences(self._chunks, chosen if self._rows is None else self._rows[chosen])

    def followed_by(self, others: Sequence[NDArray[Any]]) -> "Sequences":
        """These and others, which are in memory."""
        offsets, values = numpy.cumsum([0, *map(len, others)]), numpy.concatenate([*others])
        more = pyarrow.LargeListArray.from_arrays(pyarrow.array(offsets), pyarrow.array(values))
        before = int(self._starts[-1])
        own = numpy.arange(before) if self._rows is None else self._rows
        rows = numpy.concatenate([own, before + numpy.arange(len(others))])
        return Sequences([*self._chunks, more], rows)

    def padded(self, rows: Rows, padding: float) -> NDArray[Any]:
        """The sequences of some rows, padded at the end to the longest of them."""
        lengths = self.lengths[rows]
        rows = rows if self._rows is None else self._rows[rows]
        places = numpy.searchsorted(self._starts, rows, side="right") - 1
        within = rows - self._starts[places]
        found = numpy.full((len(rows), lengths.max(initial=0)), padding, dtype=self._kind)
        listed = zip(places.tolist(), within.tolist(), lengths.tolist(), strict=True)
        for number, (place, row, length) in enumerate(listed):
            start = self._offsets[place][row]
            found[number, :length] = self._values[place][start : start + length]
        return found
