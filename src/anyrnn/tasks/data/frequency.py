"""The step between the times of series, seasons and the calendar."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy
import pandas

from anyrnn.errors import DataError, OptionError, option_name

_HOUR = 3600 * 10**9
_DAY = 24 * _HOUR
_UNITS = {"us": 10**3, "ms": 10**6, "s": 10**9, "min": _HOUR // 60, "h": _HOUR}
_UNITS |= {"D": _DAY, "W": 7 * _DAY}
_MONTHS = {"M": 1, "MS": 1, "ME": 1, "Q": 3, "QS": 3, "QE": 3, "Y": 12, "YS": 12, "YE": 12}
_WORDS = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}
_WORDS |= {"min": "minute", "h": "hour", "D": "day", "W": "week"}
_WORDS |= {"M": "month", "Q": "quarter", "Y": "year"}  # with an S or E behind
_ROW_NAMES = ("row", "rows")
# Below this share of present times a step is not taken for that of the series.
_LEAST_PRESENT = 0.5

Kind = Literal["number", "date"]


@dataclass(frozen=True)
class Frequency:
    """The step between the times of a series.

    Times are integers: numbers as they are, dates as nanoseconds since 1970.

    Attributes:
        kind: What times are.
        unit: "fixed": `count` is added; "month": `count` months; "business": working days; "row":
            each row is a step, whatever its time.
        count: See `unit`; of rows, what is usual between two.
        at_end: Whether months are counted from their end.
    """

    kind: Kind
    unit: Literal["fixed", "month", "business", "row"]
    count: int = 1
    at_end: bool = False

    def __post_init__(self) -> None:
        """A step goes on."""
        if self.count < 1:
            raise ValueError(f"a step of {self.count}")

    def positions(self, times: numpy.ndarray) -> tuple[numpy.ndarray, int | None]:
        """The number of steps from the first time to each, and the first row that is off the grid.

        Args:
            times: Times in order.
        """
        if self.unit == "row":
            return numpy.arange(len(times)), None
        if self.unit == "fixed":
            found, rest = numpy.divmod(times - times[0], self.count)
        elif self.unit == "month":
            months, rest = self._months(times)
            found, odd = numpy.divmod(months - months[0], self.count)
            rest = (rest - rest[0]) | odd
        else:
            days = _dates(times).astype("M8[D]")
            found = numpy.busday_count(days[:1], days)
            rest = times - days.astype("M8[ns]").astype(numpy.int64)
            rest = (rest - rest[0]) | ~numpy.is_busday(days)
        off = numpy.flatnonzero(rest)
        return found, int(off[0]) if len(off) else None

    def times(self, first: int, positions: numpy.ndarray) -> numpy.ndarray:
        """The times so many steps after a first one: the inverse of `positions`."""
        if self.unit in ("fixed", "row"):
            return first + positions * self.count
        if self.unit == "month":
            months, rest = self._months(numpy.array([first]))
            months = months + positions * self.count
            starts = months.astype("M8[M]").astype("M8[ns]").astype(numpy.int64)
            return starts + rest
        day = _dates(numpy.array([first])).astype("M8[D]")
        days = numpy.busday_offset(day, positions, roll="forward")
        of_day = first - day.astype("M8[ns]").astype(numpy.int64)
        return days.astype("M8[ns]").astype(numpy.int64) + of_day

    def _months(self, times: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The month of each time, and the nanoseconds from its start (or that of the next)."""
        months = _dates(times).astype("M8[M]").astype(numpy.int64) + self.at_end
        starts = months.astype("M8[M]").astype("M8[ns]").astype(numpy.int64)
        return months, times - starts

    @property
    def season(self) -> int:
        """The usual number of steps of a season; 1 if there is none."""
        if self.kind == "number" or self.unit == "row":
            return 1
        if self.unit == "business":
            return 5
        if self.unit == "month":
            return max(1, 12 // self.count)
        for period in (_DAY, 7 * _DAY, 364 * _DAY):
            if self.count < period and period % self.count == 0:
                return period // self.count
        return 1

    def __str__(self) -> str:
        """The step as an option has it."""
        if self.unit in ("row", "business"):
            return {"row": "row", "business": "B"}[self.unit]
        if self.kind == "number":
            return str(self.count)
        if self.unit == "month":
            name = next(name for name, n in (("Y", 12), ("Q", 3), ("M", 1)) if self.count % n == 0)
            count = self.count // _MONTHS[name]
            name += "E" if self.at_end else "S"
        else:
            name, size = (
                next((name, n) for name, n in reversed(_UNITS.items()) if self.count % n == 0)
                if self.count % 1000 == 0
                else ("ns", 1)
            )
            count = self.count // size
        return name if count == 1 else f"{count}{name}"


def in_words(frequency: Frequency) -> str:
    """The step as people say it.

    Example:
        >>> in_words(Frequency("date", "fixed", 600 * 10**9)), in_words(Frequency("date", "month"))
        ('10 minutes', '1 month')
    """
    if frequency.kind == "number" or frequency.unit == "row":
        return "1 row" if frequency.unit == "row" else f"{frequency.count}"
    if frequency.unit == "business":
        return "1 working day"
    written = re.fullmatch(r"(\d*)([A-Za-z]+)", str(frequency))
    assert written is not None
    count, name = int(written[1] or 1), _WORDS.get(written[2]) or _WORDS[written[2][0]]
    return f"{count} {name}{'s' if count > 1 else ''}"


def _dates(times: numpy.ndarray) -> numpy.ndarray:
    return times.astype("M8[ns]")


def shown_time(time: int, kind: Kind) -> str:
    """A time as people write it.

    Example:
        >>> shown_time(0, "date"), shown_time(7, "number")
        ('1970-01-01', '7')
    """
    if kind == "number":
        return str(time)
    text = str(pandas.Timestamp(time, unit="ns"))
    return text.removesuffix(" 00:00:00")


def named_frequency(text: str, kind: Kind, series: Sequence[numpy.ndarray]) -> Frequency:
    """The step of a name.

    Args:
        text: The name, such as "10min", "B" or "row"; of numbers, a number.
        kind: What times are.
        series: The times of each series, in order.

    Raises:
        OptionError: There is no such step.
    """
    if text in _ROW_NAMES:
        return Frequency(kind, "row", _usual(series))
    found = re.fullmatch(r"(\d*)\s*([A-Za-z]*)", text)
    count, unit = (int(found[1] or 1), found[2]) if found else (0, "")
    if kind == "number" and count and not unit:
        return Frequency(kind, "fixed", count)
    if kind == "date" and count:
        unit = {"H": "h", "T": "min", "S": "s", "d": "D"}.get(unit, unit)
        if unit in _UNITS:
            return Frequency(kind, "fixed", count * _UNITS[unit])
        if unit == "B" and count == 1:
            return Frequency(kind, "business")
        if unit in _MONTHS:
            months = count * _MONTHS[unit]
            return Frequency(kind, "month", months, _at_end(series))
    known = ", ".join([*_UNITS, "B", "MS", "QS", "YS"])
    raise OptionError(
        f"{option_name('frequency')} is {text!r}, but has to be "
        + (f"a number with {known}" if kind == "date" else "a whole number, as the times are")
        + ", or row"
    )


def found_frequency(kind: Kind, series: Sequence[numpy.ndarray]) -> Frequency | None:
    """The step that most times keep to; `None` if there is none.

    Args:
        kind: What times are.
        series: The times of each series, in order, no two the same.
    """
    usual = _usual(series)
    candidates = [Frequency(kind, "fixed", usual)]
    if kind == "date":
        months = {28: 1, 29: 1, 30: 1, 31: 1, 90: 3, 91: 3, 92: 3, 365: 12, 366: 12}
        if usual % _DAY == 0 and usual // _DAY in months:
            at_end = _at_end(series)
            candidates.append(Frequency(kind, "month", months[usual // _DAY], at_end))
        if usual == _DAY:
            candidates.append(Frequency(kind, "business"))
    shares = [_present(candidate, series) for candidate in candidates]
    best = max(range(len(candidates)), key=lambda i: shares[i])
    return candidates[best] if shares[best] >= _LEAST_PRESENT else None


def keeps_to_a_step(dates: numpy.ndarray, step: Frequency | None) -> bool:
    """Whether dates in order keep to a step, which may be known."""
    if step is None:
        return found_frequency("date", [dates]) is not None
    return _present(step, [dates]) >= _LEAST_PRESENT


def _present(frequency: Frequency, series: Sequence[numpy.ndarray]) -> float:
    """The share of the grid's times that are there; 0 if a time is off the grid."""
    steps = 0
    for times in series:
        positions, off = frequency.positions(times)
        if off is not None:
            return 0.0
        steps += int(positions[-1]) + 1
    return sum(map(len, series)) / steps


def _usual(series: Sequence[numpy.ndarray]) -> int:
    differences = numpy.concatenate([numpy.diff(times) for times in series])
    if not len(differences):
        return 1
    values, counts = numpy.unique(differences, return_counts=True)
    return int(values[counts.argmax()])


def _at_end(series: Sequence[numpy.ndarray]) -> bool:
    """Whether all times lie on the last day of a month (and not all on a day that each has)."""
    days = numpy.concatenate([_dates(times).astype("M8[D]") for times in series])
    return bool(((days + 1) == (days + 1).astype("M8[M]").astype("M8[D]")).all())


Cycle = Literal["hour", "day", "week", "year"]
CYCLES: dict[Cycle, int] = {
    "hour": _HOUR,
    "day": _DAY,
    "week": 7 * _DAY,
    "year": int(365.2425 * _DAY),
}
"""The periods that the network can read, in nanoseconds."""


def cycles(frequency: Frequency, duration: int) -> list[Cycle]:
    """The names of the periods that are longer than two steps and not longer than the training.

    Args:
        frequency: The step.
        duration: The time of the training part, in nanoseconds.
    """
    if frequency.kind == "number":
        return []
    step = {"month": 30 * _DAY, "business": _DAY}.get(frequency.unit, 1) * frequency.count
    return [name for name, period in CYCLES.items() if 2 * step < period <= duration]


def calendar(times: numpy.ndarray, names: Sequence[Cycle]) -> numpy.ndarray:
    """Sine and cosine of each time within each of the periods, (times, 2 periods)."""
    columns = []
    for name in names:
        # 1970 began on a Thursday, at midnight, with a year.
        angle = 2 * numpy.pi * (times % CYCLES[name]) / CYCLES[name]
        columns += [numpy.sin(angle), numpy.cos(angle)]
    return numpy.stack(columns, 1) if columns else numpy.empty((len(times), 0))


def refuse_irregular(label: str, kind: Kind, series: Sequence[numpy.ndarray]) -> DataError:
    """The error for times without a step."""
    usual = _usual(series)
    for times in series:
        odd = numpy.flatnonzero(numpy.diff(times) % usual)
        if len(odd):
            here, there = (shown_time(int(times[odd[0] + i]), kind) for i in (0, 1))
            where = f"{there} follows {here}"
            break
    else:
        first, last = (shown_time(f(map(f, series)), kind) for f in (min, max))
        where = f"between {first} and {last} most of its times are missing"
    step = Frequency(kind, "fixed", usual)
    return DataError(
        f"{label}: the times keep to no step (the most frequent one is {step}, but {where}); "
        f"bring them to a regular step, or take each row as a step with "
        f"{option_name('frequency', 'row')}"
    )
