"""Tables, and columns of them that need not fit into memory."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy
import pandas
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute

from anyrnn.errors import DataError, option_name

T = TypeVar("T")
Rows = NDArray[numpy.int64]

_AT_ONCE = 10_000
_OF_SERIES = 100_000


MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", "<na>", "nat"])
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
        >>> number_of("1e3"), number_of(" NA"), number_of("True"), number_of("2,5", decimal=",")
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


class RowNames(Sequence[str]):
    """How messages name rows, such as "record 17".

    Args:
        unit: How they count them.
        numbers: The number of each row, in that unit.
    """

    def __init__(self, unit: str, numbers: Sequence[int] | Rows) -> None:
        self._unit = unit
        self._numbers = numbers

    def taken(self, rows: Sequence[int] | Rows) -> "RowNames":
        """The names of some rows."""
        chosen = numpy.asarray(rows, dtype=numpy.int64)
        if isinstance(self._numbers, range):
            return RowNames(self._unit, chosen * self._numbers.step + self._numbers.start)
        return RowNames(self._unit, numpy.asarray(self._numbers)[chosen])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        return f"{self._unit} {self._numbers[index]}"


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


def hash_of(values: NDArray[Any]) -> str:
    """A hash of an array's content."""
    return blake2b(numpy.ascontiguousarray(values).data, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Table:
    """What a file holds: columns of text, in which an empty value is `None`.

    Attributes:
        path: The file.
        names: The names of all columns of the file; two may be the same.
        columns: The values of the columns that were wanted, all of the same length.
        unit: How messages count a row: "record" (from 1, without the header), "line" or "row".
        numbers: The number of each row, in that unit.
        digest: A hash of the file's content.
        skipped: How many rows were left out, by reason.
    """

    path: Path
    names: list[str]
    columns: Mapping[str, Any]
    unit: str
    numbers: Sequence[int]
    digest: str
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def taken(self, rows: Sequence[int], skipped: Mapping[str, int]) -> "Table":
        """Some rows.

        Args:
            rows: Which.
            skipped: How many others there were, by reason.
        """
        columns = {name: taken(values, rows) for name, values in self.columns.items()}
        numbers: Any = numpy.asarray(self.numbers)[rows]
        skipped = {**self.skipped, **skipped}
        return replace(self, columns=columns, numbers=numbers, skipped=skipped)

    def column(self, name: str, option: str) -> Sequence[Any]:
        """The values of one column.

        Args:
            name: The column's name.
            option: The name of the option that named it, for the message.

        Raises:
            DataError: There is no such column (the message names the nearest one), or two.
        """
        names = self.names
        if names.count(name) > 1:
            raise DataError(
                f"{self.path} has two columns {name!r} ({option_name(option)}); rename one of them"
            )
        if name in self.columns:
            return self.columns[name]
        near = [other for other in names if other.casefold() == name.casefold()]
        near = near or get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        if len(names) == 1:
            guess = other_separator(names[0]) or guess
        raise DataError(
            f"{self.path} has no column {name!r} ({option_name(option)}){guess} "
            f"(it has {listing(names)})"
        )

    @property
    def rows(self) -> RowNames:
        """How messages name the rows."""
        return RowNames(self.unit, self.numbers)

    def row(self, index: int) -> str:
        """How messages name a row, such as "record 17"."""
        return f"{self.unit} {self.numbers[index]}"


def leave_out(found: Any, row: str, problem: object, units: str, skip_bad: bool) -> None:
    """Leave out what cannot be used, and count it; or refuse the file that it is in.

    Args:
        found: What was found in the file so far: it has a `path`, and counts in `skipped`.
        row: How messages name what cannot be used.
        problem: Why.
        units: What it is, in the plural.
        skip_bad: Whether it may be left out.

    Raises:
        DataError: It may not be.
    """
    if not skip_bad:
        raise DataError(
            f"{found.path}: {row} {problem}; mend it, or leave such {units} out with "
            f"{option_name('skip_bad', True)}"
        ) from None
    found.skipped[f"{units} that cannot be used"] += 1


def other_separator(header: str) -> str:
    """What is said of a first line whose columns seem separated by another character, if so."""
    for separator in (";", "\t", "|"):
        if separator in header:
            use = option_name("separator", repr(separator))
            return f"; its columns seem separated by {separator!r}: use {use}"
    return ""
