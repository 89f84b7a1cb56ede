"""Series on a regular grid of times, from a table or a data frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
import pandas

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.columns import in_pieces
from anyrnn.tasks.forecast.columns import (
    Columns,
    Source,
    numbers,
    present,
    times,
)
from anyrnn.tasks.forecast.frequency import (
    Frequency,
    Kind,
    found_frequency,
    named_frequency,
    off_the_grid,
    read_times,
    refuse_irregular,
    shown_time,
)
from anyrnn.tasks.forecast.options import DataOptions


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
        targets, past, future: The columns of numbers, (steps, columns); NaN where missing.
        frequency: The step of time.
        found: What was found and done, by name: counts of rows and gaps.
    """

    label: str
    columns: Columns
    names: list[str]
    starts: numpy.ndarray
    ends: numpy.ndarray
    times: numpy.ndarray
    targets: numpy.ndarray
    past: numpy.ndarray
    future: numpy.ndarray
    frequency: Frequency
    found: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of series."""
        return len(self.names)

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
        for columns, values in (
            (self.columns.targets, self.targets),
            (self.columns.past, self.past),
            (self.columns.future, self.future),
        ):
            frame |= {name: values[taken, i] for i, name in enumerate(columns)}
        return pandas.DataFrame(frame)


def panel(
    source: Source,
    label: str,
    options: DataOptions,
    *,
    columns: Columns | None = None,
    frequency: Frequency | None = None,
    ahead: int = 0,
) -> Panel:
    """Read series.

    Args:
        source: The table or frame.
        label: How messages name it.
        options: Which columns, and what is done with what lacks.
        columns: The columns, if they are known.
        frequency: The step of time, if it is known.
        ahead: How many steps there are after the last target of each series; those that the source
            has not are missing.

    Raises:
        DataError: A time or number cannot be read, a time is there twice, the times keep to no
            step, a column has no value.
    """
    columns = columns or Columns.of(options, source.names)
    rows, found = _usable(source, label, columns, options)
    codes, names = _groups(source, columns, rows)
    moments, kind = _moments(source, label, columns, rows, codes, options)
    if options.until is not None:
        kept = moments <= _until(options, kind)
        rows, codes, moments = rows[kept], codes[kept], moments[kept]
        if not len(rows):
            raise DataError(f"{label} has no row until {options.until} ({option_name('until')})")
    order = numpy.lexsort((moments, codes))
    found["unsorted"] = bool((order[1:] < order[:-1]).any())
    rows, codes, moments = rows[order], codes[order], moments[order]
    again = (codes[1:] == codes[:-1]) & (moments[1:] == moments[:-1])
    if again.any():
        keep = _without_repeated(source, label, columns, options, rows, moments, kind, again)
        rows, codes, moments = rows[keep], codes[keep], moments[keep]
        found["second rows of a time"] = int(again.sum())
    used, codes = numpy.unique(codes, return_inverse=True)
    names = [names[i] for i in used]
    values = [
        numbers(source, label, name, option, options)[rows] for name, option in columns.values
    ]
    parts = numpy.split(numpy.arange(len(rows)), numpy.flatnonzero(numpy.diff(codes)) + 1)
    frequency = frequency or _frequency(label, options, kind, [moments[part] for part in parts])
    return _on_grid(
        label,
        columns,
        names,
        parts,
        moments,
        numpy.stack(values, 1),
        frequency,
        found,
        ahead,
        options,
    )


def _usable(
    source: Source, label: str, columns: Columns, options: DataOptions
) -> tuple[numpy.ndarray, dict[str, Any]]:
    """The rows with a time and a group."""
    usable = numpy.ones(len(source), bool)
    found: dict[str, Any] = {}
    for name, option in ((columns.time, "time"), (columns.group, "group")):
        if name is None:
            continue
        there = present(source, name, option)
        if not there.all() and not options.skip_bad:
            raise DataError(
                f"{label}: {source.row(int(there.argmin()))} has no {name!r}; fill it in, or leave "
                f"such rows out with {option_name('skip_bad', True)}"
            )
        if not there.all():
            found[f"rows without {name}"] = int((~there).sum())
        usable &= there
    if not usable.any():
        raise DataError(f"{label} has no row in which every needed column has a value")
    return numpy.flatnonzero(usable), found


def _groups(
    source: Source, columns: Columns, rows: numpy.ndarray
) -> tuple[numpy.ndarray, list[str]]:
    if columns.group is None:
        return numpy.zeros(len(rows), numpy.int64), [""]
    numbers: dict[str, int] = {}
    found = numpy.empty(len(rows), numpy.int64)
    for start, values in in_pieces(source.column(columns.group, "group")):
        first, last = numpy.searchsorted(rows, [start, start + len(values)])
        chosen = values.iloc[rows[first:last] - start]
        codes, names = pandas.factorize(chosen.astype(str).str.strip())
        known = [numbers.setdefault(str(name), len(numbers)) for name in names]
        found[first:last] = numpy.array(known, numpy.int64)[codes]
    return found, list(numbers)


def _moments(
    source: Source,
    label: str,
    columns: Columns,
    rows: numpy.ndarray,
    codes: numpy.ndarray,
    options: DataOptions,
) -> tuple[numpy.ndarray, Kind]:
    """The times; without a column of times, the numbers of the rows of each series."""
    if columns.time is not None:
        return times(source, label, columns.time, rows, options)
    return pandas.Series(rows).groupby(codes).cumcount().to_numpy(numpy.int64) + 1, "number"


def _until(options: DataOptions, kind: Kind) -> int:
    found, found_kind, off = read_times([options.until], options.time_format)
    if off is not None or found_kind != kind:
        raise OptionError(
            f"{option_name('until')} is {options.until!r}, but has to be a {kind}, as the times are"
        )
    return int(found[0])


def _without_repeated(
    source: Source,
    label: str,
    columns: Columns,
    options: DataOptions,
    rows: numpy.ndarray,
    moments: numpy.ndarray,
    kind: Kind,
    again: numpy.ndarray,
) -> numpy.ndarray:
    if not options.skip_bad:
        first = int(again.argmax())
        several = (
            ""
            if columns.group
            else (f"; if they are of several series, name their column with {option_name('group')}")
        )
        raise DataError(
            f"{label}: {source.row(int(rows[first]))} and {source.row(int(rows[first + 1]))} have "
            f"the same time {shown_time(int(moments[first]), kind)}{several}; to keep the first "
            f"of such rows, say {option_name('skip_bad', True)}"
        )
    return numpy.concatenate([[True], ~again])


def _frequency(
    label: str, options: DataOptions, kind: Kind, series: list[numpy.ndarray]
) -> Frequency:
    if options.frequency is None:
        found = found_frequency(kind, series)
        if found is None:
            raise refuse_irregular(label, kind, series)
        return found
    return named_frequency(options.frequency, kind, series)


def _on_grid(
    label: str,
    columns: Columns,
    names: list[str],
    parts: list[numpy.ndarray],
    moments: numpy.ndarray,
    values: numpy.ndarray,
    frequency: Frequency,
    found: dict[str, Any],
    ahead: int,
    options: DataOptions,
) -> Panel:
    count = len(columns.targets)
    series = [moments[part] for part in parts]
    off = off_the_grid(frequency, series)
    if off is not None:
        time = shown_time(int(series[off[0]][off[1]]), frequency.kind)
        raise DataError(
            f"{label}: the time {time} is not a number of steps of {frequency} after the first "
            f"one; name another step with {option_name('frequency')}"
        )
    places = [frequency.positions(times)[0] for times in series]
    known = [_known(values[part, :count]) for part in parts]
    # From the first row of a series to the last one, or to the last forecast step.
    sizes = [
        max(int(place[-1]) + 1, (int(place[last - 1]) + 1 if last else 0) + ahead)
        for place, last in zip(places, known, strict=True)
    ]
    if sum(sizes) > 20 * len(moments) + ahead * len(parts) + 1000:
        raise refuse_irregular(label, frequency.kind, series)
    starts = numpy.concatenate([[0], numpy.cumsum(sizes)])
    full = numpy.full((starts[-1], values.shape[1]), numpy.nan)
    moments_full = numpy.empty(starts[-1], numpy.int64)
    ends = numpy.empty(len(parts), numpy.int64)
    gaps = 0
    for i, (part, place) in enumerate(zip(parts, places, strict=True)):
        full[starts[i] + place] = values[part]
        moments_full[starts[i] : starts[i + 1]] = _times(frequency, series[i], sizes[i])
        ends[i] = starts[i] + (int(place[known[i] - 1]) + 1 if known[i] else 0)
        gaps += int(place[-1]) + 1 - len(place)
    found["rows"] = len(moments)
    found["missing times"] = gaps
    made = Panel(
        label,
        columns,
        names,
        starts,
        ends,
        moments_full,
        full[:, :count],
        full[:, count : count + len(columns.past)],
        full[:, count + len(columns.past) :],
        frequency,
        found,
    )
    if options.missing == "refuse":
        _refuse_missing(made)
    return made


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
    for names, values in (
        (made.columns.targets, made.targets),
        (made.columns.past, made.past),
        (made.columns.future, made.future),
    ):
        lacking = numpy.argwhere(numpy.isnan(values) & inside[:, None])
        if len(lacking):
            step, column = lacking[0]
            raise DataError(
                f"{made.label}: {names[column]!r} has no value at {made.time(int(step))} "
                f"({len(lacking)} values are missing); fill them in, or let the last known ones "
                f"stand for them with {option_name('missing', 'carry')}"
            )
