"""Times with a zone on one axis: UTC, or what the clock shows where it is always the same hour."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy
import pandas

_DAY = 24 * 3600 * 10**9
_OFFSET = re.compile(r"\d:\d\d\S*\s*([+-])(\d\d):?(\d\d)?$")


@dataclass(frozen=True)
class Zone:
    """The zone of times.

    Attributes:
        name: The zone, as pandas has it.
        by_clock: Whether they are read as the clock shows them; if not, they become UTC.
    """

    name: Any
    by_clock: bool

    @classmethod
    def of(cls, times: pandas.Series) -> "Zone | None":
        """The zone of times, if they have one."""
        name = getattr(getattr(times.dtype, "pyarrow_dtype", times.dtype), "tz", None)
        if name is None:
            return None
        shown = times.dt.tz_localize(None).dropna()
        of_day = shown - shown.dt.normalize()
        return cls(name, bool((of_day == of_day.iloc[:1].min()).all()))

    def without(self, times: pandas.Series) -> pandas.Series:
        """Times of the zone without one.

        Where all are at the same time of the day, such as midnight, they are what the clock shows:
        a day is a day. Otherwise they are UTC, in which no hour is missing or there twice.
        """
        return (times if self.by_clock else times.dt.tz_convert("UTC")).dt.tz_localize(None)

    def given_back(self, times: pandas.Series) -> pandas.Series:
        """The inverse of `without`."""
        if not self.by_clock:
            return times.dt.tz_localize("UTC").dt.tz_convert(self.name)
        summer = numpy.ones(len(times), bool)  # of what the clock shows twice
        return times.dt.tz_localize(self.name, ambiguous=summer, nonexistent="shift_forward")


def as_written(utc: numpy.ndarray, texts: Iterable[pandas.Series]) -> numpy.ndarray:
    """Written times that were read as UTC, in nanoseconds, as `Zone.without` has them.

    Args:
        utc: The times.
        texts: How they are written, some after the other; those that cannot be read, too.
    """
    every = []
    for some in texts:
        if not every and not _OFFSET.search(some.iloc[0]):
            return utc
        parts: Any = some.str.extract(_OFFSET)
        minutes = parts[1].astype(float) * 60 + parts[2].fillna("0").astype(float)
        ahead = minutes.where(parts[0] == "+", -minutes).fillna(0)
        every.append(ahead.to_numpy(numpy.int64) * 60 * 10**9)
    shown = utc + numpy.concatenate(every)
    return shown if (shown % _DAY == shown[0] % _DAY).all() else utc
