"""The function that loops over time: its stages, one after the other, and the barriers between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit import barrier, operand_copies
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.context import Context, Step
from anyrnn.kernels.cpu.emit.record import Record
from anyrnn.kernels.cpu.emit.row_stage import ReducingStage
from anyrnn.kernels.cpu.emit.tiles import Tile
from anyrnn.kernels.cpu.emit.unit_stage import UnitStage
from anyrnn.kernels.evaluation import Evaluation
from anyrnn.schedule.forms import RowStage, Schedule

LINE = 64  # bytes of a cache line


class TimeLoop:
    """Writes the function `kernel`, whose argument is the address of a record."""

    def __init__(
        self,
        arithmetic: Arithmetic,
        schedule: Schedule,
        record: Record,
        tiles: Sequence[Tile],
        planned: Sequence[Evaluation],
    ) -> None:
        self.schedule, self.record, self.function = schedule, record, arithmetic.kernel()
        self.stages = [*zip(schedule.stages, tiles, planned, strict=True)]
        self.context = Context(self.function, arithmetic, schedule, record)

    def write(self) -> str:
        """The text of the function."""
        self.context.load_words()
        with self._steps() as (current, following):
            self.context.step = self._begin_step(current, following)
            self._fetch_next()
            self._write_stages()
        return self.function.text()

    @contextmanager
    def _steps(self) -> Iterator[tuple[dict[Name, str], dict[Name, str]]]:
        """The loop: the buffers of the states before and after a step, which swap."""
        function, record, word = self.function, self.record, self.context.word
        head, body, end = (function.name(f"time.{part}") for part in ("head", "body", "end"))
        carry = function.repeat(head)
        inside = function.value(f"icmp slt i64 %step, {word(record.steps)}", "inside")
        function.branch(inside, body, end)
        function.start(body)
        current, following = (
            {name: f"%{which}.{place}" for place, name in enumerate(self.schedule.states)}
            for which in ("current", "next")
        )
        yield current, following
        function.emit("%step.next = add nsw i64 %step, 1")
        function.emit(f"%now.next = add nsw i64 %now, {word(record.direction)}")
        carried = [("%step", "i64", "0", "%step.next")]
        carried.append(("%now", "i64", word(record.first_step), "%now.next"))
        for name, fields in record.states.items():
            old, new = current[name], following[name]
            carried.append((old, "ptr", word(fields.current), new))
            carried.append((new, "ptr", word(fields.next), old))
        carry(carried)
        function.jump(head)
        function.start(end)

    def _begin_step(self, current: dict[Name, str], following: dict[Name, str]) -> Step:
        clock = self.function.integer("add", "%now", self.context.word(self.record.clock))
        return Step(clock, *self._rows_of("%now"), current, following)

    def _rows_of(self, number: str) -> tuple[str, str]:
        """The first row of a step in the arrays of all steps, and the end of this thread's rows."""
        function, record, word = self.function, self.record, self.context.word
        offsets = word(record.offsets)
        offset = function.value(
            f"load i64, ptr {function.element(offsets, number, 'i64')}", "offset"
        )
        later = function.integer("add", number, 1)
        end = function.value(f"load i64, ptr {function.element(offsets, later, 'i64')}", "offset")
        count = function.integer("sub", end, offset)
        return offset, function.smaller(word(record.rows[1]), count)

    def _fetch_next(self) -> None:
        """Have this thread's rows of the next step come near that are anywhere in their arrays: no
        processor foresees where.
        """
        function, record, word = self.function, self.record, self.context.word
        arrays = [
            (array, written)
            for written, nodes in enumerate((record.loop_inputs, record.emitted | record.twice))
            for array in nodes.values()
            if array.places is not None
        ]
        if not arrays:
            return
        later = function.integer("add", "%step", 1)
        more = function.value(f"icmp slt i64 {later}, {word(record.steps)}", "more")
        with function.when(more, "fetch"):
            following = function.integer("add", "%now", word(record.direction))
            offset, last_row = self._rows_of(following)
            first, _ = record.rows
            with function.loop("fetched", word(first), last_row) as row:
                number = function.integer("add", offset, row)
                for array, written in arrays:
                    start = self.context.placed_element(array, number, "0")
                    each = str(LINE // self.context.v.size)
                    with function.loop("line", "0", word(array.stride), each) as unit:
                        at = function.element(start, unit, self.context.v.scalar)
                        function.emit(
                            f"call void @llvm.prefetch.p0(ptr {at}, i32 {written}, i32 3, i32 1)"
                        )

    def _write_stages(self) -> None:
        """The stages, and a barrier before each level and at the end."""
        levels = sorted({stage.level for stage in self.schedule.stages})
        level = self.schedule.stages[0].level if levels else 0
        copied: set[Node] = set()
        for number, (stage, tile, evaluation) in enumerate(self.stages):
            if stage.level != level:
                level = stage.level
                barrier.wait(self.context, levels.index(level), len(levels))
            if isinstance(stage, RowStage):
                ReducingStage(self.context, number, stage, evaluation).write()
                continue
            for vector in dict.fromkeys(v for a in stage.accumulators for _, v in a.terms):
                if vector in self.record.copies and vector not in copied:
                    copied.add(vector)
                    operand_copies.copy(self.context, vector)
            UnitStage(self.context, number, stage, tile, evaluation).write()
        barrier.wait(self.context, len(levels), len(levels))
