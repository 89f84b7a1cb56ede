"""The form of a loop's kernels: a scan over time, one kernel that loops over time, or a launch for
each stage of each step; and how large the tiles are.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from anyrnn.schedule.forms import Schedule, Stage
from anyrnn.schedule.linear import recurrences

LEAST = 16  # rows, columns and terms of a product of tiles
UNITS = 32  # of a tile at most: its values stay in registers
OPERANDS = 1 << 13  # elements of the matrices that a stage multiplies at a time
EXACT = 32  # terms at a time of products of float32 with all digits: no unit for products has these
CACHED = 1 << 18  # elements of matrices that a loop over time reads from the cache at each step
KEPT = 3 << 14  # bytes of matrices that stay on the chip: a GPU of AMD has 2^16 of shared memory
WHOLE = 128  # the largest vectors of such a loop: a tile has all units
CHUNK = 64  # steps of a scan at a time
SUMS = 64  # of products that a stage adds up at a time at most: they are in registers


class Loop(StrEnum):
    """How a loop goes over time."""

    SCAN = "scan"  # a program for each sequence and tile of units scans chunks of steps
    RESIDENT = "resident"  # as `time`, with the matrices on the chip from the first step on
    TIME = "time"  # a program for each tile of rows does one step after another
    STEPS = "steps"  # each stage of each step is a launch over tiles of rows and of units


class Form(NamedTuple):
    """What a kernel is written for, besides its schedule and sizes.

    Attributes:
        loop: How it goes over time.
        reverse: Whether it goes from the last step to the first.
        element: The type of the arrays of a run, as Triton calls it.
        precision: How float32 is multiplied: `ieee` or `tf32`.
        interpreted: Whether Triton's interpreter runs it, whose products of bfloat16 are wrong.
    """

    loop: Loop
    reverse: bool
    element: str
    precision: str
    interpreted: bool

    @property
    def exact(self) -> bool:
        """Whether products are of float32 with all digits."""
        return self.element == "float32" and self.precision == "ieee"

    @property
    def rows(self) -> int:
        """The sequences of a tile."""
        return {Loop.SCAN: 1, Loop.STEPS: 2 * LEAST}.get(self.loop, LEAST)


class Tile(NamedTuple):
    """How a stage is cut: the units of a tile, and the terms of a sum that are read at a time."""

    units: int
    terms: int


def power_of_two(size: int, least: int = LEAST) -> int:
    """The smallest power of two that is as large, and as large as a tile of a product has to be."""
    return max(least, 1 << (size - 1).bit_length())


def tile(size: int, sums: int, terms: int, exact: bool = False) -> Tile:
    """The tile of a stage.

    Args:
        size: The size of its vectors.
        sums: How many sums of products it computes together.
        terms: The size of the largest vector that it multiplies; 0 for none.
        exact: Whether products are of float32 with all digits: threads have the terms in registers.
    """
    units, terms = min(UNITS, power_of_two(size)), min(EXACT if exact else 64, power_of_two(terms))
    while sums * units * terms > OPERANDS and max(units, terms) > LEAST:
        units, terms = (units // 2, terms) if units > terms else (units, terms // 2)
    return Tile(units, terms)


def choose_loop(schedule: Schedule, sizes: Mapping[str, int], element: str) -> Loop:
    """How a loop goes over time: a scan if it is linear; else in one kernel if its matrices are so
    small that each tile of rows can keep all of them on the chip, or can read all of them from the
    cache at each step.

    Args:
        schedule: The schedule of the loop.
        sizes: The named sizes.
        element: The type of the arrays.
    """
    if recurrences(schedule) is not None:
        return Loop.SCAN
    stages = [stage for stage in schedule.stages if isinstance(stage, Stage)]
    matrices = {
        matrix
        for stage in stages
        for accumulator in stage.accumulators
        for matrix, _ in accumulator.terms
    }
    shapes = [[size.evaluate(sizes) for size in matrix.type.shape] for matrix in matrices]
    padded = sum(power_of_two(rows) * power_of_two(columns) for rows, columns in shapes)
    whole = all(stage.size.evaluate(sizes) <= WHOLE for stage in stages)
    if matrices and whole and padded * (4 if element == "float32" else 2) <= KEPT:
        return Loop.RESIDENT
    small = sum(rows * columns for rows, columns in shapes) <= CACHED
    return Loop.TIME if small else Loop.STEPS
