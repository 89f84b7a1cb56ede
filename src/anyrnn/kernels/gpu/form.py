"""The form of a loop's kernels: one kernel that loops over time, or a launch for each stage of each
step; and how large the tiles are.
"""

from __future__ import annotations

from typing import NamedTuple

from anyrnn.schedule.forms import Schedule, Stage

LEAST = 16  # rows, columns and terms of a product of tiles
UNITS = 32  # of a tile at most: its values stay in registers
OPERANDS = 1 << 13  # elements of the matrices that a stage multiplies at a time
CACHED = 1 << 18  # elements of matrices that a loop over time reads from the cache at each step


class Form(NamedTuple):
    """What a kernel is written for, besides its schedule and sizes.

    Attributes:
        over_time: Whether one program goes over all steps with a tile of rows; else each stage of
            each step is a launch over tiles of rows and of units.
        reverse: Whether it goes from the last step to the first.
        element: The type of the arrays of a run, as Triton calls it.
        precision: How float32 is multiplied: `ieee` or `tf32`.
        interpreted: Whether Triton's interpreter runs it, whose products of bfloat16 are wrong.
    """

    over_time: bool
    reverse: bool
    element: str
    precision: str
    interpreted: bool

    @property
    def rows(self) -> int:
        """The rows of a tile."""
        return LEAST if self.over_time else 2 * LEAST


class Tile(NamedTuple):
    """How a stage is cut: the units of a tile, and the terms of a sum that are read at a time."""

    units: int
    terms: int


def power_of_two(size: int) -> int:
    """The smallest power of two that is as large, and as large as a tile has to be."""
    return max(LEAST, 1 << (size - 1).bit_length())


def tile(size: int, sums: int, terms: int) -> Tile:
    """The tile of a stage.

    Args:
        size: The size of its vectors.
        sums: How many sums of products it computes together.
        terms: The size of the largest vector that it multiplies; 0 for none.
    """
    units, terms = min(UNITS, power_of_two(size)), min(64, power_of_two(terms))
    while sums * units * terms > OPERANDS and max(units, terms) > LEAST:
        units, terms = (units // 2, terms) if units > terms else (units, terms // 2)
    return Tile(units, terms)


def loops_over_time(schedule: Schedule, sizes: dict[str, int]) -> bool:
    """Whether a step's matrices are so small that each tile of rows can read all of them from the
    cache at each step.
    """
    matrices = {
        matrix
        for stage in schedule.stages
        if isinstance(stage, Stage)
        for accumulator in stage.accumulators
        for matrix, _ in accumulator.terms
    }
    shapes = ([size.evaluate(sizes) for size in matrix.type.shape] for matrix in matrices)
    return sum(rows * columns for rows, columns in shapes) <= CACHED
