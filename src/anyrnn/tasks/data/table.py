"""Tables: columns of text, in which rows have names for messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.columns import Rows, listing, taken


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
