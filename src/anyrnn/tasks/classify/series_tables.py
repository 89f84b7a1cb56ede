"""Sequences of numbers from long tables: a row for each step."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pandas

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.classify.series import SequenceError, Series, numbers_of, try_add
from anyrnn.tasks.data.columns import listing, number_of
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.data.table_files import read_table
from anyrnn.tasks.data.times import read_times, unreadable


def read_long_table(path: Path, options: DataOptions, with_labels: bool) -> dict[str, Series]:
    """See `read_series`."""
    if options.sequence is None:
        raise DataError(
            f"{path} is a table: name the column that says to which sequence each row belongs, "
            f"with {option_name('sequence')}"
        )
    given = [("sequence", options.sequence), ("time", options.time)]
    if with_labels:
        given.append(("label", options.label or "label"))
    given += [("features", name) for name in options.features]
    wanted = [name for _, name in given if name] if options.features else None
    table = read_table(path, **options.reading, wanted=wanted)
    columns = {name: list(table.column(name, option)) for option, name in given if name}
    named = {name for _, name in given if name} | {options.label}
    channels = list(options.features) or [name for name in table.names if name not in named]
    if not channels:
        raise DataError(f"{path} has no column with numbers beside {listing(sorted(columns))}")
    numbers = _channel_columns(table, channels, options.decimal)
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(columns[options.sequence]):
        if name is None or not name.strip():
            raise DataError(f"{path}: {table.row(row)} has no {options.sequence!r}")
        rows_of.setdefault(name, []).append(row)
    order = _order(table, options.time, options) if options.time else None
    labels = columns.get(options.label or "label") if with_labels else None
    series = Series(path, channels, table.digest)

    def make(rows: list[int]) -> tuple[numpy.ndarray, str]:
        chosen = numpy.array(rows)
        if order is not None:
            chosen = _sorted(table, chosen, order, str(options.time))
        return numbers[chosen], _one_label(table, rows, labels, options.label_separator is not None)

    for name, rows in rows_of.items():
        try_add(series, f"the sequence {name!r}", options, lambda rows=rows: make(rows))
    return {"training": series}


def _channel_columns(table: Table, channels: Sequence[str], decimal: str) -> numpy.ndarray:
    """The numbers of the channels, (rows, channels)."""
    numbers = numpy.empty((len(table), len(channels)), numpy.float32)
    for place, name in enumerate(channels):
        values = list(table.column(name, "features"))
        try:
            numbers[:, place] = numbers_of(values, f"the column {name!r}", decimal)
        except SequenceError as error:
            row = next(k for k, value in enumerate(values) if not _is_number(value, decimal))
            raise DataError(
                f"{table.path}: {table.row(row)} {error}; name the columns with numbers with "
                f"{option_name('features')}"
            ) from None
    return numbers


def _is_number(value: str | None, decimal: str) -> bool:
    """Whether it is a number, or none is there."""
    try:
        number_of(value, decimal)
    except ValueError:
        return False
    return True


def _order(table: Table, time: str, options: DataOptions) -> numpy.ndarray:
    """A number for each row by which rows are ordered: times are numbers or dates."""
    values: Any = pandas.Series(list(table.column(time, "time")), dtype=object)
    if options.time_format is None:
        plain = values
        if options.decimal == ",":
            written = ((text or "").replace(".", "_") for text in values)  # of thousands
            plain = pandas.Series([text.replace(",", ".") for text in written], dtype=object)
        numbers: Any = pandas.to_numeric(plain, errors="coerce")
        off = numpy.flatnonzero(~numpy.isfinite(numbers.to_numpy()))
        if not len(off):
            return numbers.to_numpy()
        if len(off) <= len(values) / 2:
            raise _no_time(table, time, values, off[0], "which is no number like the others")
    try:
        found, _, row = read_times(values, options.time_format)
    except DataError as error:
        raise DataError(f"{table.path}: {error.message}") from None
    if row is None:
        return found
    found = _unmistakable(values) if options.time_format is None else None
    if found is None:
        why = unreadable(str(values[row]), options.time_format)
        raise _no_time(table, time, values, row, why)
    return found


def _no_time(table: Table, name: str, values: pandas.Series, row: int, why: str) -> DataError:
    return DataError(
        f"{table.path}: {table.row(int(row))} has {values[row]!r} in the column {name!r}, {why}"
    )


def _unmistakable(values: pandas.Series) -> numpy.ndarray | None:
    """Times of the day, and dates in words, if no day can be taken for a month."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that days come first where they can only do that
        one, other = (
            pandas.to_datetime(
                values, errors="coerce", format="mixed", utc=True, dayfirst=days_first
            )
            for days_first in (False, True)
        )
    if one.isna().any() or (one != other).any():
        return None
    return one.dt.tz_localize(None).to_numpy().astype("M8[ns]").astype(numpy.int64)


def _sorted(table: Table, rows: numpy.ndarray, order: numpy.ndarray, time: str) -> numpy.ndarray:
    rows = rows[numpy.argsort(order[rows], kind="stable")]
    twice = numpy.flatnonzero(numpy.diff(order[rows]) == 0)
    if len(twice):
        value = table.columns[time][int(rows[twice[0]])]
        raise SequenceError(
            f"has the {time} {value!r} twice, in {table.row(int(rows[twice[0] + 1]))}"
        )
    return rows


def _one_label(
    table: Table, rows: Sequence[int], labels: Sequence[str | None] | None, may_be_empty: bool
) -> str:
    if labels is None:
        return ""
    found = {(labels[row] or "").strip(): row for row in reversed(rows)}
    if len(found) > 1:
        (first, _), (other, row) = sorted(found.items(), key=lambda item: item[1])[:2]
        raise SequenceError(f"has two labels, {first!r} and, in {table.row(row)}, {other!r}")
    (label,) = found
    if not label and not may_be_empty:
        raise SequenceError(f"has no label in {table.row(rows[0])}")
    return label
