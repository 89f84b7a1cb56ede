"""How a stage is cut into blocks whose sums stay in registers."""

from __future__ import annotations

from dataclasses import dataclass

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.schedule.forms import Accumulator, Stage

DOT_ROWS = 4  # the most rows that dot products are computed for at a time; a power of two


@dataclass(frozen=True)
class Group:
    """Sums of products of the same vectors, which one tile accumulates together.

    Attributes:
        accumulators: The sums.
        vectors: The vectors, one for each term.
    """

    accumulators: tuple[Accumulator, ...]
    vectors: tuple[Node, ...]


@dataclass(frozen=True)
class Tile:
    """How a stage is cut into blocks.

    Attributes:
        groups: The groups of products.
        blocks: The number of vectors of units that a tile has for each sum.
        rows: The most rows that a tile has.
    """

    groups: tuple[Group, ...]
    blocks: int
    rows: int


def tile(stage: Stage, target: Processor, packed: bool) -> Tile:
    """Cut a stage so that a tile's accumulators stay in registers."""
    budget = target.registers - 4  # a weight, a few broadcast numbers
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
    if not packed:
        return Tile(tuple(groups), 1, DOT_ROWS)
    # a weight that is loaded serves as many rows as there are registers for: the weights come from
    # the second cache, which is slower than the arithmetic; rows by four vectors are the best there
    blocks = max(1, 4 // widest)
    rows = max(1, min(6, budget // (widest * blocks)))
    return Tile(tuple(groups), blocks, rows)
