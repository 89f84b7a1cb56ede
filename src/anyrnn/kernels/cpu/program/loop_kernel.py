"""A compiled loop over time, and what a run of it needs in a command buffer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.lower import lower
from anyrnn.kernels.cpu.emit.record import ArrayFields, Field
from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.program import packing
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.loop_layout import LoopLayout
from anyrnn.kernels.cpu.program.placed_rows import PlacedRows
from anyrnn.kernels.cpu.program.prepared_commands import TABLE, WORD, WORKSPACE
from anyrnn.kernels.cpu.program.row_division import divides_rows
from anyrnn.kernels.cpu.program.step_rows import StepRows
from anyrnn.kernels.cpu.program.varying import Count
from anyrnn.kernels.run import NOTHING, Array
from anyrnn.schedule.forms import Schedule

LAYOUTS = 64  # layouts of a loop that are kept


class Loop:
    """A schedule's loop, compiled.

    Args:
        schedule: The schedule.
        arithmetic: How it computes.
        placed, twice: As `lower` takes them.
    """

    def __init__(
        self,
        schedule: Schedule,
        arithmetic: Arithmetic,
        placed: frozenset[Node] = frozenset(),
        twice: frozenset[Node] = frozenset(),
    ) -> None:
        self.schedule, self.lowered = schedule, lower(schedule, arithmetic, placed, twice)
        states = ", ".join(map(str, schedule.states)) or "product"
        kind = arithmetic.operand.precision or arithmetic.dtype
        label = f"{states} ({kind}{'' if arithmetic.packed else ', one step'})"
        self.code = compile_text(self.lowered.text, arithmetic.processor, label)
        self._layout = lru_cache(maxsize=LAYOUTS)(partial(LoopLayout, self.lowered))

    def prepare(
        self,
        commands: CommandBuffer,
        values: Mapping[Node, BufferView],
        sizes: Mapping[str, int],
        batch: int,
        room: dict[int, BufferView] | None = None,
        rows: float | None = None,
        once: bool = True,
        in_place: bool = False,
        varying: Mapping[str, Any] = NOTHING,
    ) -> PreparedLoop:
        """Append the packing of a loop's matrices; what this returns runs over one segment of
        sequences after another.

        Args:
            commands: The command buffer.
            values: What depends on parameters only: vectors and matrices.
            sizes: The named sizes.
            batch: The most sequences.
            room: Workspaces by their size, for loops that never work at the same time to share.
            rows: How many sequences a step has on average; all of them if not given.
            once: Whether the matrices follow from parameters only, so that they can be packed first
                of all, and be kept.
            in_place: Whether the only matrix is read in place instead: its columns are contiguous,
                and what follows it in memory may be read.
            varying: What the lengths of vectors are at call time, by the names of sizes; the sizes
                are the largest.
        """
        threads = commands.threads
        by_rows = divides_rows(batch if rows is None else rows, threads)
        layout = self._layout(tuple(sizes.items()), batch, threads, by_rows, in_place)
        if once:
            workspace = commands.scratch((layout.bytes,), np.uint8)
            with commands.once():
                weights = commands.scratch((layout.weight_bytes,), np.uint8)
                return PreparedLoop(
                    self.code, layout, commands, values, workspace, weights, varying
                )
        size, room = layout.bytes + layout.weight_bytes, {} if room is None else room
        if size not in room:
            room[size] = commands.scratch((size,), np.uint8)
        parts = room[size][: layout.bytes], room[size][layout.bytes :]
        return PreparedLoop(self.code, layout, commands, values, *parts, varying)


compiled_loop = lru_cache(maxsize=1024)(Loop)


class PreparedLoop:
    """A loop with its parameters, in a command buffer in which matrices are packed first.

    The workspace holds what one stage leaves for another.
    """

    def __init__(
        self,
        code: Code,
        layout: LoopLayout,
        commands: CommandBuffer,
        values: Mapping[Node, BufferView],
        workspace: BufferView,
        weights: BufferView,
        varying: Mapping[str, Any],
    ) -> None:
        self.code, self.layout, self.commands, self.workspace = code, layout, commands, workspace
        self.records = layout.records.copy()
        self.pointers: list[tuple[int, BufferView]] = []
        for node, field in layout.record.parameters.items():
            self.pointers.append((field.index, commands.contiguous(values[node])))
        for node, array in layout.record.matrices:
            self._point(self.records, self.pointers, array, commands.contiguous(values[node]))
        self.pointers += [(index, weights[offset:]) for index, offset in layout.weights]
        for node, start, step in layout.in_place:
            self.pointers.append((start, values[node]))
            self.records[:, step] = values[node].steps[1]
        sizes = layout.sizes | {**varying}
        self.counts: list[tuple[int, Count]] = [
            (index, -(-size.evaluate(sizes) // each))
            for index, size, each in layout.lengths * bool(varying)
        ]
        jobs, elements = [], 0
        for node, job in layout.jobs:
            elements += job.units * job.length
            if varying:
                job = job._replace(length=node.type.shape[1].evaluate(sizes))
            jobs.append((job, values[node], weights))
        packing.write(commands, jobs, elements, layout.operand)

    @staticmethod
    def _point(
        records: Array, pointers: list[tuple[int, BufferView]], array: ArrayFields, view: BufferView
    ) -> None:
        pointers.append((array.address.index, view))
        records[:, array.stride.index] = view.steps[0]

    def run(
        self,
        rows: StepRows,
        values: Mapping[Node, BufferView | PlacedRows],
        states: Mapping[Any, tuple[BufferView, BufferView]],
        reverse: bool,
        clock: Count = 0,
        seed: BufferView | None = None,
        twice: Mapping[Node, PlacedRows] = NOTHING,
    ) -> None:
        """Append a run over some steps.

        Args:
            rows: The rows of these steps.
            values: The loop's inputs, and where to write what it emits, (rows of all steps, size).
            states: The initial states, (batch, size), and as much room for the next ones: the two
                buffers swap roles after each step.
            reverse: From the last step to the first.
            clock: How many steps of the sequence come before these.
            seed: What random numbers follow from, if the loop draws some.
            twice: Where else to write values.
        """
        record, layout, commands = self.layout.record, self.layout, self.commands
        records, pointers, counts = self.records.copy(), [*self.pointers], [*self.counts]
        steps = rows.steps
        counts.append((record.steps.index, steps))
        counts.append((record.first_step.index, steps - 1 if reverse else 0))
        counts.append((record.clock.index, clock))
        records[:, record.direction.index] = -1 if reverse else 1
        if seed is not None:
            pointers.append((record.seed.index, seed))
        inputs = [(array, values[node]) for node, array in record.loop_inputs.items()]
        arrays = [(array, values[node]) for node, array in record.emitted.items()]
        arrays += [(array, twice[node]) for node, array in record.twice.items()]
        placed: list[tuple[Field, PlacedRows]] = []
        for place, (array, view) in enumerate((*inputs, *arrays)):
            if isinstance(view, PlacedRows):
                assert array.places is not None
                placed.append((array.places, view))
                view = view.array
            elif place < len(inputs):
                view = commands.contiguous(view)
            self._point(records, pointers, array, view)
        for name, state in record.states.items():
            for field, view in zip((state.current, state.next), states[name], strict=True):
                pointers.append((field.index, view))
        first = commands.enter(self.code, records, pointers, counts)
        each = first + len(record) * np.arange(len(records))
        for field, view in placed:
            commands.follow(each + field.index, view.start)
        commands.point(each + record.offsets.index, TABLE, rows.write(commands) * WORD)
        commands.point(
            each[:, None] + layout.pointers, WORKSPACE, self.workspace.offset + layout.offsets
        )
        if layout.by_rows and layout.threads > 1:
            ranges = each[1:] + np.array([[field.index] for field in record.rows])
            rows.divide(commands, ranges)
        elif not layout.by_rows:
            commands.point(each[1:] + record.barrier.index, TABLE, commands.barrier() * WORD)
