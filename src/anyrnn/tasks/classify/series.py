"""Labelled sequences of numbers, and what is said of the files that they come from."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy


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
