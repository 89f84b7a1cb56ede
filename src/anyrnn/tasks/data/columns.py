"""Columns that need not fit into memory: texts, and long texts in pieces."""

import math
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any, TypeVar, overload

import numpy
import pandas
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute

from anyrnn.errors import option_name

T = TypeVar("T")
Rows = NDArray[numpy.int64]

_AT_ONCE = 10_000
_OF_SERIES = 100_000


MISSING = frozenset(
    ["", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "<na>", "nat"]
)
"""What stands in small letters where a number is missing."""

TRUTH = {"true": "1", "false": "0"}


def number_of(text: str | None, decimal: str = ".") -> float:
    """A number from text; NaN if it is missing, 1 and 0 for true and false.

    Args:
        text: The text.
        decimal: The decimal sign; a "." with another one would mark thousands and is refused.

    Raises:
        ValueError: It is none.

    Example:
        >>> number_of("1e3"), number_of(" #N/A"), number_of("True"), number_of("2,5", decimal=",")
        (1000.0, nan, 1.0, 2.5)
    """
    plain = (text or "").strip().lower()
    if plain in MISSING:
        return math.nan
    if "_" in plain or (decimal != "." and "." in plain):
        raise ValueError(f"{text!r} is no number")
    return float(TRUTH.get(plain, plain.replace(decimal, ".")))


def no_number(text: str, decimal: str = ".") -> str:
    """What is said of a text that should be a number: a clause that follows it."""
    problem = "which is no number"
    if "," in text and "." in text:
        return f"{problem}; write it without a mark of thousands"
    if "," in text and decimal == ".":
        comma = option_name("decimal", ",")
        return f"{problem}; if its comma is a decimal sign, say {comma}; else leave it out"
    if "." in text and decimal == ",":
        return f"{problem} with {option_name('decimal', ',')}; write it without a mark of thousands"
    return problem


def in_pieces(column: Any) -> Iterator[tuple[int, pandas.Series]]:
    """Some values of a column after the other, as a series, each with the number of its first."""
    for start in range(0, len(column), _OF_SERIES):
        yield start, pandas.Series(column[start : start + _OF_SERIES]).reset_index(drop=True)


def listing(names: Sequence[object], most: int = 20) -> str:
    """Names for a message, the first of them if they are many.

    Example:
        >>> listing(["a", "b", "c"], most=2)
        "'a', 'b', ..."
    """
    return ", ".join([*map(repr, names[:most]), *(["..."] if len(names) > most else [])])


def taken(values: Sequence[T], rows: Sequence[int]) -> Sequence[T]:
    """The values of some rows; those that lie on disk stay there."""
    if rows == range(len(values)):
        return values
    own = getattr(values, "taken", None)
    if own is not None:
        return own(rows)
    return [values[row] for row in rows]


class TextColumn(Sequence[Any]):
    """Texts, or `None` where a value is missing, in Arrow's arrays.

    Args:
        chunks: The arrays, one after the other.
        key: A name that follows from all values.
        rows: Which rows of the arrays these are; all, if not given.
        read: What makes a value of a text.
        on_disk: Whether the arrays lie on disk.

    Example:
        >>> column = TextColumn([pyarrow.array(["a", "b"]), pyarrow.array(["c"])], "abc")
        >>> list(column.taken([2, 0])), column[-1], column[:2]
        (['c', 'a'], 'c', ['a', 'b'])
    """

    def __init__(
        self,
        chunks: Sequence[pyarrow.Array],
        key: str,
        rows: Rows | None = None,
        read: Callable[[Any], Any] | None = None,
        on_disk: bool = False,
    ) -> None:
        self.on_disk = on_disk
        self._chunks = chunks
        self._made = read
        self._starts = numpy.cumsum([0, *map(len, chunks)])
        self._rows = rows
        self._key = key

    @property
    def key(self) -> str:
        """A name that follows from the values."""
        if self._rows is None:
            return self._key
        return f"{self._key} {hash_of(self._rows)}"

    def taken(self, rows: Sequence[int] | Rows) -> "TextColumn":
        """The values of some rows."""
        chosen = numpy.asarray(rows, dtype=numpy.int64)
        if self._rows is not None:
            chosen = self._rows[chosen]
        return TextColumn(self._chunks, self._key, chosen, self._made, self.on_disk)

    @classmethod
    def joined(cls, columns: Sequence["TextColumn"]) -> "TextColumn":
        """The values of columns that are read alike, one after the other."""
        if len(columns) == 1:
            return columns[0]
        rows = []
        first = 0
        for column in columns:
            own = numpy.arange(len(column)) if column._rows is None else column._rows
            rows.append(own + first)
            first += int(column._starts[-1])
        return cls(
            [chunk for column in columns for chunk in column._chunks],
            " ".join(column.key for column in columns),
            numpy.concatenate(rows),
            columns[0]._made,
            any(column.on_disk for column in columns),
        )

    def read_by(self, read: Callable[[Any], Any]) -> "TextColumn":
        """The column of what a function makes of each text, when it is asked for."""
        key = f"{self._key} {read.__module__}.{read.__qualname__}"
        return TextColumn(self._chunks, key, self._rows, read, self.on_disk)

    def text_lengths(self) -> Rows:
        """The number of characters of each text of a column without missing ones."""
        lengths = [compute.utf8_length(chunk).to_numpy() for chunk in self._chunks]  # pyright: ignore
        found = numpy.concatenate(lengths).astype(numpy.int64)
        return found if self._rows is None else found[self._rows]

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            rows = range(len(self))[index]
            return self._read(numpy.array([rows]))[0]
        return self._read(numpy.arange(len(self))[index])

    def _read(self, numbers: Rows) -> list[Any]:
        rows = numbers if self._rows is None else self._rows[numbers]
        places = numpy.searchsorted(self._starts, rows, side="right") - 1
        found: list[Any] = []
        start = 0
        for place, run in groupby(places.tolist()):
            stop = start + sum(1 for _ in run)
            within = pyarrow.array(rows[start:stop] - self._starts[place])
            found += self._chunks[place].take(within).to_pylist()
            start = stop
        return found if self._made is None else list(map(self._made, found))


class LongText:
    """A text in pieces, which may lie on disk; it is cut by characters, like a string.

    Args:
        pieces: The pieces.
        first, last: Which characters of all pieces these are.

    Example:
        >>> text = LongText(TextColumn([pyarrow.array(["to be ", "or not"])], "hamlet"))
        >>> len(text), list(text[3:8]), text[3:8].key
        (12, ['be ', 'or'], 'hamlet 3 8')
    """

    def __init__(self, pieces: TextColumn, first: int = 0, last: int | None = None) -> None:
        self._pieces = pieces
        self._ends = numpy.cumsum(pieces.text_lengths())
        self._first = first
        self._last = int(self._ends[-1]) if last is None else last

    @property
    def on_disk(self) -> bool:
        """Whether the pieces lie on disk."""
        return self._pieces.on_disk

    @property
    def key(self) -> str:
        """A name that follows from the text."""
        return f"{self._pieces.key} {self._first} {self._last}"

    def __len__(self) -> int:
        """The number of characters."""
        return self._last - self._first

    def __getitem__(self, part: slice) -> "LongText":
        first, last, _ = part.indices(len(self))
        return LongText(self._pieces, self._first + first, self._first + max(first, last))

    def __iter__(self) -> Iterator[str]:
        """The pieces, the first and the last one cut."""
        place = int(numpy.searchsorted(self._ends, self._first, side="right"))
        begin = int(self._ends[place - 1]) if place else 0
        while begin < self._last:
            piece = self._pieces[place]
            yield piece[max(0, self._first - begin) : self._last - begin]
            begin, place = begin + len(piece), place + 1


def key_on_disk(texts: Sequence[Any]) -> str:
    """A name that follows from texts of which some lie on disk; empty if none does."""
    if isinstance(texts, TextColumn):
        columns: list[Any] = [texts]
    else:
        columns = [text for text in texts if isinstance(text, LongText)]
    return " ".join(each.key for each in columns) if any(c.on_disk for c in columns) else ""


def hash_of(values: NDArray[Any]) -> str:
    """A hash of an array's content."""
    return blake2b(numpy.ascontiguousarray(values).data, digest_size=16).hexdigest()
