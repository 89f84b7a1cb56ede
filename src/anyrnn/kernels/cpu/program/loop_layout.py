"""What of a loop's record follows from sizes: integers, and offsets in a workspace."""

from __future__ import annotations

import numpy as np

from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.emit.lower import Lowered
from anyrnn.kernels.cpu.emit.packing import PackingJob
from anyrnn.kernels.cpu.emit.record import CopyFields, Field, GroupFields
from anyrnn.kernels.cpu.emit.tiles import Group
from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.cpu.program.block_views import LINE
from anyrnn.kernels.run import Sizes
from anyrnn.schedule.forms import RowStage


class LoopLayout:
    """The records of a loop for given sizes, and its workspace.

    Threads divide the rows, or the units of all rows; then they meet at barriers.

    Attributes:
        records: A record for one thread alone, then one for each thread; addresses are missing.
        pointers: The indices in a record of the addresses that point into the workspace.
        offsets: The offsets in the workspace that they point to, in bytes, (records, pointers).
        bytes: The size of the workspace.
        weights: The indices in a record of the addresses of packed matrices, by their offsets in
            the memory that these have.
        weight_bytes: The size of that.
        lengths: The indices in a record of numbers of elements, and of slots, of vectors that
            products multiply: with the size, and how many elements a slot has.
        jobs: The matrices to pack, and how; destinations count from the beginning of that.
        in_place: The matrices that are read in place instead, as if they were packed: their columns
            are contiguous. Each with the indices in a record of its address and of the stride of
            its columns.
    """

    def __init__(
        self,
        lowered: Lowered,
        sizes: Sizes,
        batch: int,
        threads: int,
        by_rows: bool,
        read_in_place: bool = False,
    ) -> None:
        arithmetic, self.record, self.sizes = lowered.arithmetic, lowered.record, dict(sizes)
        self.operand, self.lanes = arithmetic.operand, arithmetic.lanes
        self.itemsize = 8 if arithmetic.double else 4
        self.batch, self.threads, self.by_rows = batch, threads, by_rows
        self.records = np.zeros((1 + threads, len(self.record)), np.int64)
        self.bytes = self.weight_bytes = 0
        self.weights: list[tuple[int, int]] = []
        self.lengths: list[tuple[int, Size, int]] = []
        self.jobs: list[tuple[Node, PackingJob]] = []
        self.in_place: list[tuple[Node, int, int]] = []
        self._read_in_place = read_in_place
        self._addresses: dict[Field, list[int]] = {}
        for node, array in self.record.between.items():
            size = self._size(node)
            self._reserve(array.address, batch * size)
            self._set(array.stride, size)
        for size, field in self.record.sizes.items():
            self._set(field, size.evaluate(self.sizes))
        for name, state in self.record.states.items():
            self._set(state.stride, self._size(lowered.schedule.graph.outputs[name]))
        for node, copy in self.record.copies.items():
            self._lay_out_copy(copy, node.type.size)
        self._reserve_scratch(self._lay_out_stages(lowered) + LINE)
        self._set(self.record.threads, threads)
        self._set(self.record.rows[1], batch)
        self._set(self.record.give_way, team.give_way())
        self.pointers = np.array([field.index for field in self._addresses], np.int64)
        self.offsets = np.array(list(self._addresses.values()), np.int64).T

    def _size(self, node: Node) -> int:
        return node.type.size.evaluate(self.sizes)

    def _set(self, field: Field, number: int) -> None:
        self.records[:, field.index] = number

    def _rounded(self, elements: int) -> int:
        """The bytes of whole cache lines."""
        return -(-elements * self.itemsize // LINE) * LINE

    def _take(self, elements: int) -> int:
        """Take a part of the workspace: its offset."""
        offset = self.bytes
        self.bytes += self._rounded(elements)
        return offset

    def _reserve(self, field: Field, elements: int) -> None:
        """Memory that all threads share."""
        self._addresses[field] = [self._take(elements)] * len(self.records)

    def _reserve_scratch(self, elements: int) -> None:
        """Memory of each thread's own; one thread alone has that of the first."""
        offsets = [self._take(elements) for _ in range(self.threads)]
        self._addresses[self.record.scratch] = [offsets[0], *offsets]

    def _lay_out_copy(self, copy: CopyFields, length: Size) -> None:
        """The rounded copy of a vector: its rows are whole registers; threads that share rows have
        one each.
        """
        size = length.evaluate(self.sizes)
        stride = self.operand.copied_slots(size, self.lanes)
        self._set(copy.size, size)
        self.lengths.append((copy.size.index, length, 1))
        self._set(copy.rows.stride, stride)
        self._reserve(copy.rows.address, self.batch * stride)
        if not self.by_rows:
            others = [self._take(self.batch * stride) for _ in range(self.threads - 1)]
            self._addresses[copy.rows.address][2:] = others

    def _lay_out_stages(self, lowered: Lowered) -> int:
        """Sizes, weights and ranges of all stages; the elements of a thread's own memory."""
        scratch, stages = 0, lowered.schedule.stages
        for stage, tile, fields in zip(stages, lowered.tiles, self.record.stages, strict=True):
            if isinstance(stage, RowStage):
                self._set(fields.size, self._size(stage.reductions[0].arguments[0]))
                scratch = max(scratch, len(stage.reductions) * self.lanes)
                continue
            assert fields.blocks is not None
            size = stage.size.evaluate(self.sizes)
            self._set(fields.size, size)
            self._divide(fields.blocks, -(-size // (tile.blocks * self.lanes)))
            for group, group_fields in zip(tile.groups, fields.groups, strict=True):
                self._lay_out_group(group, group_fields, tile.blocks, size)
            sums = sum(len(group.accumulators) for group in tile.groups) * tile.blocks * tile.rows
            scratch = max(scratch, sums * self.lanes)
        return scratch

    def _lay_out_group(self, group: Group, fields: GroupFields, width: int, units: int) -> None:
        """The lengths of the vectors of a group, and where its matrices are packed."""
        terms = group.accumulators[0].terms
        lengths = [matrix.type.shape[1].evaluate(self.sizes) for matrix, _ in terms]
        slots = [self.operand.slots(length) for length in lengths]
        for field, number, (matrix, _) in zip(fields.lengths, slots, terms, strict=True):
            self._set(field, number)
            self.lengths.append((field.index, matrix.type.shape[1], self.operand.each))
        if fields.weights is None or fields.steps is None:
            return
        vector = width * self.lanes
        if self._read_in_place:
            ((matrix, _),) = terms
            self._set(fields.steps[0], vector)
            self.in_place.append((matrix, fields.weights.index, fields.steps[1].index))
            return
        blocks = -(-units // vector)
        element_step = len(group.accumulators) * vector
        packed = [*map(self.operand.packed_slots, lengths)]
        block_step = sum(packed) * element_step
        for field, number in zip(fields.steps, (block_step, element_step), strict=True):
            self._set(field, number)
        start = self.weight_bytes
        self.weights.append((fields.weights.index, start))
        self.weight_bytes += self._rounded(blocks * block_step)
        for index, accumulator in enumerate(group.accumulators):
            before = 0
            for (matrix, _), length, number in zip(accumulator.terms, lengths, packed, strict=True):
                job = PackingJob(
                    units=units,
                    length=length,
                    destination=start + (before * element_step + index * vector) * self.itemsize,
                    block_step=block_step,
                    element_step=element_step,
                    vectors=width,
                    all_vectors=blocks * width,
                )
                self.jobs.append((matrix, job))
                before += number

    def _divide(self, fields: tuple[Field, Field], blocks: int) -> None:
        """Divide the units of a stage between threads that do not divide the rows."""
        first, last = (field.index for field in fields)
        self.records[:, last] = blocks
        if not self.by_rows:
            bounds = blocks * np.arange(self.threads + 1) // self.threads
            self.records[1:, first], self.records[1:, last] = bounds[:-1], bounds[1:]
