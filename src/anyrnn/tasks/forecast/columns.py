"""The columns of a table or a data frame as arrays of numbers, times and names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy
import pandas

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.columns import TextColumn, in_pieces
from anyrnn.tasks.forecast.frequency import Kind, read_times
from anyrnn.tasks.forecast.options import DataOptions

_MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", "<na>", "nat"}
# Networks compute in float32, and errors are squared.
_LARGEST = 1e15
DEFAULT_TIME, DEFAULT_TARGET, DEFAULT_GROUP = "ds", "y", "unique_id"


class Source(Protocol):
    """Where columns come from: a `Table`, or a frame."""

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        ...

    def column(self, name: str, option: str) -> Any:
        """The values of a column that an option names."""
        ...

    def row(self, index: int) -> str:
        """How messages name a row."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...


@dataclass(frozen=True)
class FrameSource:
    """A data frame as a source of columns."""

    frame: pandas.DataFrame

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [str(name) for name in self.frame.columns]

    def column(self, name: str, option: str) -> pandas.Series:
        """The values of a column.

        Raises:
            DataError: There is none of that name, or several.
        """
        names = self.names
        if names.count(name) != 1:
            count = "two columns" if name in names else "no column"
            raise DataError(
                f"the frame has {count} {name!r} ({option_name(option)}); it has "
                + ", ".join(map(repr, names[:20]))
            )
        return self.frame.iloc[:, names.index(name)].reset_index(drop=True)

    def row(self, index: int) -> str:
        """How messages name a row."""
        return f"row {index}"

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.frame)


@dataclass(frozen=True)
class Columns:
    """Which column has which role.

    Attributes:
        time, group: The columns of times and of the series' names, if there are such.
        targets: What is forecast.
        past, future: The covariates.
    """

    time: str | None
    group: str | None
    targets: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]

    @classmethod
    def of(cls, options: DataOptions, names: Sequence[str]) -> "Columns":
        """The columns that the options name, or that are called as usual.

        Raises:
            DataError: Nothing says what to forecast.
        """
        time = options.time or (DEFAULT_TIME if DEFAULT_TIME in names else None)
        group = options.group or (DEFAULT_GROUP if DEFAULT_GROUP in names else None)
        targets = options.target or ((DEFAULT_TARGET,) if DEFAULT_TARGET in names else ())
        if not targets:
            raise DataError(
                f"nothing says which column to forecast: name it with {option_name('target')} "
                f"(there are {', '.join(map(repr, names[:20]))})"
            )
        return cls(time, group, targets, options.past_covariates, options.future_covariates)

    @property
    def values(self) -> tuple[tuple[str, str], ...]:
        """Each column of numbers, with the option that names it."""
        return (
            *((name, "target") for name in self.targets),
            *((name, "past_covariates") for name in self.past),
            *((name, "future_covariates") for name in self.future),
        )

    @property
    def all(self) -> list[str]:
        """Every column."""
        return [
            *filter(None, (self.group, self.time)),
            *self.targets,
            *self.past,
            *self.future,
        ]


def numbers(
    source: Source, label: str, name: str, option: str, options: DataOptions
) -> numpy.ndarray:
    """A column as float64, in which what is missing is NaN.

    Raises:
        DataError: A value is no number, or is infinite.
    """
    pieces = [
        _numbers(source, label, name, values, start, options)
        for start, values in in_pieces(source.column(name, option))
    ]
    return numpy.concatenate(pieces) if pieces else numpy.empty(0)


def _numbers(
    source: Source, label: str, name: str, values: pandas.Series, start: int, options: DataOptions
) -> numpy.ndarray:
    if pandas.api.types.is_numeric_dtype(values.dtype):
        found = numpy.array(values.astype("float64"))
        missing = numpy.isnan(found)
    else:
        texts = values.astype(object).where(values.notna(), "").astype(str).str.strip()
        missing = texts.str.lower().isin(_MISSING).to_numpy()
        decimal = texts.str.replace(",", ".", regex=False) if options.decimal == "," else texts
        known: Any = pandas.to_numeric(decimal.where(~missing, "nan"), errors="coerce")
        found = numpy.array(known, numpy.float64)
    too_large = numpy.abs(found) > _LARGEST
    bad = numpy.flatnonzero((numpy.isnan(found) & ~missing) | too_large)
    if len(bad):
        value = str(values.iloc[bad[0]])
        hint = ""
        if "," in value and options.decimal == ".":
            hint = f"; if its comma is a decimal sign, say {option_name('decimal', ',')}"
        raise DataError(
            f"{label}: {source.row(start + int(bad[0]))} has {value[:40]!r} in the column "
            f"{name!r}, "
            + (
                f"but {_LARGEST:g} is the largest"
                if too_large[bad[0]]
                else f"which is no number{hint}"
            )
        )
    return numpy.where(numpy.isin(found, options.missing_value), numpy.nan, found)


def times(
    source: Source, label: str, name: str, rows: numpy.ndarray, options: DataOptions
) -> tuple[numpy.ndarray, Kind]:
    """The times of some rows, as integers, and what they are.

    Raises:
        DataError: One cannot be read.
    """
    column = source.column(name, "time")
    values = column.taken(rows) if isinstance(column, TextColumn) else pandas.Series(column)[rows]
    values = values if isinstance(values, TextColumn) else values.reset_index(drop=True)
    found, kind, off = read_times(values, options.time_format)
    if off is not None:
        written = (
            f"as {options.time_format!r}"
            if options.time_format
            else "as a date or a whole number; say how it is written with "
            + option_name("time_format", "FORMAT")
        )
        raise DataError(
            f"{label}: {source.row(int(rows[off]))} has the time {str(values[off])[:40]!r} in the "
            f"column {name!r}, which cannot be read {written}"
        )
    return found, kind


def present(source: Source, name: str, option: str) -> numpy.ndarray:
    """Whether each row has a value in a column that is no number."""
    found = numpy.empty(len(source), bool)
    for start, values in in_pieces(source.column(name, option)):
        there = values.notna()
        if not pandas.api.types.is_numeric_dtype(values.dtype):
            texts = values.astype(object).where(there, "").astype(str).str.strip()
            there = (texts != "") & (texts != "NaT")
        found[start : start + len(values)] = there
    return found
