"""Register blocking: how a stage is cut into tiles whose sums stay in registers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.schedule.forms import Accumulator, RowStage, Stage

WIDEST = 4  # the most vectors of units of a tile, of all its sums
MOST_ROWS = 6  # of a tile: a weight that is loaded serves so many
DOT_ROWS = 4  # the most rows that dot products are computed for at a time; a power of two


@dataclass(frozen=True)
class Group:
    """Sums of products with the same vectors, which a tile accumulates together."""

    accumulators: tuple[Accumulator, ...]  # the sums
    vectors: tuple[Node, ...]  # the vector of each term
    rows: int = DOT_ROWS  # the most rows whose sums are in registers at a time


@dataclass(frozen=True)
class Tile:
    """How a stage is cut."""

    groups: tuple[Group, ...]  # the groups of products
    blocks: int  # the width of a tile: vectors of units of each sum
    rows: int  # the most rows of a tile


def tile(stage: Stage | RowStage, arithmetic: Arithmetic) -> Tile:
    """Cut a stage so that the accumulators of a tile stay in registers."""
    budget = arithmetic.processor.registers - 4  # of sums of two rows: their numbers, a weight
    alike: dict[tuple[Node, ...], list[Accumulator]] = {}
    for accumulator in stage.accumulators:
        vectors = tuple(vector for _, vector in accumulator.terms)
        alike.setdefault(vectors, []).append(accumulator)
    groups: list[Group] = []
    most = budget // 2
    for vectors, accumulators in alike.items():
        for start in range(0, len(accumulators), most):
            groups.append(Group(tuple(accumulators[start : start + most]), vectors))
    if not groups:
        return Tile((), 1, 1)
    widest = max(len(group.accumulators) for group in groups)
    if not arithmetic.packed:
        return Tile(tuple(groups), 1, DOT_ROWS)
    # weights come from the L2 cache, which is slower than the arithmetic: each one that is loaded
    # serves as many rows as there are registers for, and four vectors wide measures best
    blocks = max(1, WIDEST // widest)
    registers = arithmetic.registers
    found = [
        replace(group, rows=_most_rows(len(group.accumulators) * blocks, registers))
        for group in groups
    ]
    return Tile(tuple(found), blocks, max(group.rows for group in found))


def row_by_row(width: int, rows: int, registers: int) -> bool:
    """Whether a tile holds its weights in registers and loads the number of one row after the
    other, because there is no room for the numbers of all rows and a weight.
    """
    return rows > width and rows * width + rows + 1 > registers


def _most_rows(width: int, registers: int) -> int:
    """The most rows of `width` vectors of sums that stay in registers with what they need."""

    def needed(rows: int) -> int:
        if row_by_row(width, rows, registers):
            return rows * width + width + 2  # the next number is loaded early
        return rows * width + rows + 1

    return next((rows for rows in range(MOST_ROWS, 1, -1) if needed(rows) <= registers), 1)
