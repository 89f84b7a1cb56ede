"""Times of series as they are written: read as integers."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import pandas

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.data.columns import in_pieces
from anyrnn.tasks.data.frequency import Frequency, Kind, keeps_to_a_step
from anyrnn.tasks.data.zone import Zone, as_written

_FORMATS = [
    f"{date}{time}"
    for date in ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y%m%d", "%Y%m")
    for time in ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")
]
_NO_TIME = numpy.iinfo(numpy.int64).min  # as NumPy has it
_YEARS = 1678, 2261  # that nanoseconds in 64 bits reach


def read_times(
    values: Any, format: str | None, step: Frequency | None = None
) -> tuple[numpy.ndarray, Kind, int | None]:
    """Times as integers, what they are, and the first that cannot be read.

    Args:
        values: Dates, numbers or strings; none is missing.
        format: How strings are written, if that is known.
        step: The step between them, if that is known.

    Raises:
        DataError: They may be days and months, or months and days.
    """
    first = pandas.Series(values[:1])
    if isinstance(first.dtype, pandas.PeriodDtype):
        return _dated(_nanoseconds(pandas.Series(values).dt.start_time))
    if pandas.api.types.is_datetime64_any_dtype(first.dtype):
        return _dated(_nanoseconds(pandas.Series(values)))
    if pandas.api.types.is_numeric_dtype(first.dtype) and format is None:
        numbers = pandas.Series(values).to_numpy()
        if numbers.dtype.kind in "iu":  # nanoseconds have more digits than a float
            wrong = numbers > numpy.iinfo(numpy.int64).max
        else:
            numbers = numbers.astype(numpy.float64)
            wrong = (numbers != numpy.round(numbers)) | ~(numpy.abs(numbers) < 2**63)
        off = numpy.flatnonzero(wrong)
        whole = numpy.where(wrong, 0, numbers).astype(numpy.int64)
        return whole, "number", int(off[0]) if len(off) else None
    if format is not None:
        return _dated(as_written(_parsed(values, format), _texts(values)))
    if all(texts.str.fullmatch(r"[+-]?\d{1,18}").all() for texts in _texts(values)):
        lengths = {length for texts in _texts(values) for length in texts.str.len().unique()}
        wanted = {8: "%Y%m%d", 6: "%Y%m"}.get(lengths.pop() if len(lengths) == 1 else 0)
        if wanted is not None:
            times = _parsed(values, wanted)
            years = times.astype("M8[ns]").astype("M8[Y]").astype(int) + 1970
            if ((years >= 1800) & (years <= 2200)).all():
                return _dated(times)
        numbers = [texts.astype(numpy.int64).to_numpy() for texts in _texts(values)]
        return numpy.concatenate(numbers), "number", None
    return _dated(as_written(_guessed(values, step), _texts(values)))


def _texts(values: Any) -> Iterator[pandas.Series]:
    return (piece.astype(str).str.strip() for _, piece in in_pieces(values))


def _parsed(values: Any, format: str) -> numpy.ndarray:
    """Strings as nanoseconds since 1970; `_NO_TIME` for those that cannot be read."""
    try:
        dates = (
            pandas.to_datetime(texts, format=format, utc=True, errors="coerce")
            for texts in _texts(values)
        )
        found = [_nanoseconds(each.dt.tz_localize(None)) for each in dates]
    except (ValueError, re.error) as error:
        raise OptionError(f"{option_name('time_format')} is {format!r}: {error}") from None
    return numpy.concatenate(found)


def _guessed(values: Any, step: Frequency | None) -> numpy.ndarray:
    """Strings as dates, by the format that reads the most of them; ISO 8601 before all others.

    Raises:
        DataError: They may be days and months, or months and days.
    """
    best, chosen = _parsed(values, "ISO8601"), ""
    for format in _FORMATS:
        # A first look at one row: most formats fail at once.
        if (best != _NO_TIME).all() and not chosen:
            break
        if (_parsed(values[:1], format) == _NO_TIME).all():
            continue
        dates = _parsed(values, format)
        if (dates != _NO_TIME).sum() > (best != _NO_TIME).sum():
            best, chosen = dates, format
        elif (dates != _NO_TIME).all() and (dates != best).any():
            best, chosen = _likelier({chosen: best, format: dates}, step)
    return best


def _likelier(
    readings: Mapping[str, numpy.ndarray], step: Frequency | None
) -> tuple[numpy.ndarray, str]:
    """Of readings of the same times the one that keeps to a step.

    Raises:
        DataError: All do, or none.
    """
    regular = [
        (times, format)
        for format, times in readings.items()
        if keeps_to_a_step(numpy.unique(times), step)
    ]
    if len(regular) != 1:
        one, other = readings
        raise DataError(
            f"the times can be read as {one} and as {other}; say how they are written with "
            f"{option_name('time_format', repr(one))} or {option_name('time_format', repr(other))}"
        )
    return regular[0]


def _dated(times: numpy.ndarray) -> tuple[numpy.ndarray, Kind, int | None]:
    missing = numpy.flatnonzero(times == _NO_TIME)
    return times, "date", int(missing[0]) if len(missing) else None


def unreadable(text: str, format: str | None) -> str:
    """Why a time cannot be read: a clause that follows it."""
    try:
        year = int(numpy.datetime64(text, "Y").astype(int)) + 1970
    except ValueError:
        year = _YEARS[0]
    if not _YEARS[0] <= year <= _YEARS[1]:
        return f"but years from {_YEARS[0]} to {_YEARS[1]} can be read"
    if format:
        return f"which cannot be read as {format!r}"
    return (
        "which cannot be read as a date or a whole number; say how it is written with "
        + option_name("time_format", "FORMAT")
    )


def _nanoseconds(dates: pandas.Series) -> numpy.ndarray:
    """Dates as nanoseconds since 1970."""
    zone = Zone.of(dates)
    dates = dates if zone is None else zone.without(dates)
    dates = dates.where(dates.dt.year.between(*_YEARS))
    return dates.to_numpy().astype("M8[ns]").astype(numpy.int64)
