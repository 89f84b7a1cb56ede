"""The columns of a table or a data frame as arrays of numbers, times and names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pandas

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.columns import MISSING, TRUTH, TextColumn, in_pieces, listing, no_number
from anyrnn.tasks.data.frequency import Frequency, Kind
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.data.times import read_times, unreadable
from anyrnn.tasks.forecast.options import DataOptions, check_roles

# Networks compute in float32, and errors are squared.
_LARGEST = 1e15
DEFAULT_TIME, DEFAULT_TARGET, DEFAULT_GROUP = "ds", "y", "unique_id"


def frame_table(frame: pandas.DataFrame, label: str = "the frame") -> Table:
    """A data frame as a table, whose rows messages count from 0."""
    frame = with_index(frame)
    names = list(frame.columns)
    columns = {name: frame.iloc[:, i].reset_index(drop=True) for i, name in enumerate(names)}
    return Table(Path(label), names, columns, "row", range(len(frame)), "")


def with_index(frame: pandas.DataFrame) -> pandas.DataFrame:
    """A data frame in which levels of the index that have a name, or times, are columns, too; all
    names are text.
    """
    index = frame.index
    if isinstance(index, pandas.DatetimeIndex | pandas.PeriodIndex) and index.name is None:
        index = index.rename(DEFAULT_TIME)
    frame = frame.set_axis([*map(str, frame.columns)], axis=1)
    for level, name in enumerate(index.names):
        if name is not None and str(name) not in frame.columns:
            frame[str(name)] = index.get_level_values(level)
    return frame


def texts_of(names: pandas.Series) -> pandas.Series:
    """The names of series as text."""
    return names.astype(str).str.strip()


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
            OptionError: A column has two roles.
        """
        time = options.time or (DEFAULT_TIME if DEFAULT_TIME in names else None)
        group = options.group or (DEFAULT_GROUP if DEFAULT_GROUP in names else None)
        targets = options.target or ((DEFAULT_TARGET,) if DEFAULT_TARGET in names else ())
        if not targets:
            raise DataError(
                f"nothing says which column to forecast: name it with {option_name('target')} "
                f"(there are {listing(names)})"
            )
        found = cls(time, group, targets, options.past_covariates, options.future_covariates)
        check_roles(
            ("time", [found.time]),
            ("group", [found.group]),
            ("target", found.targets),
            ("past_covariates", found.past),
            ("future_covariates", found.future),
        )
        return found

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
        return [*filter(None, (self.group, self.time)), *(name for name, _ in self.values)]


@dataclass(frozen=True)
class Reader:
    """A table, the roles of its columns, and how they are read."""

    table: Table
    columns: Columns
    options: DataOptions

    def usable(self) -> tuple[numpy.ndarray, dict[str, Any]]:
        """The rows with a time and a group, and what was found: how many rows have none.

        Raises:
            DataError: A row has none and `skip_bad` is not set, or no row has both.
        """
        usable = numpy.ones(len(self.table), bool)
        found: dict[str, Any] = {}
        for name, option in ((self.columns.time, "time"), (self.columns.group, "group")):
            if name is None:
                continue
            there = self._present(name, option)
            if not there.all() and not self.options.skip_bad:
                raise DataError(
                    f"{self.table.path}: {self.table.row(int(there.argmin()))} has no {name!r}; "
                    f"fill it in, or leave such rows out with {option_name('skip_bad', True)}"
                )
            if not there.all():
                found[f"rows without {name}"] = int((~there).sum())
            usable &= there
        if not usable.any():
            raise DataError(
                f"{self.table.path} has no row in which every needed column has a value"
            )
        return numpy.flatnonzero(usable), found

    def _present(self, name: str, option: str) -> numpy.ndarray:
        """Whether each row has a value in a column that is no number."""
        found = numpy.empty(len(self.table), bool)
        for start, values in in_pieces(self.table.column(name, option)):
            there = values.notna()
            if not pandas.api.types.is_numeric_dtype(values.dtype):
                texts = values.astype(object).where(there, "").astype(str).str.strip()
                there = (texts != "") & (texts != "NaT")
            found[start : start + len(values)] = there
        return found

    def groups(self, rows: numpy.ndarray) -> tuple[numpy.ndarray, list[str]]:
        """The number of the series of each of some rows, and the names of the series."""
        if self.columns.group is None:
            return numpy.zeros(len(rows), numpy.int64), [""]
        numbers: dict[str, int] = {}
        found = numpy.empty(len(rows), numpy.int64)
        for start, values in in_pieces(self.table.column(self.columns.group, "group")):
            first, last = numpy.searchsorted(rows, [start, start + len(values)])
            chosen = values.iloc[rows[first:last] - start]
            codes, names = pandas.factorize(texts_of(chosen))
            known = [numbers.setdefault(str(name), len(numbers)) for name in names]
            found[first:last] = numpy.array(known, numpy.int64)[codes]
        return found, list(numbers)

    def times(
        self, rows: numpy.ndarray, codes: numpy.ndarray, step: Frequency | None = None
    ) -> tuple[numpy.ndarray, Kind]:
        """The times of some rows, as integers, and what they are.

        Args:
            rows: The rows.
            codes: The number of the series of each: without a column of times, the rows of a
                series are counted.
            step: The step between them, if that is known.

        Raises:
            DataError: One cannot be read, or in two ways.
        """
        name, format = self.columns.time, self.options.time_format
        if name is None:
            return pandas.Series(rows).groupby(codes).cumcount().to_numpy(numpy.int64) + 1, "number"
        column: Any = self.table.column(name, "time")
        if isinstance(column, TextColumn):
            values: Any = column.taken(rows)
        else:
            values = pandas.Series(column).iloc[rows].reset_index(drop=True)
        try:
            found, kind, off = read_times(values, format, step)
        except DataError as error:
            raise DataError(f"{self.table.path}: {error.message}") from None
        if off is not None:
            text = str(values[off])[:40]
            raise DataError(
                f"{self.table.path}: {self.table.row(int(rows[off]))} has the time {text!r} in the "
                f"column {name!r}, {unreadable(text, format)}"
            )
        return found, kind

    def numbers(self, rows: numpy.ndarray) -> numpy.ndarray:
        """The columns of numbers, (rows, columns), as float64, in which what is missing is NaN.

        Raises:
            DataError: A value is no number, or is infinite.
        """
        columns = []
        for name, option in self.columns.values:
            pieces = [
                self._numbers(name, values, start)
                for start, values in in_pieces(self.table.column(name, option))
            ]
            columns.append(numpy.concatenate(pieces)[rows])
        return numpy.stack(columns, 1)

    def _numbers(self, name: str, values: pandas.Series, start: int) -> numpy.ndarray:
        if pandas.api.types.is_complex_dtype(values.dtype):
            raise DataError(f"{self.table.path} has complex numbers in the column {name!r}")
        if pandas.api.types.is_numeric_dtype(values.dtype):
            found = numpy.array(values.astype("float64"))
            missing = numpy.isnan(found)
        else:
            texts = values.astype(object).where(values.notna(), "").astype(str).str.strip()
            lower = texts.str.lower()
            missing = lower.isin(MISSING).to_numpy()
            decimal = texts
            if self.options.decimal == ",":
                thousands = texts.str.contains(".", regex=False)  # a point would mark them
                decimal = texts.str.replace(",", ".", regex=False).where(~thousands, texts + "_")
            decimal = decimal.where(~missing, "nan").where(~lower.isin(TRUTH), lower.map(TRUTH))
            known: Any = pandas.to_numeric(decimal, errors="coerce")
            found = numpy.array(known, numpy.float64)
        too_large = numpy.abs(found) > _LARGEST
        bad = numpy.flatnonzero((numpy.isnan(found) & ~missing) | too_large)
        if len(bad):
            value = str(values.iloc[bad[0]])
            problem = no_number(value, self.options.decimal)
            if too_large[bad[0]]:
                problem = f"but {_LARGEST:g} is the largest"
            raise DataError(
                f"{self.table.path}: {self.table.row(start + int(bad[0]))} has {value[:40]!r} in "
                f"the column {name!r}, {problem}"
            )
        return numpy.where(numpy.isin(found, self.options.missing_value), numpy.nan, found)
