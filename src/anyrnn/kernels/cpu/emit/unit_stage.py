"""A stage over units: the products of a tile, and the elementwise work on them while they are in
the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from anyrnn.kernels.cpu.emit import dot_products, register_blocks
from anyrnn.kernels.cpu.emit.context import Context
from anyrnn.kernels.cpu.emit.elementwise import Registers
from anyrnn.kernels.cpu.emit.tiles import Tile
from anyrnn.kernels.evaluation import Evaluation
from anyrnn.schedule.forms import Stage


@dataclass(frozen=True)
class TileAddress:
    """The registers that say where a vector of a tile is."""

    inner: str  # its row in the tile
    lane: str  # its index in that row, in vectors
    row: str  # its row
    unit: str  # its first unit
    left: str  # the number of units from there on


class UnitStage:
    """Writes a stage over units."""

    def __init__(
        self,
        context: Context,
        number: int,
        stage: Stage,
        tile: Tile,
        evaluation: Evaluation,
    ) -> None:
        self.context, self.number, self.stage = context, number, stage
        self.tile, self.evaluation = tile, evaluation
        self.fields = context.record.stages[number]

    def write(self) -> None:
        """Write the loops over blocks of units and tiles of rows."""
        context, tile, lanes = self.context, self.tile, self.context.v.lanes
        function = context.function
        assert self.fields.blocks is not None
        first, last = (context.word(field) for field in self.fields.blocks)
        if not tile.groups:  # row by row: that is how arrays lie in memory
            unit = function.integer("mul", first, lanes)
            vectors = function.integer("sub", last, first)
            with context.rows() as row:
                self._elementwise([], unit, row, vectors)
            return
        with function.loop("block", first, last) as block:
            unit = function.integer("mul", block, tile.blocks * lanes)
            with self._tiles() as (row, count):
                offset, starts = 0, []
                for index, group in enumerate(tile.groups):
                    starts.append(offset)
                    stage = (context, self.number, index, group)
                    if context.arithmetic.packed:
                        register_blocks.call(*stage, tile, block, row, count, offset)
                    else:
                        dot_products.call(*stage, unit, row, count, offset)
                    offset += tile.rows * len(group.accumulators) * tile.blocks * lanes
                self._elementwise(starts, unit, row, count)

    @contextmanager
    def _tiles(self) -> Iterator[tuple[str, str]]:
        """A loop over tiles of rows, as even as can be: the first row, the number of rows."""
        function, most = self.context.function, self.tile.rows
        first = self.context.word(self.context.record.rows[0])
        total = function.integer("sub", self.context.step.last_row, first)
        tiles = function.integer("sdiv", function.integer("add", total, most - 1), most)
        with function.loop("tile", "0", tiles) as number:
            start, end = (
                function.integer("sdiv", function.integer("mul", total, place), tiles)
                for place in (number, function.integer("add", number, 1))
            )
            yield function.integer("add", first, start), function.integer("sub", end, start)

    def _elementwise(self, starts: list[int], unit: str, row: str, count: str) -> None:
        """The work on a tile: two vectors at a time, or one that is not whole.

        The instructions of the two alternate, which hides their latencies.
        """
        function, lanes = self.context.function, self.context.v.lanes
        total = function.integer("mul", count, self.tile.blocks)
        with function.loop("pair", "0", total, "2") as first:
            second = function.integer("add", first, 1)
            pair = [self._locate(index, unit, row) for index in (first, second)]
            there = function.value(f"icmp slt i64 {second}, {total}", "there")
            for at in pair:
                whole = function.value(f"icmp sge i64 {at.left}, {lanes}", "whole")
                there = function.value(f"and i1 {there}, {whole}", "there")
            with function.either(there, "pair") as otherwise:
                function.alternate([lambda at=at: self._compute(starts, at, None) for at in pair])
                otherwise()
                last = function.smaller(function.integer("add", first, 2), total)
                with function.loop("single", first, last) as index:
                    at = self._locate(index, unit, row)
                    some = function.value(f"icmp sgt i64 {at.left}, 0", "some")
                    with function.when(some, "units"):
                        self._masked_or_whole(starts, at)

    def _locate(self, index: str, unit: str, row: str) -> TileAddress:
        """Where a vector of a tile is, by its index."""
        function, blocks, lanes = self.context.function, self.tile.blocks, self.context.v.lanes
        inner, lane = (index, "0") if self.tile.groups else ("0", index)
        if blocks > 1:
            inner = function.integer("sdiv", index, blocks)
            lane = function.integer("srem", index, blocks)
        here = function.integer("add", unit, function.integer("mul", lane, lanes))
        left = function.integer("sub", self.context.word(self.fields.size), here)
        return TileAddress(inner, lane, function.integer("add", row, inner), here, left)

    def _masked_or_whole(self, starts: list[int], at: TileAddress) -> None:
        """One vector, with a mask; where masks are slow, only if it is not whole."""
        function, v = self.context.function, self.context.v
        if self.context.arithmetic.processor.masks:
            self._compute(starts, at, v.mask(at.left))
            return
        whole = function.value(f"icmp sge i64 {at.left}, {v.lanes}", "whole")
        with function.either(whole, "units") as otherwise:
            self._compute(starts, at, None)
            otherwise()
            self._compute(starts, at, v.mask(at.left))

    def _compute(self, starts: list[int], at: TileAddress, mask: str | None) -> None:
        """Compute and store all values of one vector."""
        context = self.context
        registers = Registers(context, at.row, at.unit, mask)
        self._load_sums(registers, starts, at)
        for node, values in zip(self.stage.stores, self.evaluation.roots, strict=True):
            value = registers.evaluate(node, values)
            for address in context.destinations(node, at.row, at.unit):
                context.v.store(value, address, mask)

    def _load_sums(self, registers: Registers, starts: list[int], at: TileAddress) -> None:
        """Load the sums of products from the thread's own memory."""
        function, v, blocks = self.context.function, self.context.v, self.tile.blocks
        for start, group in zip(starts, self.tile.groups, strict=True):
            width = len(group.accumulators) * blocks
            row = function.integer("mul", at.inner, width * v.lanes)
            place = function.integer("add", row, function.integer("mul", at.lane, v.lanes))
            for index, accumulator in enumerate(group.accumulators):
                offset = function.integer("add", place, start + index * blocks * v.lanes)
                registers.known[accumulator.node] = v.load(self.context.scratch(offset))
