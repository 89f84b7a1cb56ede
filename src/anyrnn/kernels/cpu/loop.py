"""A compiled loop over time: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu import memory, pack, team
from anyrnn.kernels.cpu.engine import compile_text
from anyrnn.kernels.cpu.lower import Lowering
from anyrnn.kernels.cpu.pack import Job
from anyrnn.kernels.cpu.target import Target, host
from anyrnn.kernels.cpu.tiles import Group, Tile
from anyrnn.schedule.loop import RowStage, Schedule

Array = NDArray[Any]

ROWS_EACH = 3  # the fewest rows of a thread; below that threads share the units of all rows
LINE = 64  # bytes of a cache line


class Loop:
    """A schedule's loop, compiled.

    Args:
        schedule: The schedule.
        dtype: float32 or float64.
        target: The CPU to compile for; this one if not given.
        packed: Whether matrices are packed first; if not, they are read as they are, which is
            better for a single step.
    """

    def __init__(
        self, schedule: Schedule, dtype: Any, target: Target | None = None, packed: bool = True
    ) -> None:
        self.schedule = schedule
        self.packed = packed
        self.dtype = np.dtype(dtype)
        self.target = target or host()
        double = self.dtype == np.float64
        self.lanes = self.target.lanes(double)
        self.lowered = Lowering(schedule, self.target, double, packed).lower()
        states = ", ".join(schedule.states) or "product"
        label = f"{states} ({self.dtype}{'' if packed else ', one step'})"
        self.code = compile_text(self.lowered.text, self.target, label)
        self._layout = lru_cache(maxsize=64)(self._make_layout)

    def _make_layout(self, sizes: tuple[tuple[str, int], ...], batch: int, threads: int) -> Layout:
        return Layout(self, dict(sizes), batch, threads)

    def prepare(
        self, values: Mapping[Node, Array], sizes: Mapping[str, int], batch: int, threads: int
    ) -> Prepared:
        """Make ready to run with given parameters and sizes: weights are packed, memory is taken.

        Args:
            values: What depends on parameters only: vectors and matrices.
            sizes: The named sizes.
            batch: The number of sequences.
            threads: The most threads to use.

        Returns:
            What runs over sequences, and over one part of them after another.
        """
        threads = threads if team.available() else 1
        return Prepared(self, self._layout(tuple(sizes.items()), batch, threads), values)


class Layout:
    """What of a loop's record follows from sizes: numbers, and places in a workspace.

    Attributes:
        records: A record for one thread alone, then one for each thread; addresses are missing.
        places: The places in the record of addresses in the workspace.
        offsets: Where these are in the workspace, in bytes, for each record.
        bytes: The size of the workspace.
        jobs: What to pack, a row of numbers for each of `packed`; sources are missing, places
            count from the workspace's beginning.
        packed: The matrices to pack.
        matrices: Where the addresses and strides of matrices belong that are read as they are.
    """

    def __init__(self, loop: Loop, sizes: Mapping[str, int], batch: int, threads: int) -> None:
        self.loop, self.sizes, self.batch, self.threads = loop, sizes, batch, threads
        lowered = loop.lowered
        self.names = lowered.record.names
        self.records = np.zeros((1 + threads, len(self.names)), np.int64)
        self.bytes = LINE  # the barrier comes first
        jobs: list[Job] = []
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
        self.blocks: list[tuple[int, int]] = []
        scratch = 0
        for number, stage in enumerate(loop.schedule.stages):
            cut = lowered.tiles[number]
            if isinstance(stage, RowStage) or cut is None:
                self._set(f"stage{number}.size", self.size(stage.node.arguments[0]))  # type: ignore[union-attr]
                continue
            size = stage.size.evaluate(sizes)
            self._set(f"stage{number}.size", size)
            self.blocks.append((number, -(-size // (cut.blocks * loop.lanes))))
            for index, group in enumerate(cut.groups):
                self._lay_out(number, index, group, cut, size, jobs)
            tile = sum(len(group.accumulators) for group in cut.groups) * cut.blocks * cut.rows
            scratch = max(scratch, tile * loop.lanes)
        self._divide(scratch + LINE)
        self.jobs = np.array(jobs, np.int64)
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
        self.bytes += -(-elements * self.loop.dtype.itemsize // LINE) * LINE
        return start

    def _reserve(self, name: str, elements: int) -> None:
        self.addresses[name] = [self._take(elements)] * len(self.records)

    def _lay_out(
        self, number: int, index: int, group: Group, cut: Tile, units: int, jobs: list[Job]
    ) -> None:
        """Where the matrices of a group go, or what is said of them as they are."""
        terms = group.accumulators[0].terms
        lengths = [matrix.type.shape[1].evaluate(self.sizes) for matrix, _ in terms]
        for term, length in enumerate(lengths):
            self._set(f"stage{number}.length{index}.{term}", length)
        if not self.loop.packed:
            for place, accumulator in enumerate(group.accumulators):
                for term, (matrix, _) in enumerate(accumulator.terms):
                    name = f"stage{number}.matrix{index}.{place}.{term}"
                    at = (self.names[name], self.names[f"{name}.stride"])
                    self.matrices.append((*at, matrix))
            return
        blocks = -(-units // (cut.blocks * self.loop.lanes))
        vector = cut.blocks * self.loop.lanes
        element_step = len(group.accumulators) * vector
        block_step = sum(lengths) * element_step
        name = f"stage{number}.weights{index}"
        self._reserve(name, blocks * block_step)
        for place, accumulator in enumerate(group.accumulators):
            before = 0
            for (matrix, _), length in zip(accumulator.terms, lengths, strict=True):
                elements = before * element_step + place * vector
                job = Job(
                    source=0,
                    unit_stride=0,
                    element_stride=0,
                    units=units,
                    length=length,
                    place=self.addresses[name][0] + elements * self.loop.dtype.itemsize,
                    block_step=block_step,
                    element_step=element_step,
                    vectors=cut.blocks,
                    all_vectors=blocks * cut.blocks,
                )
                jobs.append(job)
                self.packed.append(matrix)
                before += length

    def _divide(self, scratch: int) -> None:
        """Divide the rows between threads, or the units where rows are few."""
        threads, batch = self.threads, self.batch
        by_rows = batch >= ROWS_EACH * threads or threads == 1
        self._set("threads", threads)
        self._set("yield", team.give_way())
        self.addresses["scratch"] = [self._take(scratch) for _ in range(threads)]
        self.addresses["scratch"].insert(0, self.addresses["scratch"][0])
        if not by_rows:
            self.addresses["barrier"] = [0] * (1 + threads)
        for thread in range(-1, threads):  # the first record is for one thread alone
            record = self.records[thread + 1]
            whole = by_rows or thread < 0
            rows = (thread, threads) if by_rows and thread >= 0 else (0, 1)
            record[self.names["first_row"]] = batch * rows[0] // rows[1]
            record[self.names["last_row"]] = batch * (rows[0] + 1) // rows[1]
            for number, count in self.blocks:
                first, last = (0, count) if whole else (count * thread, count * (thread + 1))
                share = 1 if whole else threads
                record[self.names[f"stage{number}.first"]] = first // share
                record[self.names[f"stage{number}.last"]] = last // share


def address(array: Array) -> int:
    """Where an array's memory begins."""
    return array.__array_interface__["data"][0]


class Prepared:
    """A loop with parameters and sizes; not to be run by two threads at the same time.

    Args:
        loop: The compiled loop.
        layout: What follows from sizes.
        values: What depends on parameters only: vectors and matrices.
    """

    def __init__(self, loop: Loop, layout: Layout, values: Mapping[Node, Array]) -> None:
        self.loop, self.layout = loop, layout
        self.workspace = memory.empty((layout.bytes,), np.uint8)
        self.records = layout.records.copy()
        start = address(self.workspace)
        self.records[:, layout.places] = layout.offsets + start
        self.records[0, layout.names["barrier"]] = 0
        self.keep: list[Array] = []
        places: list[int] = []
        numbers: list[int] = []
        for node, name in loop.lowered.vectors.items():
            vector = np.ascontiguousarray(values[node], loop.dtype)
            self.keep.append(vector)
            places.append(layout.names[name])
            numbers.append(address(vector))
        for place, stride_place, node in layout.matrices:
            matrix = self._row_major(values[node])
            self.keep.append(matrix)
            places += (place, stride_place)
            numbers += (address(matrix), matrix.strides[0] // matrix.itemsize)
        self.records[:, places] = numbers
        if layout.packed:
            jobs = layout.jobs.copy()
            jobs[:, pack.PLACE] += start
            jobs[:, pack.SOURCE] = [pack.source(values[node]) for node in layout.packed]
            pack.run(jobs, loop.dtype, loop.target, layout.threads)

    def _row_major(self, array: Array) -> Array:
        if array.strides[-1] == array.itemsize or array.shape[-1] == 1:
            return array
        return np.ascontiguousarray(array)

    def run(
        self,
        offsets: Array,
        values: Mapping[Node, Array],
        states: Mapping[str, Array],
        reverse: bool,
        places: Mapping[Node, Array],
    ) -> tuple[dict[Node, Array], dict[str, Array]]:
        """Run over a sequence.

        Args:
            offsets: The first row of each step, and the number of rows of all steps.
            values: The carried values, (rows of all steps, size).
            states: The initial states, (batch, size).
            reverse: From the last step to the first.
            places: Where to write emitted values; new arrays for the others.

        Returns:
            The emitted values, (rows of all steps, size), and the last states.
        """
        loop, names, batch = self.loop, self.layout.names, self.layout.batch
        steps = len(offsets) - 1
        same = offsets[-1] == batch * steps
        keep = [offsets]
        numbers: dict[str, int] = {
            "steps": steps,
            "time": steps - 1 if reverse else 0,
            "direction": -1 if reverse else 1,
            "offsets": address(offsets),
        }
        emitted: dict[Node, Array] = {}
        for node, name in loop.lowered.arrays.items():
            if name.startswith("emitted"):
                array = places.get(node)
                if array is None:
                    array = memory.empty((int(offsets[-1]), self.layout.size(node)), loop.dtype)
                emitted[node] = array
            else:
                array = self._row_major(values[node])
                keep.append(array)
            numbers[name] = address(array)
            numbers[f"{name}.stride"] = array.strides[0] // array.itemsize
        buffers: dict[str, tuple[Array, Array]] = {}
        for name in loop.schedule.states:
            first = np.array(states[name], loop.dtype, order="C")
            buffers[name] = pair = first, np.empty_like(first) if same else first.copy()
            numbers[f"state.{name}.current"], numbers[f"state.{name}.next"] = map(address, pair)
        self.records[:, [names[name] for name in numbers]] = list(numbers.values())
        self.workspace[:LINE] = 0  # the barrier
        team.run(loop.code, self.records)
        if same or reverse:
            return emitted, {name: pair[steps % 2] for name, pair in buffers.items()}
        counts = np.diff(offsets)
        lengths = np.searchsorted(-counts, -np.arange(batch), side="left")
        parity = (lengths % 2)[:, None].astype(bool)
        last = {name: np.where(parity, pair[1], pair[0]) for name, pair in buffers.items()}
        return emitted, last
