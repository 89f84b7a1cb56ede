"""A compiled loop over time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.lower import lower
from anyrnn.kernels.cpu.emit.operand import operand as operand_for
from anyrnn.kernels.cpu.machine.engine import compile_text
from anyrnn.kernels.cpu.machine.processor import Processor, host
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.loop_layout import LoopLayout
from anyrnn.kernels.cpu.program.prepared_loop import PreparedLoop
from anyrnn.schedule.forms import Schedule

LAYOUTS = 64  # layouts of a loop that are kept
ROWS_EACH = 3  # with fewer rows in a step for each thread, threads divide the units instead


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
        self.lowered = lower(schedule, self.target, double, packed, kind, short)
        states = ", ".join(map(str, schedule.states)) or "product"
        label = f"{states} ({operand or self.dtype}{'' if packed else ', one step'})"
        self.code = compile_text(self.lowered.text, self.target, label)
        self._layouts: dict[Any, LoopLayout] = {}

    def _layout(
        self, sizes: Mapping[str, int], batch: int, threads: int, by_rows: bool
    ) -> LoopLayout:
        key = (*sizes.items(), batch, threads, by_rows)
        found = self._layouts.get(key)
        if found is None:
            while len(self._layouts) >= LAYOUTS:
                self._layouts.pop(next(iter(self._layouts)), None)
            found = self._layouts[key] = LoopLayout(
                self.schedule,
                self.lowered,
                self.dtype,
                self.lanes,
                self.operand,
                sizes,
                batch,
                threads,
                by_rows,
            )
        return found

    def prepare(
        self,
        commands: CommandBuffer,
        values: Mapping[Node, BufferView],
        sizes: Mapping[str, int],
        batch: int,
        room: dict[int, BufferView] | None = None,
        rows: float | None = None,
    ) -> PreparedLoop:
        """Append what has to be done before the loop runs with some parameters: packing.

        Args:
            commands: The command buffer.
            values: What depends on parameters only: vectors and matrices.
            sizes: The named sizes.
            batch: The number of sequences.
            room: Workspaces by their size, for loops that never work at the same time to share.
            rows: How many sequences a step has on average; all of them if not given.

        Returns:
            What runs over sequences, one segment after another.
        """
        threads, rows = commands.threads, batch if rows is None else rows
        by_rows = rows >= ROWS_EACH * threads or threads == 1
        layout = self._layout(sizes, batch, threads, by_rows)
        room = {} if room is None else room
        workspace = room.get(layout.bytes)
        if workspace is None:
            workspace = room[layout.bytes] = commands.scratch((layout.bytes,), np.uint8)
        return PreparedLoop(
            self.code, self.lowered.record, self.operand, layout, commands, values, workspace
        )


compiled_loop = lru_cache(maxsize=1024)(Loop)
