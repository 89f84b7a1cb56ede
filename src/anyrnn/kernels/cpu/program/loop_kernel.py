"""A compiled loop over time, written on a commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.lower import Lowering
from anyrnn.kernels.cpu.emit.operand import operand as operand_for
from anyrnn.kernels.cpu.emit.packing import PackingJob
from anyrnn.kernels.cpu.emit.tiles import Group, Tile
from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.cpu.machine.engine import compile_text
from anyrnn.kernels.cpu.machine.processor import Processor, host
from anyrnn.kernels.cpu.program import packing
from anyrnn.kernels.cpu.program.commands import (
    LINE,
    TABLE,
    WORD,
    WORKSPACE,
    Array,
    BufferView,
    CommandBuffer,
)
from anyrnn.schedule.forms import RowStage, Schedule

LAYOUTS = 64  # of a loop that are kept
ROWS_EACH = 3  # the fewest rows of a thread in a step; below that threads share the units of all
STEP_COST = 2  # what a step costs a thread whatever its rows, in rows


class Loop:
    """A schedule's loop, compiled.

    Args:
        schedule: The schedule.
        dtype: float32 or float64.
        target: The CPU to compile for; this one if not given.
        packed: Whether matrices are packed first; if not, they are read as they are, which is
            better for a single step.
        operand: `bfloat16` to round what products multiply, which is float32.
        short: Whether matrices that are not packed are bfloat16 in memory.
    """

    def __init__(
        self,
        schedule: Schedule,
        dtype: Any,
        target: Processor | None = None,
        packed: bool = True,
        operand: str | None = None,
        short: bool = False,
    ) -> None:
        self.schedule = schedule
        self.packed = packed
        self.dtype = np.dtype(dtype)
        self.target = target or host()
        double = self.dtype == np.float64
        self.lanes = self.target.lanes(double)
        self.operand = kind = operand_for(operand, self.target, packed)
        self.lowered = Lowering(schedule, self.target, double, packed, kind, short).lower()
        states = ", ".join(schedule.states) or "product"
        label = f"{states} ({operand or self.dtype}{'' if packed else ', one step'})"
        self.code = compile_text(self.lowered.text, self.target, label)
        self._layouts: dict[Any, Layout] = {}

    @property
    def matrices(self) -> list[Node]:
        """The matrices that it reads."""
        stages = (stage for stage in self.schedule.stages if not isinstance(stage, RowStage))
        found = (
            matrix
            for stage in stages
            for accumulator in stage.accumulators
            for matrix, _ in accumulator.terms
        )
        return [*dict.fromkeys(found)]

    def _layout(self, sizes: Mapping[str, int], batch: int, threads: int, by_rows: bool) -> Layout:
        key = (*sizes.items(), batch, threads, by_rows)
        found = self._layouts.get(key)
        if found is None:
            while len(self._layouts) >= LAYOUTS:
                self._layouts.pop(next(iter(self._layouts)), None)
            found = self._layouts[key] = Layout(self, sizes, batch, threads, by_rows)
        return found

    def prepare(
        self,
        commands: CommandBuffer,
        values: Mapping[Node, BufferView],
        sizes: Mapping[str, int],
        batch: int,
        room: dict[int, BufferView] | None = None,
        rows: float | None = None,
    ) -> Prepared:
        """Write on a commands what makes ready to run with given parameters and sizes: weights are
        packed.

        Args:
            commands: The commands.
            values: What depends on parameters only: vectors and matrices.
            sizes: The named sizes.
            batch: The number of sequences.
            room: Workspaces by their size, for loops that never work at the same time to share.
            rows: How many sequences a step has on average; all of them if not given.

        Returns:
            What runs over sequences, and over one part of them after another.
        """
        threads, rows = commands.threads, batch if rows is None else rows
        by_rows = rows >= ROWS_EACH * threads or threads == 1
        layout = self._layout(sizes, batch, threads, by_rows)
        room = {} if room is None else room
        workspace = room.get(layout.bytes)
        if workspace is None:
            workspace = room[layout.bytes] = commands.scratch((layout.bytes,), np.uint8)
        return Prepared(self, layout, commands, values, workspace)


class Layout:
    """What of a loop's record follows from sizes: numbers, and places in a workspace.

    Attributes:
        records: A record for one thread alone, then one for each thread; addresses are missing.
        places: The places in the record of addresses in the workspace.
        offsets: Where these are in the workspace, in bytes, for each record.
        bytes: The size of the workspace.
        jobs: How to pack each of `packed`; places count from the workspace's beginning.
        packed: The matrices to pack.
        matrices: Where the addresses and strides of matrices belong that are read as they are.
        by_rows: Whether threads divide the rows; if not, they divide the units of all rows, and
            wait for each other at a barrier.
    """

    def __init__(
        self, loop: Loop, sizes: Mapping[str, int], batch: int, threads: int, by_rows: bool
    ) -> None:
        self.sizes, self.batch, self.threads, self.by_rows = sizes, batch, threads, by_rows
        self.lanes, self.itemsize, self.is_packed = loop.lanes, loop.dtype.itemsize, loop.packed
        lowered = loop.lowered
        self.operand = loop.operand
        self.names = lowered.record.names
        self.records = np.zeros((1 + threads, len(self.names)), np.int64)
        self.bytes = 0
        self.jobs: list[PackingJob] = []
        self.packed: list[Node] = []
        self.matrices: list[tuple[int, int, Node]] = []
        self.addresses: dict[str, list[int]] = {}
        for node, name in lowered.rows.items():
            size = self.size(node)
            self._reserve(name, batch * size)
            self._set(f"{name}.stride", size)
        for name, size in lowered.numbers.items():
            self._set(name, size.evaluate(sizes))
        for name in loop.schedule.states:
            node = loop.schedule.graph.outputs[name]
            self._set(f"state.{name}.stride", self.size(node))
        for node, name in lowered.operands.items():
            self._lay_out_copy(name, self.size(node))
        self.blocks: list[tuple[int, int]] = []
        scratch = 0
        for number, stage in enumerate(loop.schedule.stages):
            cut = lowered.tiles[number]
            if isinstance(stage, RowStage):
                self._set(f"stage{number}.size", self.size(stage.reductions[0].arguments[0]))
                scratch = max(scratch, len(stage.reductions) * loop.lanes)
                continue
            assert cut is not None
            size = stage.size.evaluate(sizes)
            self._set(f"stage{number}.size", size)
            self.blocks.append((number, -(-size // (cut.blocks * loop.lanes))))
            for index, group in enumerate(cut.groups):
                self._lay_out(number, index, group, cut, size)
            tile = sum(len(group.accumulators) for group in cut.groups) * cut.blocks * cut.rows
            scratch = max(scratch, tile * loop.lanes)
        self._divide(scratch + LINE)
        self.places = np.array([self.names[name] for name in self.addresses], np.int64)
        self.offsets = np.array(list(self.addresses.values()), np.int64).T

    def size(self, node: Node) -> int:
        """The size of a vector."""
        return node.type.shape[0].evaluate(self.sizes) if node.type.shape else 1

    def _set(self, name: str, number: int) -> None:
        self.records[:, self.names[name]] = number

    def _take(self, elements: int) -> int:
        """Take a part of the workspace: where it begins."""
        start = self.bytes
        self.bytes += -(-elements * self.itemsize // LINE) * LINE
        return start

    def _reserve(self, name: str, elements: int) -> None:
        self.addresses[name] = [self._take(elements)] * len(self.records)

    def _lay_out_copy(self, name: str, size: int) -> None:
        """Where the copy of a vector for products goes: its rows are whole registers; threads that
        share rows have one each.
        """
        stride = self.operand.places(-(-size // self.lanes) * self.lanes)
        self._set(f"{name}.size", size)
        self._set(f"{name}.stride", stride)
        self._reserve(name, self.batch * stride)
        if not self.by_rows:
            others = [self._take(self.batch * stride) for _ in range(self.threads - 1)]
            self.addresses[name][2:] = others

    def _lay_out(self, number: int, index: int, group: Group, cut: Tile, units: int) -> None:
        """Where the matrices of a group go, or what is said of them as they are."""
        terms = group.accumulators[0].terms
        lengths = [matrix.type.shape[1].evaluate(self.sizes) for matrix, _ in terms]
        for term, length in enumerate(lengths):
            self._set(f"stage{number}.length{index}.{term}", self.operand.places(length))
        if not self.is_packed:
            for place, accumulator in enumerate(group.accumulators):
                for term, (matrix, _) in enumerate(accumulator.terms):
                    name = f"stage{number}.matrix{index}.{place}.{term}"
                    at = (self.names[name], self.names[f"{name}.stride"])
                    self.matrices.append((*at, matrix))
            return
        blocks = -(-units // (cut.blocks * self.lanes))
        vector = cut.blocks * self.lanes
        element_step = len(group.accumulators) * vector
        block_step = sum(map(self.operand.places, lengths)) * element_step
        name = f"stage{number}.weights{index}"
        self._reserve(name, blocks * block_step)
        for place, accumulator in enumerate(group.accumulators):
            before = 0
            for (matrix, _), length in zip(accumulator.terms, lengths, strict=True):
                elements = before * element_step + place * vector
                job = PackingJob(
                    units=units,
                    length=length,
                    place=self.addresses[name][0] + elements * self.itemsize,
                    block_step=block_step,
                    element_step=element_step,
                    vectors=cut.blocks,
                    all_vectors=blocks * cut.blocks,
                )
                self.jobs.append(job)
                self.packed.append(matrix)
                before += self.operand.places(length)

    def _divide(self, scratch: int) -> None:
        """Divide the units between threads where rows are few; a run divides the rows elsewhere."""
        threads = self.threads
        self._set("threads", threads)
        self._set("first_row", 0)
        self._set("last_row", self.batch)
        self._set("yield", team.give_way())
        self.addresses["scratch"] = [self._take(scratch) for _ in range(threads)]
        self.addresses["scratch"].insert(0, self.addresses["scratch"][0])
        for thread in range(-1, threads):  # the first record is for one thread alone
            record = self.records[thread + 1]
            whole = self.by_rows or thread < 0
            for number, count in self.blocks:
                first, last = (0, count) if whole else (count * thread, count * (thread + 1))
                share = 1 if whole else threads
                record[self.names[f"stage{number}.first"]] = first // share
                record[self.names[f"stage{number}.last"]] = last // share


class Prepared:
    """A loop with parameters and sizes, on a commands.

    Args:
        loop: The compiled loop.
        layout: What follows from sizes.
        commands: The commands.
        values: What depends on parameters only: vectors and matrices.
        workspace: Memory for packed matrices and what is between two stages.
    """

    def __init__(
        self,
        loop: Loop,
        layout: Layout,
        commands: CommandBuffer,
        values: Mapping[Node, BufferView],
        workspace: BufferView,
    ) -> None:
        self.loop, self.layout, self.commands, self.workspace = loop, layout, commands, workspace
        self.records = layout.records.copy()
        self.pointers: list[tuple[int, BufferView]] = []
        for node, name in loop.lowered.vectors.items():
            vector = commands.contiguous(values[node])
            self.pointers.append((layout.names[name], vector))
        for place, stride_place, node in layout.matrices:
            matrix = commands.contiguous(values[node])
            self.pointers.append((place, matrix))
            self.records[:, stride_place] = matrix.steps[0]
        matrices = [values[node] for node in layout.packed]
        places = [workspace] * len(matrices)
        packing.write(commands, layout.jobs, matrices, places, loop.operand)

    def run(
        self,
        offsets: Array,
        values: Mapping[Node, BufferView],
        states: Mapping[str, tuple[BufferView, BufferView]],
        reverse: bool,
        places: Mapping[Node, BufferView],
        clock: int = 0,
        seed: BufferView | None = None,
    ) -> None:
        """Write a run over sequences.

        Args:
            offsets: The first row of each step, and the number of rows of all steps.
            values: The carried values, (rows of all steps, size).
            states: The initial states, (batch, size), and as much room for the next ones: they
                take turns from step to step.
            reverse: From the last step to the first.
            places: Where to write emitted values.
            clock: The first of these steps, counted from the first one of the sequences.
            seed: What random numbers follow from, if the loop draws some.
        """
        layout, names, commands = self.layout, self.layout.names, self.commands
        records, pointers = self.records.copy(), [*self.pointers]
        steps = len(offsets) - 1
        records[:, names["steps"]] = steps
        records[:, names["time"]] = steps - 1 if reverse else 0
        records[:, names["direction"]] = -1 if reverse else 1
        records[:, names["clock"]] = clock
        if layout.by_rows:
            bounds = divide_rows(np.diff(offsets), layout.threads)
            records[1:, names["first_row"]] = bounds[:-1]
            records[1:, names["last_row"]] = bounds[1:]
        if seed is not None:
            pointers.append((names["seed"], seed))
        for node, name in self.loop.lowered.arrays.items():
            place = (
                places[node] if name.startswith("emitted") else commands.contiguous(values[node])
            )
            pointers.append((names[name], place))
            records[:, names[f"{name}.stride"]] = place.steps[0]
        for name in self.loop.schedule.states:
            for which, place in zip(("current", "next"), states[name], strict=True):
                pointers.append((names[f"state.{name}.{which}"], place))
        first = commands.enter(self.loop.code, records, pointers)
        rows = first + len(names) * np.arange(len(records))
        commands.point(rows + names["offsets"], TABLE, commands.table(offsets) * WORD)
        commands.point(
            rows[:, None] + layout.places, WORKSPACE, self.workspace.offset + layout.offsets
        )
        if not layout.by_rows:
            commands.point(rows[1:] + names["barrier"], TABLE, commands.barrier() * WORD)


def divide_rows(sizes: Array, threads: int) -> Array:
    """Divide the rows of falling numbers between threads, so that all have as much to do.

    Args:
        sizes: The number of rows of each step, never rising.
        threads: The number of threads.

    Returns:
        The first row of each thread, and the number of all rows.

    Example:
        >>> import numpy as np
        >>> divide_rows(np.array([6, 6, 6]), 2)
        array([0, 3, 6])
        >>> divide_rows(np.array([6, 2, 1, 1, 1]), 2)
        array([0, 1, 6])
    """
    rows = int(sizes[0])
    if sizes[-1] == rows:
        return np.arange(threads + 1) * rows // threads
    lengths = np.searchsorted(-sizes, -np.arange(rows), side="left")  # the steps of each row
    before = np.concatenate([[0], np.cumsum(lengths)])
    low, high = before[-1] // threads, before[-1] + STEP_COST * len(sizes)
    bounds = np.zeros(threads + 1, np.int64)
    while low <= high:  # the least work of the thread with the most
        most, place = (low + high) // 2, [0]
        for _ in range(threads):
            first = place[-1]
            work = before[first] + most - STEP_COST * (lengths[first] if first < rows else 0)
            place.append(max(first, int(np.searchsorted(before, work, side="right")) - 1))
        if place[-1] == rows:
            bounds, high = np.array(place), most - 1
        else:
            low = most + 1
    return bounds
