"""A schedule's loop as LLVM IR.

A stage is a loop over blocks of units and, inside it, over tiles of rows: the products of a tile
are accumulated in registers, and the elementwise work follows while the sums are in the cache. The
matrices are packed in the order in which tiles read them; for a single step, for which packing
would cost more than it saves, they are read as they are (`dot_products`).
"""

from __future__ import annotations

from dataclasses import dataclass

from anyrnn.errors import KernelError
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit import dot_products, register_blocks
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.elementwise import COMPUTE
from anyrnn.kernels.cpu.emit.entry import entry
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.emit.record import Record
from anyrnn.kernels.cpu.emit.tiles import Tile, tile
from anyrnn.kernels.cpu.emit.time_loop import TimeLoop
from anyrnn.kernels.evaluation import constants, evaluations, uncomputed
from anyrnn.schedule.forms import Schedule


@dataclass(frozen=True)
class Lowered:
    """The kernel of a schedule, with what its caller has to know."""

    schedule: Schedule
    text: str  # the LLVM IR
    record: Record
    tiles: tuple[Tile, ...]  # the tile of each stage
    arithmetic: Arithmetic


def unsupported(schedule: Schedule) -> str | None:
    """Why a schedule's loop cannot be lowered, or None if it can."""
    return uncomputed(evaluations(schedule, packed=True), COMPUTE, "CPU")


def lower(
    schedule: Schedule,
    arithmetic: Arithmetic,
    placed: frozenset[Node] = frozenset(),
    twice: frozenset[Node] = frozenset(),
) -> Lowered:
    """Write the kernel of a schedule.

    Args:
        schedule: The schedule.
        arithmetic: How it computes, with packed matrices if any vectors are placed.
        placed: The inputs and the emitted values of which each row has a place in its array.
        twice: The emitted values that are also written into such an array.

    Raises:
        KernelError: A value cannot be computed inside the loop.
    """
    packed = arithmetic.packed
    planned = evaluations(schedule, packed)
    if reason := uncomputed(planned, COMPUTE, "CPU"):
        raise KernelError(reason)
    tiles = tuple(tile(stage, arithmetic) for stage in schedule.stages)
    groups = [group for cut in tiles for group in cut.groups]
    rounded = [vector for group in groups for vector in group.vectors]
    copied = () if arithmetic.operand is Operand.PLAIN else rounded
    known = constants(schedule, planned)
    record = Record(schedule, tiles, packed, copied, known, placed, twice)
    if packed:
        functions = [*register_blocks.functions(arithmetic, tiles, placed.difference(copied))]
    else:
        terms = sorted({len(group.vectors) for group in groups})
        functions = dot_products.functions(arithmetic, terms)
    loop = TimeLoop(arithmetic, schedule, record, tiles, planned).write()
    parts = arithmetic.declarations, *functions, loop, entry(len(record), arithmetic.processor)
    text = "\n\n".join(parts)
    return Lowered(schedule, text, record, tiles, arithmetic)
