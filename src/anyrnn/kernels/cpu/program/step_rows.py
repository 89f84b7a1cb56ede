"""The rows of the steps that a loop runs over, as words of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.row_division import divide_rows
from anyrnn.kernels.cpu.program.varying import Count, Segment, value_of
from anyrnn.kernels.run import Array, Steps


class OneStep(NamedTuple):
    """One step with so many rows."""

    rows: Count
    steps: int = 1

    def write(self, commands: CommandBuffer) -> int:
        """Append the first row of each step, and the number of all rows: the index in the table."""
        return commands.counts([0, self.rows])

    def divide(self, commands: CommandBuffer, ranges: Array) -> None:
        """Set entries of the table, (2, threads), to the first row of each thread and its end."""
        threads = ranges.shape[1]
        for place in range(threads):
            for index, bound in zip(ranges[:, place], (place, place + 1), strict=True):
                commands.vary(index, self.rows * bound // threads)


class SegmentSteps(NamedTuple):
    """The steps of a segment.

    Attributes:
        segment: The segment.
        most: The most steps.
    """

    segment: Segment
    most: int

    @property
    def steps(self) -> Count:
        """The number of steps."""
        return self.segment.stop - self.segment.start

    def write(self, commands: CommandBuffer) -> int:
        """As `OneStep.write`."""
        first = commands.table(np.zeros(self.most + 1))

        def padded(steps: Steps, numbers: Sequence[int]) -> Array:
            found, known = np.zeros(self.most + 1, np.int64), self._offsets(steps, numbers)
            found[: len(known)] = known
            return found

        commands.follow(slice(first, first + self.most + 1), padded)
        return first

    def divide(self, commands: CommandBuffer, ranges: Array) -> None:
        """As `OneStep.divide`."""

        def divided(steps: Steps, numbers: Sequence[int]) -> Array:
            bounds = divide_rows(np.diff(self._offsets(steps, numbers)), ranges.shape[1])
            return np.array([bounds[:-1], bounds[1:]])

        commands.follow(ranges, divided)

    def _offsets(self, steps: Steps, numbers: Sequence[int]) -> Array:
        start, stop = (value_of(n, numbers) for n in self.segment[:2])
        return steps.offsets[start : stop + 1] - steps.offsets[start]


StepRows = OneStep | SegmentSteps
