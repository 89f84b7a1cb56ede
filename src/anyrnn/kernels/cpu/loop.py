"""A compiled loop over time: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from collections.abc import Mapping
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


def pack_jobs(
    group: Group, cut: Tile, matrices: Mapping[Node, Array], lanes: int, units: int
) -> tuple[Array, list[Job]]:
    """The place for the matrices of a group, and what to do to fill it."""
    blocks = -(-units // (cut.blocks * lanes))
    terms = group.accumulators[0].terms
    lengths = [matrices[matrix].shape[1] for matrix, _ in terms]
    array = matrices[terms[0][0]]
    packed = memory.empty(
        (blocks, sum(lengths), len(group.accumulators), cut.blocks, lanes), array.dtype
    )
    steps = [step // array.itemsize for step in packed.strides]
    jobs = []
    for index, accumulator in enumerate(group.accumulators):
        start = 0
        for (matrix, _), length in zip(accumulator.terms, lengths, strict=True):
            values = matrices[matrix]
            unit, element = (stride // values.itemsize for stride in values.strides)
            place = packed.ctypes.data + (start * steps[1] + index * steps[2]) * values.itemsize
            jobs.append(
                Job(
                    source=values.ctypes.data,
                    unit_stride=unit,
                    element_stride=element,
                    units=units,
                    length=length,
                    place=place,
                    block_step=steps[0],
                    element_step=steps[1],
                    vectors=cut.blocks,
                    all_vectors=blocks * cut.blocks,
                )
            )
            start += length
    return packed, jobs


class Loop:
    """A schedule's loop, compiled.

    Args:
        schedule: The schedule.
        dtype: float32 or float64.
        target: The CPU to compile for; this one if not given.
    """

    def __init__(self, schedule: Schedule, dtype: Any, target: Target | None = None) -> None:
        self.schedule = schedule
        self.dtype = np.dtype(dtype)
        self.target = target or host()
        double = self.dtype == np.float64
        self.lanes = self.target.lanes(double)
        self.lowered = Lowering(schedule, self.target, double).lower()
        self.code = compile_text(self.lowered.text, self.target)

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
        return Prepared(self, values, sizes, batch, threads)


class Prepared:
    """A loop with parameters and sizes; not to be run by two threads at the same time.

    Args:
        loop: The compiled loop.
        values: What depends on parameters only: vectors and matrices.
        sizes: The named sizes.
        batch: The number of sequences.
        threads: The most threads to use.
    """

    def __init__(
        self,
        loop: Loop,
        values: Mapping[Node, Array],
        sizes: Mapping[str, int],
        batch: int,
        threads: int,
    ) -> None:
        self.loop, self.sizes, self.batch = loop, sizes, batch
        self.threads = threads if team.available() else 1
        self.keep: list[Array] = []
        self.numbers: dict[str, int] = {}
        lowered = loop.lowered
        for node, name in lowered.rows.items():
            self._place(self.numbers, name, memory.empty((batch, self._size(node)), loop.dtype))
        for node, name in lowered.vectors.items():
            array = np.ascontiguousarray(values[node], loop.dtype)
            self.keep.append(array)
            self.numbers[name] = array.ctypes.data
        for name, size in lowered.numbers.items():
            self.numbers[name] = size.evaluate(sizes)
        self._prepare_team(values)

    def _size(self, node: Node) -> int:
        return node.type.shape[0].evaluate(self.sizes) if node.type.shape else 1

    def _place(self, numbers: dict[str, int], name: str, array: Array) -> None:
        self.keep.append(array)
        numbers[name] = array.ctypes.data
        numbers[f"{name}.stride"] = array.strides[0] // array.itemsize

    def _prepare_team(self, values: Mapping[Node, Array]) -> None:
        """Pack the weights; divide the rows between threads, or the units where rows are few."""
        loop, threads, batch = self.loop, self.threads, self.batch
        by_rows = batch >= ROWS_EACH * threads or threads == 1
        blocks: list[tuple[int, int]] = []
        scratch = 0
        jobs: list[Job] = []
        for number, stage in enumerate(loop.schedule.stages):
            if isinstance(stage, RowStage):
                argument = stage.node.arguments[0]
                self.numbers[f"stage{number}.size"] = self._size(argument)
                continue
            cut = loop.lowered.tiles[number]
            assert cut is not None
            size = stage.size.evaluate(self.sizes)
            self.numbers[f"stage{number}.size"] = size
            blocks.append((number, -(-size // (cut.blocks * loop.lanes))))
            for index, group in enumerate(cut.groups):
                packed, more = pack_jobs(group, cut, values, loop.lanes, size)
                jobs += more
                self.keep.append(packed)
                self.numbers[f"stage{number}.weights{index}"] = packed.ctypes.data
                for term, (matrix, _) in enumerate(group.accumulators[0].terms):
                    self.numbers[f"stage{number}.length{index}.{term}"] = values[matrix].shape[1]
            tile = sum(len(group.accumulators) for group in cut.groups) * cut.blocks * cut.rows
            scratch = max(scratch, tile * loop.lanes)
        pack.run(jobs, loop.dtype, loop.target, threads)
        self.barrier = np.zeros(8, np.int64)
        workspace = memory.empty((threads, -(-(scratch + 64) // 16) * 16), loop.dtype)
        self.keep.append(workspace)
        self.own: list[dict[str, int]] = []
        for record in range(1 + threads):
            thread = record - 1
            own = {"threads": threads, "barrier": 0, "first_row": 0, "last_row": batch}
            own["scratch"] = workspace[max(thread, 0)].ctypes.data
            alone = record == 0
            if by_rows and not alone:
                own["first_row"] = batch * thread // threads
                own["last_row"] = batch * (thread + 1) // threads
            elif not alone:
                own["barrier"] = self.barrier.ctypes.data
            for number, count in blocks:
                whole = by_rows or alone
                own[f"stage{number}.first"] = 0 if whole else count * thread // threads
                own[f"stage{number}.last"] = count if whole else count * (thread + 1) // threads
            self.own.append(own)

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
        loop = self.loop
        steps = len(offsets) - 1
        counts = np.diff(offsets)
        kept = len(self.keep)
        numbers = {
            "steps": steps,
            "time": steps - 1 if reverse else 0,
            "direction": -1 if reverse else 1,
            "offsets": offsets.ctypes.data,
        }
        emitted: dict[Node, Array] = {}
        for node, name in loop.lowered.arrays.items():
            if name.startswith("emitted"):
                array = places.get(node)
                if array is None:
                    array = memory.empty((int(offsets[-1]), self._size(node)), loop.dtype)
                emitted[node] = array
            else:
                array = self._row_major(values[node])
            self._place(numbers, name, array)
        buffers: dict[str, list[Array]] = {}
        for name in loop.schedule.states:
            first = np.array(states[name], loop.dtype, order="C")
            same = counts[-1] == self.batch
            buffers[name] = [first, np.empty_like(first) if same else first.copy()]
            numbers[f"state.{name}.current"] = buffers[name][0].ctypes.data
            numbers[f"state.{name}.next"] = buffers[name][1].ctypes.data
            numbers[f"state.{name}.stride"] = first.shape[1]
        names = loop.lowered.record.names
        records = np.empty((len(self.own), len(names)), np.int64)
        for record, own in zip(records, self.own, strict=True):
            all_numbers = {**self.numbers, **numbers, **own}
            record[list(names.values())] = [all_numbers[name] for name in names]
        self.barrier[:] = 0
        team.run(loop.code, records)
        del self.keep[kept:]
        if counts[-1] == self.batch or reverse:
            last = {name: pair[steps % 2] for name, pair in buffers.items()}
        else:
            lengths = np.searchsorted(-counts, -np.arange(self.batch), side="left")
            parity = (lengths % 2)[:, None].astype(bool)
            last = {name: np.where(parity, pair[1], pair[0]) for name, pair in buffers.items()}
        return emitted, last

    @staticmethod
    def _row_major(array: Array) -> Array:
        if array.strides[-1] == array.itemsize or array.shape[-1] == 1:
            return array
        return np.ascontiguousarray(array)
