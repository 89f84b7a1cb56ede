"""Labelled sequences of numbers, and what is said of the files that they come from."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.data.columns import no_number, number_of
from anyrnn.tasks.data.table import leave_out


@dataclass
class Series:
    """What a file holds.

    Attributes:
        path: The file.
        values: The numbers of each sequence, (time, channels); NaN where one is missing.
        labels: The label of each sequence; empty strings if none was asked for.
        rows: How messages name each sequence, such as "line 17".
        channels: The names of the channels.
        digest: A hash of the file's content.
        skipped: How many sequences were left out, by reason.
    """

    path: Path
    channels: list[str] = field(default_factory=list)
    digest: str = ""
    values: list[numpy.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, values: numpy.ndarray, label: str, row: str) -> None:
        """Add a sequence.

        Raises:
            SequenceError: It has no step, no or other channels, or an infinite value.
        """
        if not len(values):
            raise SequenceError("has no step")
        if not values.shape[1]:
            raise SequenceError("has no channel")
        self.channels = self.channels or [str(k + 1) for k in range(values.shape[1])]
        if values.shape[1] != len(self.channels):
            raise SequenceError(f"has {values.shape[1]} channel(s) instead of {len(self.channels)}")
        if numpy.isinf(values).any():
            raise SequenceError("has a value that is infinite, or too large for 32 bits")
        self.values.append(values)
        self.labels.append(label)
        self.rows.append(row)


class SequenceError(Exception):
    """A sequence cannot be used; the message says why."""


def try_add(
    series: Series, row: str, options: DataOptions, make: Callable[[], tuple[numpy.ndarray, str]]
) -> None:
    """Add the values and the label that `make` gives, or refuse or leave out the sequence."""
    try:
        values, label = make()
        series.add(values, label, row)
    except SequenceError as error:
        leave_out(series, row, error, "sequences", options.skip_bad)


def numbers_of(values: Sequence[str | None], what: str, decimal: str = ".") -> numpy.ndarray:
    """Numbers from text; NaN where one is missing."""
    plain = decimal == "." and not any("_" in value for value in values if value)
    try:
        # Most files have nothing but numbers.
        if plain:
            return as_float32(numpy.array(values, numpy.float64))
    except (ValueError, TypeError):
        pass
    numbers = numpy.empty(len(values))
    for place, value in enumerate(values):
        try:
            numbers[place] = number_of(value, decimal)
        except ValueError:
            text = (value or "").strip()[:40]
            raise SequenceError(f"has {text!r} in {what}, {no_number(text, decimal)}") from None
    return as_float32(numbers)


def as_float32(numbers: numpy.ndarray) -> numpy.ndarray:
    """Numbers in 32 bits; too large ones become infinite."""
    with numpy.errstate(over="ignore"):
        return numbers.astype(numpy.float32)
