"""The function that loops over time: its stages, one after the other, and the barriers between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.emit import dot_products, mathematics
from anyrnn.kernels.cpu.emit.assembly import Function, Vectors
from anyrnn.kernels.cpu.emit.elementwise import Block
from anyrnn.kernels.cpu.emit.entry import attributes
from anyrnn.kernels.cpu.emit.tiles import Group, Tile
from anyrnn.schedule.forms import RowStage, Stage

if TYPE_CHECKING:
    from anyrnn.kernels.cpu.emit.lower import Lowering


SPINS = 4096  # looks at a barrier before others may have the core


@dataclass(frozen=True)
class TileAddress:
    """Names of numbers that say where a vector of a tile is.

    Attributes:
        inner: Its row in the tile.
        lane: Its place in the row of the tile.
        row: Its row.
        unit: Its first unit.
        left: The number of units from there on.
    """

    inner: str
    lane: str
    row: str
    unit: str
    left: str


class Kernel:
    """Writes the function that loops over time."""

    def __init__(self, lowering: Lowering) -> None:
        self.lowering = lowering
        self.schedule = lowering.schedule
        self.function = Function(
            "kernel", [("ptr noalias", "record")], attributes(lowering.target), internal=False
        )
        target, double = lowering.target, lowering.double
        self.v = Vectors(self.function, target.lanes(double), double, target.fused)
        self.given: dict[str, str] = {}
        self.ready: set[Node] = set()  # the numbers of a row that are in memory
        self.states: dict[Node, str] = {}  # the old states' leaves, by the state's name
        for leaf in self.schedule.graph.leaves("state"):
            self.states[leaf] = leaf.name

    def write(self) -> str:
        """The kernel's text."""
        function = self.function
        pointers = ("barrier", "yield", "seed", "offsets", "scratch")
        for name, place in list(self.lowering.record.names.items()):
            self._take(name, place, pointers)
        before = function.block
        head, body, end = (function.name(f"time.{part}") for part in ("head", "body", "end"))
        function.jump(head)
        function.start(head)
        slot = len(function.lines)
        function.lines.append("")
        inside = function.value("icmp slt i64 %step, " + self.given["steps"], "inside")
        function.branch(inside, body, end)
        function.start(body)
        old = {name: f"%current.{name}" for name in self.schedule.states}
        new = {name: f"%next.{name}" for name in self.schedule.states}
        self._step(old, new)
        function.emit("%step.next = add nsw i64 %step, 1")
        function.emit(f"%now.next = add nsw i64 %now, {self.given['direction']}")
        lines = [
            f"  %step = phi i64 [0, %{before}], [%step.next, %{function.block}]",
            f"  %now = phi i64 [{self.given['time']}, %{before}], [%now.next, %{function.block}]",
        ]
        for name in self.schedule.states:
            current, following = (
                self.given[f"state.{name}.{part}"] for part in ("current", "next")
            )
            lines += [
                f"  {old[name]} = phi ptr [{current}, %{before}], [{new[name]}, %{function.block}]",
                f"  {new[name]} = phi ptr [{following}, %{before}], "
                f"[{old[name]}, %{function.block}]",
            ]
        function.lines[slot] = "\n".join(lines)
        function.jump(head)
        function.start(end)
        return function.text()

    def _take(self, name: str, place: int, pointers: Iterable[str]) -> None:
        """Read a number of the record."""
        at = self.function.element("%record", str(place), "i64")
        address = name in pointers or name.startswith(("carried", "emitted", "rows"))
        address = address or name.endswith((".current", ".next")) or ".weights" in name
        address = address or ".matrix" in name or name.startswith("operand")
        type_ = "ptr" if address and not name.endswith((".stride", ".size")) else "i64"
        self.given[name] = self.function.value(f"load {type_}, ptr {at}", "given")

    def _late(self, name: str, type_: str) -> str:
        """A number of the record that turns out to be needed: read at the kernel's beginning."""
        if name not in self.given:
            place = self.lowering.record.place(name)
            at = self.function.early(f"getelementptr inbounds i64, ptr %record, i64 {place}", "at")
            self.given[name] = self.function.early(f"load {type_}, ptr {at}", "given")
        return self.given[name]

    def vector(self, node: Node) -> str:
        """The address of a parameter's vector or number."""
        vectors = self.lowering.vectors
        return self._late(vectors.setdefault(node, f"vector{len(vectors)}"), "ptr")

    def number(self, size: Size) -> str:
        """A size."""
        if not size.terms:
            return str(size.constant)
        name = f"size.{size}"
        self.lowering.numbers[name] = size
        return self._late(name, "i64")

    def _step(self, old: dict[str, str], new: dict[str, str]) -> None:
        function = self.function
        self.old, self.new = old, new
        self.copied: set[Node] = set()  # the vectors whose copies for products are in memory
        self.clock = function.integer("add", "%now", self.given["clock"])
        offsets = self.given["offsets"]
        self.offset = function.value(
            f"load i64, ptr {function.element(offsets, '%now', 'i64')}", "offset"
        )
        later = function.integer("add", "%now", 1)
        end = function.value(f"load i64, ptr {function.element(offsets, later, 'i64')}", "offset")
        count = function.integer("sub", end, self.offset)
        self.last_row = function.smaller(self.given["last_row"], count)
        stages = self.schedule.stages
        levels = sorted({stage.level for stage in stages})
        for number, stage in enumerate(stages):
            if number and stage.level != stages[number - 1].level:
                self._barrier(levels.index(stage.level), len(levels))
            if isinstance(stage, RowStage):
                self._row_stage(number, stage)
                self.ready.update(stage.stores)
            else:
                self._copy_operands(stage)
                self._stage(number, stage)
        self._barrier(len(levels), len(levels))

    def _barrier(self, passed: int, levels: int) -> None:
        """Wait for the other threads, where units are split between them."""
        function = self.function
        shared = function.value(f"icmp ne ptr {self.given['barrier']}, null", "shared")
        with function.when(shared, "barrier"):
            before = function.integer("mul", "%step", levels)
            so_far = function.integer("add", before, passed)
            goal = function.integer("mul", so_far, self.given["threads"])
            barrier = self.given["barrier"]
            function.value(f"atomicrmw add ptr {barrier}, i64 1 seq_cst", "before")
            spin, wait, rest, done = (
                function.name(f"spin.{part}") for part in ("look", "wait", "rest", "done")
            )
            before, count = function.block, function.name("spins")
            function.jump(spin)
            function.start(spin)
            function.emit(
                f"%{count} = phi i64 [0, %{before}], [%{count}.more, %{wait}], [0, %{rest}]"
            )
            seen = function.value(f"load atomic i64, ptr {barrier} acquire, align 8", "seen")
            complete = function.value(f"icmp sge i64 {seen}, {goal}", "complete")
            function.branch(complete, done, wait)
            function.start(wait)
            function.emit(f"%{count}.more = add nsw i64 %{count}, 1")
            tired = function.value(f"icmp eq i64 %{count}.more, {SPINS}", "tired")
            function.branch(tired, rest, spin)
            function.start(rest)  # the other thread may be waiting for this core
            function.value(f"call i32 {self.given['yield']}()", "rested")
            function.jump(spin)
            function.start(done)

    def _sequence_at(self, name: str, row: str, unit: str) -> str:
        """The address of an element of an array with a row for each sequence at each time."""
        function = self.function
        line = function.integer("add", self.offset, row)
        start = function.integer("mul", line, self.given[f"{name}.stride"])
        return function.element(
            self.given[name], function.integer("add", start, unit), self.v.scalar
        )

    def _row_at(self, pointer: str, stride: str, row: str, unit: str) -> str:
        start = self.function.integer("mul", row, stride)
        return self.function.element(
            pointer, self.function.integer("add", start, unit), self.v.scalar
        )

    def address(self, node: Node, row: str, unit: str) -> str | None:
        """Where a value is in memory: None if it is not there."""
        if node in self.states:
            name = self.states[node]
            return self._row_at(self.old[name], self.given[f"state.{name}.stride"], row, unit)
        if node in self.schedule.loop_inputs:
            return self._sequence_at(self.lowering.arrays[node], row, unit)
        if node in self.lowering.rows:
            name = self.lowering.rows[node]
            return self._row_at(self.given[name], self.given[f"{name}.stride"], row, unit)
        for name, value in self.schedule.new_states.items():
            if value is node and not node.is_leaf:
                return self._row_at(self.new[name], self.given[f"state.{name}.stride"], row, unit)
        if node in self.lowering.arrays:
            return self._sequence_at(self.lowering.arrays[node], row, unit)
        return None

    def destinations(self, node: Node, row: str, unit: str) -> list[str]:
        """All places that a computed value is written to."""
        found = []
        if node in self.lowering.rows:
            name = self.lowering.rows[node]
            found.append(self._row_at(self.given[name], self.given[f"{name}.stride"], row, unit))
        for name, value in self.schedule.new_states.items():
            if value is node:
                stride = self.given[f"state.{name}.stride"]
                found.append(self._row_at(self.new[name], stride, row, unit))
        if self.lowering.arrays.get(node, "").startswith("emitted"):
            found.append(self._sequence_at(self.lowering.arrays[node], row, unit))
        for joined, start in self.schedule.joins.get(node, ()):
            place = self.function.integer("add", unit, self.number(start))
            found += self.destinations(joined, row, place)
        return found

    # stages over units

    def _stage(self, number: int, stage: Stage) -> None:
        cut = self.lowering.tiles[number]
        assert cut is not None
        function, v = self.function, self.v
        first, last = (self.given[f"stage{number}.{part}"] for part in ("first", "last"))
        if not cut.groups:  # row by row: that is how arrays lie in memory
            unit = function.integer("mul", first, v.lanes)
            vectors = function.integer("sub", last, first)
            with function.loop("row", self.given["first_row"], self.last_row) as row:
                self._all_elementwise(number, stage, cut, [], unit, row, vectors)
            return
        packed = self.lowering.packed
        with function.loop("block", first, last) as block:
            unit = function.integer("mul", block, cut.blocks * v.lanes)
            with self._rows(cut.rows) as (row, count):
                offset = 0
                starts = []
                for index, group in enumerate(cut.groups):
                    starts.append(offset)
                    if packed:
                        self._call_tile(number, index, group, cut, block, row, count, offset)
                    else:
                        self._call_dots(number, index, group, unit, row, count, offset)
                    offset += cut.rows * len(group.accumulators) * cut.blocks * v.lanes
                self._all_elementwise(number, stage, cut, starts, unit, row, count)

    @contextmanager
    def _rows(self, most: int) -> Iterator[tuple[str, str]]:
        """A loop over the rows in tiles that are as even as can be: the first row, their number."""
        function = self.function
        first = self.given["first_row"]
        total = function.integer("sub", self.last_row, first)
        tiles = function.integer("sdiv", function.integer("add", total, most - 1), most)
        with function.loop("tile", "0", tiles) as number:
            start, end = (
                function.integer("sdiv", function.integer("mul", total, place), tiles)
                for place in (number, function.integer("add", number, 1))
            )
            yield function.integer("add", first, start), function.integer("sub", end, start)

    def _call_tile(
        self,
        number: int,
        index: int,
        group: Group,
        cut: Tile,
        block: str,
        row: str,
        count: str,
        offset: int,
    ) -> None:
        """Accumulate the products of a block: a function for each number of rows."""
        function, v = self.function, self.v
        arguments = []
        total = "0"
        for term, vector in enumerate(group.vectors):
            length = self.given[f"stage{number}.length{index}.{term}"]
            total = function.integer("add", total, length)
            pointer, stride = self._rows_of(vector, row)
            arguments += [f"ptr {pointer}", f"i64 {stride}", f"i64 {length}"]
        width = len(group.accumulators) * cut.blocks * v.lanes
        start = function.integer("mul", function.integer("mul", total, width), block)
        weights = function.element(self.given[f"stage{number}.weights{index}"], start, v.scalar)
        sums = function.element(self.given["scratch"], str(offset), v.scalar)
        listed = ", ".join([f"ptr {weights}", f"ptr {sums}", *arguments])
        done = function.name("tile.done")
        cases = [function.name("tile.rows") for _ in range(cut.rows)]
        choices = " ".join(
            f"i64 {rows}, label %{case}" for rows, case in enumerate(cases[:-1], start=1)
        )
        function.emit(f"switch i64 {count}, label %{cases[-1]} [{choices}]")
        for rows, case in enumerate(cases, start=1):
            function.start(case)
            function.emit(f"call void @tile{number}.{index}.{rows}({listed})")
            function.jump(done)
        function.start(done)

    def _call_dots(
        self, number: int, index: int, group: Group, unit: str, row: str, count: str, offset: int
    ) -> None:
        """Compute the products of a block with matrices as they are: 4, 2 and 1 rows at a time."""
        function, v = self.function, self.v
        left = function.integer("sub", self.given[f"stage{number}.size"], unit)
        step = len(group.accumulators) * v.lanes  # from one row's sums to the next one's
        rows = dot_products.ROWS
        while rows:
            bit = function.integer("and", count, rows)
            there = function.value(f"icmp ne i64 {bit}, 0", "there")
            done = function.integer("and", count, -2 * rows)  # rows of the calls before
            with function.when(there, f"dots{rows}"):
                here = function.integer("add", row, done)
                start = function.integer("add", function.integer("mul", done, step), offset)
                for place in range(len(group.accumulators)):
                    at = function.integer("add", start, place * v.lanes)
                    sums = function.element(self.given["scratch"], at, v.scalar)
                    arguments = []
                    for term, vector in enumerate(group.vectors):
                        name = f"stage{number}.matrix{index}.{place}.{term}"
                        stride = self.given[f"{name}.stride"]
                        first = function.integer("mul", unit, stride)
                        element = self.lowering.dots.element
                        matrix = function.element(self.given[name], first, element)
                        pointer, vector_stride = self._rows_of(vector, here)
                        length = self.given[f"stage{number}.length{index}.{term}"]
                        arguments += [f"ptr {matrix}", f"i64 {stride}", f"ptr {pointer}"]
                        arguments += [f"i64 {vector_stride}", f"i64 {length}"]
                    arguments += [f"i64 {left}", f"ptr {sums}", f"i64 {step}"]
                    called = dot_products.name(rows, len(group.vectors))
                    function.emit(f"call void @{called}({', '.join(arguments)})")
            rows //= 2

    def _copy_operands(self, stage: Stage) -> None:
        """Copy this thread's rows of the vectors that a stage multiplies, as products read them."""
        for accumulator in stage.accumulators:
            for _, vector in accumulator.terms:
                if vector in self.lowering.operands and vector not in self.copied:
                    self.copied.add(vector)
                    self._copy_operand(vector)

    def _copy_operand(self, vector: Node) -> None:
        """What is behind the last element of a row becomes zero, up to a whole register."""
        function, v, operand = self.function, self.v, self.lowering.operand
        size = self.given[f"{self.lowering.operands[vector]}.size"]
        rest = function.integer("srem", size, v.lanes)
        whole = function.integer("sub", size, rest)
        some = function.value(f"icmp sgt i64 {rest}, 0", "some")
        with function.loop("row", self.given["first_row"], self.last_row) as row:
            start = self._operand_row(vector, row)

            def copy(unit: str, mask: str | None) -> None:
                at = self.address(vector, row, unit)
                assert at is not None
                operand.store_row(v, v.load(at, mask), start, unit)

            with function.loop("unit", "0", whole, str(v.lanes)) as unit:
                copy(unit, None)
            with function.when(some, "rest"):
                copy(whole, v.mask(rest))

    def _operand_row(self, vector: Node, row: str) -> str:
        """The address of a row of the copy of a vector."""
        name = self.lowering.operands[vector]
        return self._row_at(self.given[name], self.given[f"{name}.stride"], row, "0")

    def _rows_of(self, vector: Node, row: str) -> tuple[str, str]:
        """The address of a row of a vector in memory, and the step to the next row."""
        function = self.function
        if vector in self.lowering.operands:
            stride = self.given[f"{self.lowering.operands[vector]}.stride"]
            return self._operand_row(vector, row), stride
        pointer = self.address(vector, row, "0")
        following = self.address(vector, function.integer("add", row, 1), "0")
        left, right = (
            function.value(f"ptrtoint ptr {p} to i64", "address") for p in (pointer, following)
        )
        stride = function.integer("sub", right, left)
        assert pointer is not None
        return pointer, function.integer("sdiv exact", stride, 8 if self.v.double else 4)

    def _all_elementwise(
        self,
        number: int,
        stage: Stage,
        cut: Tile,
        starts: list[int],
        unit: str,
        row: str,
        count: str,
    ) -> None:
        """The work on what a tile has accumulated: two vectors at a time, or one that is not whole.

        The instructions of the two alternate, so that one goes on while the other waits for a
        result.
        """
        function, v = self.function, self.v
        size = self.given[f"stage{number}.size"]

        def place(index: str) -> TileAddress:
            inner, lane = (index, "0") if cut.groups else ("0", index)
            if cut.blocks > 1:
                inner = function.integer("sdiv", index, cut.blocks)
                lane = function.integer("srem", index, cut.blocks)
            here = function.integer("add", unit, function.integer("mul", lane, v.lanes))
            left = function.integer("sub", size, here)
            return TileAddress(inner, lane, function.integer("add", row, inner), here, left)

        def compute(at: TileAddress, mask: str | None) -> None:
            values = Block(self, stage, at.row, at.unit, mask)
            for start, group in zip(starts, cut.groups, strict=True):
                values.sums(start, group, cut, at.inner, at.lane)
            for node in stage.stores:
                value = values.value(node)
                for address in self.destinations(node, at.row, at.unit):
                    v.store(value, address, mask)

        total = function.integer("mul", count, cut.blocks)
        with function.loop("pair", "0", total, "2") as first:
            second = function.integer("add", first, 1)
            pair = [place(first), place(second)]
            there = function.value(f"icmp slt i64 {second}, {total}", "there")
            for at in pair:
                whole = function.value(f"icmp sge i64 {at.left}, {v.lanes}", "whole")
                there = function.value(f"and i1 {there}, {whole}", "there")
            with function.either(there, "pair") as otherwise:
                function.alternate([lambda at=at: compute(at, None) for at in pair])
                otherwise()
                last = function.smaller(function.integer("add", first, 2), total)
                with function.loop("single", first, last) as index:
                    at = place(index)
                    some = function.value(f"icmp sgt i64 {at.left}, 0", "some")
                    with function.when(some, "units"):
                        self._masked_or_whole(compute, at)

    def _masked_or_whole(
        self, compute: Callable[[TileAddress, str | None], None], at: TileAddress
    ) -> None:
        """One vector, with a mask; where masks are slow, only if it is not whole."""
        function, v = self.function, self.v
        if self.lowering.target.masks:
            compute(at, v.mask(at.left))
            return
        whole = function.value(f"icmp sge i64 {at.left}, {v.lanes}", "whole")
        with function.either(whole, "units") as otherwise:
            compute(at, None)
            otherwise()
            compute(at, v.mask(at.left))

    # stages over rows

    def _row_stage(self, number: int, stage: RowStage) -> None:
        function, v = self.function, self.v
        size = self.given[f"stage{number}.size"]
        with function.loop("row", self.given["first_row"], self.last_row) as row:
            if stage.reductions[0].operation == "softmax":
                self._softmax(stage.reductions[0], row, size)
            else:
                totals = self._reduce([node.arguments[0] for node in stage.reductions], row, size)
                length = function.value(f"sitofp i64 {size} to {v.scalar}", "length")
                for node, total in zip(stage.reductions, totals, strict=True):
                    if node.operation == "mean":
                        total = function.value(f"fdiv {v.scalar} {total}, {length}", "mean")
                    self._store_number(node, total, row)
            self.ready.update(stage.reductions)
            block = Block(self, None, row, "0", None)
            for node in stage.scalars:
                value = function.value(f"extractelement {v.type} {block.value(node)}, i64 0")
                self._store_number(node, value, row)

    def _store_number(self, node: Node, value: str, row: str) -> None:
        for at in self.destinations(node, row, "0"):
            self.function.emit(f"store {self.v.scalar} {value}, ptr {at}")

    def _reduce(
        self,
        nodes: Sequence[Node],
        row: str,
        size: str,
        change: Callable[[str], str] = lambda value: value,
        largest: bool = False,
    ) -> list[str]:
        """The sum or the largest of a row's elements, each changed first; of some vectors."""
        function, v = self.function, self.v
        neutral = v.constant(float("-inf")) if largest else "zeroinitializer"
        cells = [
            function.element(self.given["scratch"], str(place * v.lanes), v.scalar)
            for place in range(len(nodes))
        ]
        for cell in cells:
            v.store(neutral, cell)
        with function.loop("unit", "0", size, str(v.lanes)) as unit:
            left = function.integer("sub", size, unit)
            mask = v.mask(left)
            block = Block(self, None, row, unit, mask, neutral)
            for node, cell in zip(nodes, cells, strict=True):
                value = v.select(mask, change(block.value(node)), neutral)
                so_far = v.load(cell)
                if largest:
                    above = v.compare("ogt", value, so_far)
                    v.store(v.select(above, value, so_far), cell)
                else:
                    v.store(v.add(value, so_far), cell)
        return [v.largest(v.load(cell)) if largest else v.total(v.load(cell)) for cell in cells]

    def _load_row(self, node: Node, row: str, unit: str, mask: str, otherwise: str) -> str:
        block = Block(self, None, row, unit, mask, otherwise)
        return block.value(node)

    def _softmax(self, node: Node, row: str, size: str) -> None:
        function, v, argument = self.function, self.v, node.arguments[0]
        largest = v.splat(self._reduce([argument], row, size, largest=True)[0])

        def raised(value: str) -> str:
            return mathematics.exponential(v, v.subtract(value, largest))

        total = v.splat(self._reduce([argument], row, size, raised)[0])
        with function.loop("unit", "0", size, str(v.lanes)) as unit:
            mask = v.mask(function.integer("sub", size, unit))
            value = raised(self._load_row(argument, row, unit, mask, "zeroinitializer"))
            result = v.divide(value, total)
            for at in self.destinations(node, row, unit):
                v.store(result, at, mask)
