"""A loop whose matrices are packed, ready to run over one segment of a sequence after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.emit.record import ArrayFields, Record
from anyrnn.kernels.cpu.machine.engine import Code
from anyrnn.kernels.cpu.program import packing
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import TABLE, WORD, WORKSPACE, CommandBuffer
from anyrnn.kernels.cpu.program.loop_layout import LoopLayout
from anyrnn.kernels.cpu.program.row_division import divide_rows
from anyrnn.kernels.run import Array


class PreparedLoop:
    """A loop with parameters and sizes, in a command buffer.

    Args:
        code: The compiled loop.
        record: The fields of its record.
        operand: What its products multiply.
        layout: What follows from sizes.
        commands: The command buffer, in which matrices are packed first.
        values: What depends on parameters only: vectors and matrices.
        workspace: Memory for packed matrices, and for what one stage leaves for another.
    """

    def __init__(
        self,
        code: Code,
        record: Record,
        operand: Operand,
        layout: LoopLayout,
        commands: CommandBuffer,
        values: Mapping[Node, BufferView],
        workspace: BufferView,
    ) -> None:
        self.code, self.record, self.layout = code, record, layout
        self.commands, self.workspace = commands, workspace
        self.records = layout.records.copy()
        self.pointers: list[tuple[int, BufferView]] = []
        for node, field in record.parameters.items():
            self.pointers.append((field.place, commands.contiguous(values[node])))
        for node, array in record.matrices:
            self._point(self.records, self.pointers, array, commands.contiguous(values[node]))
        matrices = [values[node] for node in layout.packed]
        packing.write(commands, layout.jobs, matrices, [workspace] * len(matrices), operand)

    @staticmethod
    def _point(
        records: Array, pointers: list[tuple[int, BufferView]], array: ArrayFields, view: BufferView
    ) -> None:
        pointers.append((array.address.place, view))
        records[:, array.stride.place] = view.steps[0]

    def run(
        self,
        offsets: Array,
        values: Mapping[Node, BufferView],
        states: Mapping[Any, tuple[BufferView, BufferView]],
        reverse: bool,
        emitted: Mapping[Node, BufferView],
        clock: int = 0,
        seed: BufferView | None = None,
    ) -> None:
        """Append a run over some steps.

        Args:
            offsets: The first row of each step, and the number of rows of all steps.
            values: The carried values, (rows of all steps, size).
            states: The initial states, (batch, size), and as much room for the next ones: the two
                buffers swap roles after each step.
            reverse: From the last step to the first.
            emitted: Where to write emitted values.
            clock: How many steps of the sequence come before these.
            seed: What random numbers follow from, if the loop draws some.
        """
        record, layout, commands = self.record, self.layout, self.commands
        records, pointers = self.records.copy(), [*self.pointers]
        steps = len(offsets) - 1
        records[:, record.steps.place] = steps
        records[:, record.first_step.place] = steps - 1 if reverse else 0
        records[:, record.direction.place] = -1 if reverse else 1
        records[:, record.clock.place] = clock
        if layout.by_rows:
            bounds = divide_rows(np.diff(offsets), layout.threads)
            for field, part in zip(record.rows, (bounds[:-1], bounds[1:]), strict=True):
                records[1:, field.place] = part
        if seed is not None:
            pointers.append((record.seed.place, seed))
        for node, array in record.loop_inputs.items():
            self._point(records, pointers, array, commands.contiguous(values[node]))
        for node, array in record.emitted.items():
            self._point(records, pointers, array, emitted[node])
        for name, state in record.states.items():
            for field, view in zip((state.current, state.next), states[name], strict=True):
                pointers.append((field.place, view))
        first = commands.enter(self.code, records, pointers)
        rows = first + len(record) * np.arange(len(records))
        commands.point(rows + record.offsets.place, TABLE, commands.table(offsets) * WORD)
        commands.point(
            rows[:, None] + layout.places, WORKSPACE, self.workspace.offset + layout.offsets
        )
        if not layout.by_rows:
            commands.point(rows[1:] + record.barrier.place, TABLE, commands.barrier() * WORD)
