"""Series on a regular grid of times, from a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
import pandas

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.data.frequency import (
    Frequency,
    Kind,
    found_frequency,
    named_frequency,
    refuse_irregular,
    shown_time,
)
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.data.times import read_times
from anyrnn.tasks.forecast.columns import Columns, Reader
from anyrnn.tasks.forecast.options import DataOptions

_KINDS: dict[Kind, str] = {"number": "whole numbers as times", "date": "dates as times"}


@dataclass(frozen=True, eq=False)
class Panel:
    """One or many series, one after another in arrays of all their steps.

    Attributes:
        label: How messages name where they come from.
        columns: The columns that they were.
        names: The name of each series.
        starts: The first step of each series; at last, the number of all steps.
        ends: The step after the last one of each series with a target.
        times: The time of each step.
        values: The columns of numbers, as `Columns.values` has them, (steps, columns); NaN where
            missing.
        frequency: The step of time.
        found: What was found and done, by name: counts of rows and gaps.
    """

    label: str
    columns: Columns
    names: list[str]
    starts: numpy.ndarray
    ends: numpy.ndarray
    times: numpy.ndarray
    values: numpy.ndarray
    frequency: Frequency
    found: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of series."""
        return len(self.names)

    @property
    def targets(self) -> numpy.ndarray:
        """What is forecast, (steps, targets)."""
        return self.values[:, : len(self.columns.targets)]

    @property
    def future(self) -> numpy.ndarray:
        """The covariates that are known in advance, (steps, columns)."""
        return self.values[:, len(self.columns.targets) + len(self.columns.past) :]

    def series(self, number: int) -> str:
        """How messages name a series."""
        return f"the series {self.names[number]!r}" if self.columns.group else "the series"

    def time(self, step: int) -> str:
        """A step's time as people write it."""
        return shown_time(int(self.times[step]), self.frequency.kind)

    def rows(self, first: numpy.ndarray, last: numpy.ndarray) -> pandas.DataFrame:
        """Some steps of each series as a table with the columns that they were.

        Args:
            first, last: The half-open range of steps of each series.
        """
        taken = numpy.concatenate([numpy.arange(a, b) for a, b in zip(first, last, strict=True)])
        names = numpy.repeat(numpy.array(self.names, dtype=object), last - first)
        frame: dict[str, Any] = {}
        if self.columns.group:
            frame[self.columns.group] = names
        if self.columns.time:
            dates = self.times[taken]
            kind = self.frequency.kind
            frame[self.columns.time] = dates if kind == "number" else dates.astype("M8[ns]")
        for (name, _), values in zip(self.columns.values, self.values.T, strict=True):
            frame[name] = values[taken]
        return pandas.DataFrame(frame)


def panel(
    table: Table,
    options: DataOptions,
    *,
    columns: Columns | None = None,
    frequency: Frequency | None = None,
    ahead: int = 0,
) -> Panel:
    """Read series.

    Args:
        table: Where they are.
        options: Which columns, and what is done with what lacks.
        columns: The columns, if they are known.
        frequency: The step of time, if it is known.
        ahead: How many steps there are after the last target of each series; those that the table
            has not are missing.

    Raises:
        DataError: A time or number cannot be read, a time is there twice, the times keep to no
            step, a column has no value; they are dates, but the known step is of numbers, or the
            other way round.
    """
    reader = Reader(table, columns or Columns.of(options, table.names), options)
    rows, found = reader.usable()
    codes, names = reader.groups(rows)
    moments, kind = reader.times(rows, codes, frequency)
    if frequency is not None and kind != frequency.kind:
        column = f" in the column {reader.columns.time!r}" if reader.columns.time else ""
        raise DataError(
            f"{table.path} has {_KINDS[kind]}{column}, but the network was trained on "
            f"{_KINDS[frequency.kind]}; write the times as they were"
        )
    if options.until is not None:
        kept = moments <= _until(options, kind)
        rows, codes, moments = rows[kept], codes[kept], moments[kept]
        if not len(rows):
            raise DataError(
                f"{table.path} has no row until {options.until} ({option_name('until')})"
            )
    order = numpy.lexsort((moments, codes))
    found["unsorted"] = bool((order[1:] < order[:-1]).any())
    rows, codes, moments = rows[order], codes[order], moments[order]
    again = (codes[1:] == codes[:-1]) & (moments[1:] == moments[:-1])
    if again.any():
        if not options.skip_bad:
            raise _twice(reader, rows, shown_time(int(moments[again.argmax()]), kind), again)
        keep = numpy.concatenate([[True], ~again])
        rows, codes, moments = rows[keep], codes[keep], moments[keep]
        found["second rows of a time"] = int(again.sum())
    used, codes = numpy.unique(codes, return_inverse=True)
    borders = numpy.flatnonzero(numpy.diff(codes)) + 1
    series = numpy.split(moments, borders)
    if frequency is None and options.frequency is not None:
        frequency = named_frequency(options.frequency, kind, series)
    frequency = frequency or found_frequency(kind, series)
    if frequency is None:
        raise refuse_irregular(str(table.path), kind, series)
    values = numpy.split(reader.numbers(rows), borders)
    made = _on_grid(reader, [names[i] for i in used], series, values, frequency, found, ahead)
    if options.missing == "refuse":
        _refuse_missing(made)
    return made


def _until(options: DataOptions, kind: Kind) -> int:
    try:
        found, found_kind, off = read_times([options.until], options.time_format)
    except DataError as error:
        raise OptionError(f"{option_name('until')} is {options.until!r}: {error.message}") from None
    if off is not None or found_kind != kind:
        raise OptionError(
            f"{option_name('until')} is {options.until!r}, but has to be a {kind}, as the times are"
        )
    return int(found[0])


def _twice(reader: Reader, rows: numpy.ndarray, time: str, again: numpy.ndarray) -> DataError:
    """The error for rows of the same time."""
    first = int(again.argmax())
    one, other = (reader.table.row(int(row)) for row in rows[first : first + 2])
    several = f"; if they are of several series, name their column with {option_name('group')}"
    return DataError(
        f"{reader.table.path}: {one} and {other} have the same time {time}"
        f"{'' if reader.columns.group else several}; to keep the first of such rows, say "
        f"{option_name('skip_bad', True)}"
    )


def _on_grid(
    reader: Reader,
    names: list[str],
    series: list[numpy.ndarray],
    values: list[numpy.ndarray],
    frequency: Frequency,
    found: dict[str, Any],
    ahead: int,
) -> Panel:
    """The panel of the times and values of each series."""
    label, columns = str(reader.table.path), reader.columns
    places = []
    for times in series:
        place, off = frequency.positions(times)
        if off is not None:
            raise DataError(
                f"{label}: the time {shown_time(int(times[off]), frequency.kind)} is not a number "
                f"of steps of {frequency} after the first one; name another step with "
                f"{option_name('frequency')}"
            )
        places.append(place)
    known = [_known(each[:, : len(columns.targets)]) for each in values]
    # From the first row of a series to the last one, or to the last forecast step.
    sizes = [
        max(int(place[-1]) + 1, (int(place[last - 1]) + 1 if last else 0) + ahead)
        for place, last in zip(places, known, strict=True)
    ]
    found["rows"] = sum(map(len, series))
    if sum(sizes) > 20 * found["rows"] + ahead * len(series) + 1000:
        raise refuse_irregular(label, frequency.kind, series)
    starts = numpy.concatenate([[0], numpy.cumsum(sizes)])
    full = numpy.full((starts[-1], len(columns.values)), numpy.nan)
    times = numpy.empty(starts[-1], numpy.int64)
    ends = starts[:-1].copy()
    for i, place in enumerate(places):
        full[starts[i] + place] = values[i]
        times[starts[i] : starts[i + 1]] = _times(frequency, series[i], sizes[i])
        if known[i]:
            ends[i] += place[known[i] - 1] + 1
    found["missing times"] = sum(int(place[-1]) + 1 - len(place) for place in places)
    return Panel(label, columns, names, starts, ends, times, full, frequency, found)


def _times(frequency: Frequency, times: numpy.ndarray, size: int) -> numpy.ndarray:
    if frequency.unit != "row":
        return frequency.times(int(times[0]), numpy.arange(size))
    further = numpy.arange(1, max(0, size - len(times)) + 1)
    return numpy.concatenate([times, frequency.times(int(times[-1]), further)])[:size]


def _known(targets: numpy.ndarray) -> int:
    """The number of rows up to the last one with a target."""
    there = numpy.flatnonzero(~numpy.isnan(targets).all(1))
    return int(there[-1]) + 1 if len(there) else 0


def _refuse_missing(made: Panel) -> None:
    inside = numpy.zeros(len(made.times), bool)
    for start, end in zip(made.starts, made.ends, strict=False):
        inside[start:end] = True
    lacking = numpy.argwhere((numpy.isnan(made.values) & inside[:, None]).T)
    if len(lacking):
        column, step = lacking[0]
        raise DataError(
            f"{made.label}: {made.columns.values[column][0]!r} has no value at "
            f"{made.time(int(step))} ({len(lacking)} values are missing); fill them in, or let the "
            f"last known ones stand for them with {option_name('missing', 'carry')}"
        )
