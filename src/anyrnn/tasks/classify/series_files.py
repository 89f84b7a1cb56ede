"""Files of sequences of numbers: .ts of the UCR/UEA archive, long tables, .npz."""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy
import pandas

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.classify.series import SequenceError, Series
from anyrnn.tasks.data.columns import listing, no_number, number_of
from anyrnn.tasks.data.contents import Content, read_text
from anyrnn.tasks.data.table import Table, leave_out
from anyrnn.tasks.data.table_files import read_table
from anyrnn.tasks.forecast.times import read_times, unreadable

SeriesFormat = Literal["ts", "csv", "npz"]


def read_series(
    path: Path, kind: SeriesFormat, options: DataOptions, with_labels: bool = True
) -> dict[str, Series]:
    """Read a file.

    Args:
        path: The file.
        kind: What it is.
        options: Which columns or arrays hold what.
        with_labels: Whether there have to be labels.

    Returns:
        Its sequences under "training"; those that it keeps apart, as `x_test` in an `.npz`, under
        "validation" and "test".

    Raises:
        DataError: It is missing, empty, damaged, or has a sequence that cannot be used.
    """
    readers = {"ts": _read_ts, "csv": _read_long_table, "npz": _read_npz}
    found = readers[kind](path, options, with_labels)
    for series in found.values():
        if not series.values:
            raise DataError(f"{path} has no sequence that can be used")
    return found


def _try_add(
    series: Series, row: str, options: DataOptions, make: Callable[[], tuple[numpy.ndarray, str]]
) -> None:
    """Add the values and the label that `make` gives, or refuse or leave out the sequence."""
    try:
        values, label = make()
        series.add(values, label, row)
    except SequenceError as error:
        leave_out(series, row, error, "sequences", options.skip_bad)


def _read_ts(path: Path, options: DataOptions, with_labels: bool) -> dict[str, Series]:
    text, digest = read_text(path, options.encoding)
    series = Series(path, digest=digest)
    header: dict[str, str] = {}
    lines = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    for _, line in lines:
        if line.startswith("@"):
            name, *value = line[1:].split(None, 1)
            header[name.lower()] = value[0].strip() if value else ""
            if name.lower() == "data":
                break
        elif line.strip() and not line.startswith("#"):
            raise DataError(f"{path} is no .ts file: {line[:40]!r} stands before @data")
    if "data" not in header:
        raise DataError(f"{path} breaks off: it has no @data")
    if header.get("timestamps", "false").lower() == "true":
        raise DataError(f"{path} has time stamps (@timeStamps true), which cannot be read")
    labelled, *classes = header.get("classlabel", "false").split()
    if with_labels and labelled.lower() != "true":
        raise DataError(f"{path} has no labels (@classLabel is {labelled})")
    for number, line in lines:
        if line.strip() and not line.startswith("#"):
            _try_add(
                series,
                f"line {number}",
                options,
                lambda line=line: _ts_case(line, header, classes, labelled.lower() == "true"),
            )
    return {"training": series}


def _ts_case(
    line: str, header: Mapping[str, str], classes: Sequence[str], labelled: bool
) -> tuple[numpy.ndarray, str]:
    parts = line.strip().split(":")
    label = parts.pop().strip() if labelled else ""
    if labelled and classes and label not in classes:
        raise SequenceError(
            f"breaks off or has the wrong label: it ends in {label[-20:]!r}, but the labels of "
            f"@classLabel are {listing(classes)}"
        )
    dimensions = header.get("dimensions", "").strip()
    if header.get("univariate", "").lower() == "true":
        dimensions = "1"
    if dimensions.isdecimal() and len(parts) != int(dimensions):
        raise SequenceError(f"has {len(parts)} dimension(s) instead of {dimensions}")
    channels = [_numbers(part.split(","), f"dimension {k}") for k, part in enumerate(parts, 1)]
    lengths = [len(channel) for channel in channels]
    if len(set(lengths)) > 1:
        raise SequenceError(f"has dimensions of different lengths: {listing(lengths)}")
    length = header.get("serieslength", "")
    equal = header.get("equallength", "").lower() == "true" and length.isdecimal()
    if equal and any(found != int(length) for found in lengths):
        raise SequenceError(f"has {lengths[0]} steps instead of {length} (@seriesLength)")
    return numpy.array(channels, numpy.float32).reshape(len(channels), -1).T, label


def _numbers(values: Sequence[str | None], what: str, decimal: str = ".") -> numpy.ndarray:
    """Numbers from text; NaN where one is missing."""
    plain = decimal == "." and not any("_" in value for value in values if value)
    try:
        # Most files have nothing but numbers.
        if plain:
            return _float32(numpy.array(values, numpy.float64))
    except (ValueError, TypeError):
        pass
    numbers = numpy.empty(len(values))
    for place, value in enumerate(values):
        try:
            numbers[place] = number_of(value, decimal)
        except ValueError:
            text = (value or "").strip()[:40]
            raise SequenceError(f"has {text!r} in {what}, {no_number(text, decimal)}") from None
    return _float32(numbers)


def _float32(numbers: numpy.ndarray) -> numpy.ndarray:
    with numpy.errstate(over="ignore"):
        return numbers.astype(numpy.float32)


def _read_long_table(path: Path, options: DataOptions, with_labels: bool) -> dict[str, Series]:
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
        _try_add(series, f"the sequence {name!r}", options, lambda rows=rows: make(rows))
    return {"training": series}


def _channel_columns(table: Table, channels: Sequence[str], decimal: str) -> numpy.ndarray:
    """The numbers of the channels, (rows, channels)."""
    numbers = numpy.empty((len(table), len(channels)), numpy.float32)
    for place, name in enumerate(channels):
        values = list(table.column(name, "features"))
        try:
            numbers[:, place] = _numbers(values, f"the column {name!r}", decimal)
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


def _read_npz(path: Path, options: DataOptions, with_labels: bool) -> dict[str, Series]:
    content = Content(path)
    arrays = _arrays(path, content)
    suffixed = {"training": "_train", "validation": "_val", "test": "_test"}
    parts = {name: end for name, end in suffixed.items() if f"x{end}" in arrays}
    if options.features or "training" not in parts:
        parts = {"training": ""}
    found = {}
    for name, end in parts.items():
        names = [(name,) for name in options.features] or [(f"x{end}", "X", "values", "frames")]
        values = [_array(path, arrays, each) for each in names]
        lengths = _lengths(path, arrays, options.lengths, end)
        labels = None
        if with_labels:
            known = (f"y{end}", "label", "labels") if options.label is None else (options.label,)
            labels = _array(path, arrays, known)
        found[name] = _npz_part(path, content.digest, options, values, lengths, labels)
    return found


def _arrays(path: Path, content: Content) -> dict[str, numpy.ndarray]:
    with content.open() as opened:
        if not opened.read(6).startswith((b"PK", numpy.lib.format.MAGIC_PREFIX)):
            raise DataError(f"{path} is not a sound .npz file: it does not begin like one")
    try:
        with content.open() as opened, numpy.load(opened, allow_pickle=False) as file:
            if not isinstance(file, numpy.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array; an .npz has them by name")
            return {name: file[name] for name in file.files}
    except DataError:
        raise
    # numpy, zipfile and zlib raise whatever the bytes lead to.
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} has an array of Python objects, which could run code; save sequences of "
                "different lengths one after another, with their numbers of steps as `lengths`"
            ) from None
        raise DataError(f"{path} is not a sound .npz file: {error}") from None


def _array(path: Path, arrays: Mapping[str, numpy.ndarray], names: Sequence[str]) -> numpy.ndarray:
    """The first array of these names."""
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(f"{path} has no array {names[0]!r} (it has {listing(list(arrays))})")


def _lengths(
    path: Path, arrays: Mapping[str, numpy.ndarray], chosen: str | None, end: str
) -> numpy.ndarray | None:
    names = (chosen,) if chosen else (f"lengths{end}", "lengths", "length")
    if chosen is None and not arrays.keys() & set(names):
        return None
    lengths = _array(path, arrays, names)
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu"
    if not whole or (lengths < 0).any() or (lengths > numpy.iinfo(numpy.int64).max).any():
        raise DataError(f"{path}: the lengths have to be whole numbers, one for each sequence")
    return lengths.astype(numpy.int64)


def _npz_part(
    path: Path,
    digest: str,
    options: DataOptions,
    arrays: Sequence[numpy.ndarray],
    lengths: numpy.ndarray | None,
    labels: numpy.ndarray | None,
) -> Series:
    """The sequences of arrays, whose channels stand beside each other."""
    found = [_sequences(path, values, lengths) for values in arrays]
    if len({*map(len, found)}) > 1:
        counts = ", ".join(
            f"{len(each)} in {name!r}" for name, each in zip(options.features, found, strict=True)
        )
        raise DataError(f"{path} has arrays of different numbers of sequences: {counts}")
    sequences = [*zip(*found, strict=True)]
    if labels is not None and (labels.ndim != 1 or len(labels) != len(sequences)):
        raise DataError(
            f"{path} has {len(sequences)} sequences but labels of the shape {labels.shape}"
        )
    series = Series(path, digest=digest)
    texts = [] if labels is None else _label_texts(labels)
    for number, each in enumerate(sequences):
        label = texts[number] if texts else ""

        def make(each: Any = each, label: str = label) -> tuple[numpy.ndarray, str]:
            if not (label or labels is None or options.label_separator is not None):
                raise SequenceError("has no label")
            steps = [len(values) for values in each]
            if len({*steps}) > 1:
                raise SequenceError(f"has arrays of different lengths: {listing(steps)}")
            flat = [values.reshape(len(values), math.prod(values.shape[1:])) for values in each]
            return _float32(numpy.concatenate(flat, 1)), label

        _try_add(series, f"sequence {number}", options, make)
    return series


def _label_texts(labels: numpy.ndarray) -> list[str]:
    """Labels of an array as text, empty where one is missing."""
    if labels.dtype.kind == "S":
        labels = numpy.char.decode(labels, "utf-8", "backslashreplace")
    missing = pandas.isna(labels)
    return ["" if no else str(one).strip() for one, no in zip(labels, missing, strict=True)]


def _sequences(
    path: Path, values: numpy.ndarray, lengths: numpy.ndarray | None
) -> Sequence[numpy.ndarray]:
    """The sequences of an array that has them padded, or one after another."""
    if values.dtype.kind not in "fiub":
        raise DataError(f"{path}: the numbers have the type {values.dtype}")
    if lengths is not None and values.ndim < 2 + (len(values) == len(lengths)):
        values = values[..., None]
    if lengths is None:
        if values.ndim < 2:
            raise DataError(f"{path}: the numbers have the shape {values.shape}, without a time")
        return list(values if values.ndim > 2 else values[..., None])
    if len(values) == len(lengths):
        if lengths.max(initial=0) > values.shape[1]:
            raise DataError(
                f"{path} has lengths up to {lengths.max()}, but {values.shape[1]} steps"
            )
        return [each[:length] for each, length in zip(values, lengths, strict=True)]
    if len(values) != lengths.sum():
        raise DataError(
            f"{path} has {len(values):,} steps, but its lengths sum up to {lengths.sum():,}"
        )
    return numpy.split(values, numpy.cumsum(lengths)[:-1])
