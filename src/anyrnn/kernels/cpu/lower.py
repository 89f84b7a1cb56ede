"""A schedule's loop as LLVM IR.

A stage is a loop over blocks of units and, inside it, over blocks of rows: the sums of products of
a block are accumulated in registers, and the elementwise work follows while they are in the cache.
The kernel reads everything from a record of whole numbers: sizes, ranges, addresses and strides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from anyrnn.graph.nodes import Node
from anyrnn.graph.operations import OPERATIONS
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu import mathematics
from anyrnn.kernels.cpu.assembly import Function, Vectors
from anyrnn.kernels.cpu.target import Target
from anyrnn.schedule.loop import REDUCTIONS, Accumulator, RowStage, Schedule, Stage
from anyrnn.schedule.normal import ONCE, operands, phases

PAUSE = {"neon": "yield"}


@dataclass(frozen=True)
class Group:
    """Sums of products of the same vectors, which one tile accumulates together.

    Attributes:
        accumulators: The sums.
        vectors: The vectors, one for each term.
    """

    accumulators: tuple[Accumulator, ...]
    vectors: tuple[Node, ...]


@dataclass(frozen=True)
class Tile:
    """How a stage is cut into blocks.

    Attributes:
        groups: The groups of products.
        blocks: The number of vectors of units that a tile has for each sum.
        rows: The most rows that a tile has.
    """

    groups: tuple[Group, ...]
    blocks: int
    rows: int


def tile(stage: Stage, target: Target) -> Tile:
    """Cut a stage so that a tile's accumulators stay in registers."""
    budget = target.registers - 4  # a weight, a few broadcast numbers
    alike: dict[tuple[Node, ...], list[Accumulator]] = {}
    for accumulator in stage.accumulators:
        vectors = tuple(vector for _, vector in accumulator.terms)
        alike.setdefault(vectors, []).append(accumulator)
    groups: list[Group] = []
    most = budget // 2
    for vectors, accumulators in alike.items():
        for start in range(0, len(accumulators), most):
            groups.append(Group(tuple(accumulators[start : start + most]), vectors))
    widest = max((len(group.accumulators) for group in groups), default=1)
    # with one row, eight independent sums hide the latency of an addition
    blocks = max(1, min(8, budget) // widest) if groups else 1
    rows = max(1, min(8, budget // (widest * blocks))) if groups else 1
    return Tile(tuple(groups), blocks, rows if groups else 64)


@dataclass
class Record:
    """The names of the numbers that a kernel gets, by their places."""

    names: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        """The place of a name, new or old."""
        return self.names.setdefault(name, len(self.names))


@dataclass(frozen=True)
class Lowered:
    """A kernel as text, with what its caller has to know.

    Attributes:
        text: The LLVM IR.
        record: The places of the numbers.
        tiles: The tile of each stage; None for a stage over rows.
        arrays: The names of the arrays in the record, by node: what the loop reads and writes.
        rows: The arrays that have a row for each sequence and belong to no step.
        vectors: The parameters that are vectors or numbers.
        numbers: The sizes that slices need.
    """

    text: str
    record: Record
    tiles: tuple[Tile | None, ...]
    arrays: dict[Node, str]
    rows: dict[Node, str]
    vectors: dict[Node, str]
    numbers: dict[str, Size]


HEADER = [
    "threads",
    "barrier",
    "steps",
    "time",
    "direction",
    "offsets",
    "first_row",
    "last_row",
    "scratch",
]


class Lowering:
    """Writes the kernel of a schedule."""

    def __init__(self, schedule: Schedule, target: Target, double: bool) -> None:
        self.schedule = schedule
        self.target = target
        self.double = double
        self.when = phases(schedule.graph.nodes())
        self.record = Record()
        for name in HEADER:
            self.record.place(name)
        self.arrays: dict[Node, str] = {}
        self.rows: dict[Node, str] = {}
        self.vectors: dict[Node, str] = {}
        self.numbers: dict[str, Size] = {}
        self.tiles = tuple(
            tile(stage, target) if isinstance(stage, Stage) else None for stage in schedule.stages
        )
        self.functions: list[str] = []
        self._place_arrays()

    def _place_arrays(self) -> None:
        schedule = self.schedule
        for node in schedule.carried:
            self.arrays[node] = f"carried{len(self.arrays)}"
        for node in schedule.emitted:
            self.arrays.setdefault(node, f"emitted{len(self.arrays)}")
        new_states = set(schedule.new_states.values())
        for stage in schedule.stages:
            for node in (stage.node,) if isinstance(stage, RowStage) else stage.stores:
                if node not in self.arrays and node not in new_states:
                    self.rows[node] = f"rows{len(self.rows)}"
        for joins in schedule.joins.values():
            for joined, _ in joins:
                if joined not in self.arrays and joined not in new_states:
                    self.rows.setdefault(joined, f"rows{len(self.rows)}")
        for name in [*self.arrays.values(), *self.rows.values()]:
            self.record.place(name)
            self.record.place(f"{name}.stride")
        for name in schedule.states:
            for part in ("current", "next", "stride"):
                self.record.place(f"state.{name}.{part}")
        for number, cut in enumerate(self.tiles):
            self.record.place(f"stage{number}.size")
            if cut is not None:
                for part in ("first", "last"):
                    self.record.place(f"stage{number}.{part}")
                for index, group in enumerate(cut.groups):
                    self.record.place(f"stage{number}.weights{index}")
                    for term in range(len(group.vectors)):
                        self.record.place(f"stage{number}.length{index}.{term}")

    def lower(self) -> Lowered:
        """The whole kernel."""
        for number, cut in enumerate(self.tiles):
            for index, group in enumerate(cut.groups if cut else ()):
                for rows in range(1, cut.rows + 1):  # type: ignore[union-attr]
                    self.functions.append(self._tile_function(number, index, group, cut, rows))  # type: ignore[arg-type]
        self.functions.append(_Kernel(self).write())
        return Lowered(
            "\n\n".join([*self.functions, self._entry()]),
            self.record,
            self.tiles,
            self.arrays,
            self.rows,
            self.vectors,
            self.numbers,
        )

    def attributes(self) -> str:
        """The attributes of every function: keep to the width that the code is written for."""
        width = self.target.bits
        return f'nounwind "prefer-vector-width"="{width}" "min-legal-vector-width"="{width}"'

    def _tile_function(self, number: int, index: int, group: Group, cut: Tile, rows: int) -> str:
        """Accumulate the products of one block of units and a number of rows."""
        arguments = [("ptr noalias", "weights"), ("ptr noalias", "sums")]
        for term in range(len(group.vectors)):
            arguments += [("ptr", f"x{term}"), ("i64", f"stride{term}"), ("i64", f"length{term}")]
        function = Function(f"tile{number}.{index}.{rows}", arguments, self.attributes())
        v = Vectors(function, self.target.lanes(self.double), self.double)
        width = len(group.accumulators) * cut.blocks
        sums = [["zeroinitializer"] * width for _ in range(rows)]
        weights = "%weights"
        for term in range(len(group.vectors)):
            sums, weights = self._tile_loop(function, v, term, rows, width, sums, weights)
        for row in range(rows):
            for place in range(width):
                at = function.element("%sums", str((row * width + place) * v.lanes), v.scalar)
                v.store(sums[row][place], at)
        return function.text()

    def _tile_loop(
        self,
        function: Function,
        v: Vectors,
        term: int,
        rows: int,
        width: int,
        sums: list[list[str]],
        weights: str,
    ) -> tuple[list[list[str]], str]:
        """The loop over the elements of one vector."""
        pointers = [f"%x{term}"]
        for row in range(1, rows):
            offset = function.integer("mul", f"%stride{term}", row)
            pointers.append(function.element(f"%x{term}", offset, v.scalar))
        before = function.block
        head, end = function.name("products"), function.name("products.end")
        index, following = "%" + function.name("k"), "%" + function.name("k.next")
        here, next_weights = "%" + function.name("w"), "%" + function.name("w.next")
        phis = [[("%" + function.name("sum")) for _ in range(width)] for _ in range(rows)]
        function.jump(head)
        function.start(head)
        slot = len(function.lines)
        function.lines.append("")
        numbers = [v.load_number(function.element(p, index, v.scalar)) for p in pointers]
        new = [[""] * width for _ in range(rows)]
        for place in range(width):
            weight = v.load(function.element(here, str(place * v.lanes), v.scalar))
            for row in range(rows):
                new[row][place] = v.fma(numbers[row], weight, phis[row][place])
        function.emit(
            f"{next_weights} = getelementptr inbounds {v.scalar}, ptr {here}, i64 {width * v.lanes}"
        )
        function.emit(f"{following} = add nsw i64 {index}, 1")
        more = function.value(f"icmp slt i64 {following}, %length{term}", "more")
        function.branch(more, head, end)
        lines = [f"  {index} = phi i64 [0, %{before}], [{following}, %{head}]"]
        lines.append(f"  {here} = phi ptr [{weights}, %{before}], [{next_weights}, %{head}]")
        for row in range(rows):
            lines += [
                f"  {phis[row][place]} = phi {v.type} [{sums[row][place]}, %{before}], "
                f"[{new[row][place]}, %{head}]"
                for place in range(width)
            ]
        function.lines[slot] = "\n".join(lines)
        function.start(end)
        return new, next_weights

    def _entry(self) -> str:
        """What a team of threads enters: each finds its record by its number.

        The first record is for one thread alone: the first one takes it where the OpenMP runtime
        gives fewer threads than were asked for.
        """
        size = len(self.record.names)
        return f"""define void @enter(ptr %team) {{
entry:
  %number.function = load ptr, ptr %team
  %count.at = getelementptr i64, ptr %team, i64 1
  %count.function = load ptr, ptr %count.at
  %threads.at = getelementptr i64, ptr %team, i64 2
  %threads = load i64, ptr %threads.at
  %id.short = call i32 %number.function()
  %id = sext i32 %id.short to i64
  %count.short = call i32 %count.function()
  %count = sext i32 %count.short to i64
  %complete = icmp eq i64 %count, %threads
  %first = icmp eq i64 %id, 0
  %place = add i64 %id, 1
  %which = select i1 %complete, i64 %place, i64 0
  %offset = mul i64 %which, {size}
  %shifted = add i64 %offset, 3
  %record = getelementptr i64, ptr %team, i64 %shifted
  %work = or i1 %complete, %first
  br i1 %work, label %run, label %done
run:
  call void @kernel(ptr %record)
  br label %done
done:
  ret void
}}

define void @enter_alone(ptr %team) {{
entry:
  %record = getelementptr i64, ptr %team, i64 3
  call void @kernel(ptr %record)
  ret void
}}"""


class _Kernel:
    """Writes the function that loops over time."""

    def __init__(self, lowering: Lowering) -> None:
        self.lowering = lowering
        self.schedule = lowering.schedule
        self.function = Function(
            "kernel", [("ptr noalias", "record")], lowering.attributes(), internal=False
        )
        self.v = Vectors(self.function, lowering.target.lanes(lowering.double), lowering.double)
        self.given: dict[str, str] = {}
        self.states: dict[Node, str] = {}  # the old states' leaves, by the state's name
        self.barriers = "0"
        for leaf in self.schedule.graph.leaves("state"):
            self.states[leaf] = leaf.name

    def write(self) -> str:
        """The kernel's text."""
        function = self.function
        pointers = ("barrier", "offsets", "scratch")
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
        type_ = "ptr" if address and not name.endswith(".stride") else "i64"
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
            else:
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
            spin, done = function.name("spin"), function.name("spin.done")
            function.jump(spin)
            function.start(spin)
            seen = function.value(f"load atomic i64, ptr {barrier} acquire, align 8", "seen")
            complete = function.value(f"icmp sge i64 {seen}, {goal}", "complete")
            function.branch(complete, done, spin)
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
        with function.loop("block", first, last) as block:
            unit = function.integer("mul", block, cut.blocks * v.lanes)
            with function.loop(
                "rows", self.given["first_row"], self.last_row, str(cut.rows)
            ) as row:
                left = function.integer("sub", self.last_row, row)
                count = function.smaller(left, str(cut.rows))
                offset = 0
                starts = []
                for index, group in enumerate(cut.groups):
                    starts.append(offset)
                    self._call_tile(number, index, group, cut, block, row, count, offset)
                    offset += cut.rows * len(group.accumulators) * cut.blocks * v.lanes
                with (
                    function.loop("row", "0", count) as inner,
                    function.loop("lane", "0", str(cut.blocks)) as lane,
                ):
                    self._elementwise(number, stage, cut, starts, unit, row, inner, lane)

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
            pointer = self.address(vector, row, "0")
            following = self.address(vector, function.integer("add", row, 1), "0")
            left, right = (
                function.value(f"ptrtoint ptr {p} to i64", "address") for p in (pointer, following)
            )
            stride = function.integer("sub", right, left)
            stride = function.integer("sdiv exact", stride, 8 if v.double else 4)
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

    def _elementwise(
        self,
        number: int,
        stage: Stage,
        cut: Tile,
        starts: list[int],
        unit: str,
        row: str,
        inner: str,
        lane: str,
    ) -> None:
        """The work on one vector of units of one row, whole or cut off at the end."""
        function, v = self.function, self.v
        here = function.integer("add", unit, function.integer("mul", lane, v.lanes))
        this_row = function.integer("add", row, inner)
        size = self.given[f"stage{number}.size"]
        left = function.integer("sub", size, here)
        some = function.value(f"icmp sgt i64 {left}, 0", "some")
        with function.when(some, "units"):
            whole = function.value(f"icmp sge i64 {left}, {v.lanes}", "whole")
            full, part, done = (function.name(f"units.{name}") for name in ("full", "part", "done"))
            function.branch(whole, full, part)
            for block, masked in ((full, False), (part, True)):
                function.start(block)
                mask = v.mask(left) if masked else None
                values = _Block(self, stage, this_row, here, mask)
                for start, group in zip(starts, cut.groups, strict=True):
                    values.sums(start, group, cut, inner, lane)
                for node in stage.stores:
                    value = values.value(node)
                    for at in self.destinations(node, this_row, here):
                        v.store(value, at, mask)
                function.jump(done)
            function.start(done)

    # stages over rows

    def _row_stage(self, number: int, stage: RowStage) -> None:
        function, v = self.function, self.v
        argument = stage.node.arguments[0]
        size = self.given[f"stage{number}.size"]
        with function.loop("row", self.given["first_row"], self.last_row) as row:
            if stage.node.operation == "softmax":
                self._softmax(stage.node, argument, row, size)
            else:
                total = self._reduce(argument, row, size, lambda value: value, largest=False)
                if stage.node.operation == "mean":
                    length = function.value(f"sitofp i64 {size} to {v.scalar}", "length")
                    total = function.value(f"fdiv {v.scalar} {total}, {length}", "mean")
                for at in self.destinations(stage.node, row, "0"):
                    function.emit(f"store {v.scalar} {total}, ptr {at}")

    def _reduce(
        self, node: Node, row: str, size: str, change: Callable[[str], str], largest: bool
    ) -> str:
        """The sum or the largest of a row's elements, each changed first."""
        function, v = self.function, self.v
        neutral = v.constant(float("-inf")) if largest else "zeroinitializer"
        cell = function.element(self.given["scratch"], "0", v.scalar)
        v.store(neutral, cell)
        with function.loop("unit", "0", size, str(v.lanes)) as unit:
            left = function.integer("sub", size, unit)
            mask = v.mask(left)
            value = change(self._load_row(node, row, unit, mask, neutral))
            value = v.select(mask, value, neutral)
            so_far = v.load(cell)
            if largest:
                above = v.compare("ogt", value, so_far)
                v.store(v.select(above, value, so_far), cell)
            else:
                v.store(v.add(value, so_far), cell)
        return v.largest(v.load(cell)) if largest else v.total(v.load(cell))

    def _load_row(self, node: Node, row: str, unit: str, mask: str, otherwise: str) -> str:
        block = _Block(self, None, row, unit, mask, otherwise)
        return block.value(node)

    def _softmax(self, node: Node, argument: Node, row: str, size: str) -> None:
        function, v = self.function, self.v
        largest = v.splat(self._reduce(argument, row, size, lambda value: value, largest=True))

        def raised(value: str) -> str:
            return mathematics.exponential(v, v.subtract(value, largest))

        total = v.splat(self._reduce(argument, row, size, raised, largest=False))
        with function.loop("unit", "0", size, str(v.lanes)) as unit:
            mask = v.mask(function.integer("sub", size, unit))
            value = raised(self._load_row(argument, row, unit, mask, "zeroinitializer"))
            result = v.divide(value, total)
            for at in self.destinations(node, row, unit):
                v.store(result, at, mask)


class _Block:
    """The values of one vector of units of one row: computed when they are asked for."""

    def __init__(
        self,
        kernel: _Kernel,
        stage: Stage | None,
        row: str,
        unit: str,
        mask: str | None,
        otherwise: str = "zeroinitializer",
    ) -> None:
        self.kernel, self.stage = kernel, stage
        self.row, self.unit, self.mask, self.otherwise = row, unit, mask, otherwise
        self.v = kernel.v
        self.known: dict[Node, str] = {}
        self.own = set(stage.stores) if stage else set()

    def sums(self, start: int, group: Group, cut: Tile, inner: str, lane: str) -> None:
        """Read what a tile has accumulated."""
        function, v = self.kernel.function, self.v
        width = len(group.accumulators) * cut.blocks
        row = function.integer("mul", inner, width * v.lanes)
        place = function.integer("add", row, function.integer("mul", lane, v.lanes))
        for index, accumulator in enumerate(group.accumulators):
            offset = function.integer("add", place, start + index * cut.blocks * v.lanes)
            at = function.element(self.kernel.given["scratch"], offset, v.scalar)
            self.known[accumulator.node] = v.load(at)

    def value(self, node: Node) -> str:
        """A node's value."""
        if node not in self.known:
            self.known[node] = self._read(node) or self._compute(node)
        return self.known[node]

    def _read(self, node: Node) -> str | None:
        kernel = self.kernel
        if node.operation == "constant":
            return self.v.constant(node.attributes["value"])
        if kernel.lowering.when[node] == ONCE:
            pointer = kernel.vector(node)
            if not node.type.shape:
                return self.v.load_number(pointer)
            at = kernel.function.element(pointer, self.unit, self.v.scalar)
            return self.v.load(at, self.mask, self.otherwise)
        if node in self.own and not node.is_leaf:
            return None
        if not node.type.shape:
            # another thread may be about to write it, unless it is complete before the stages
            ready = node in kernel.schedule.carried or node.operation in REDUCTIONS
            at = kernel.address(node, self.row, "0") if ready else None
            return self.v.load_number(at) if at else None
        at = kernel.address(node, self.row, self.unit)
        return self.v.load(at, self.mask, self.otherwise) if at else None

    def _compute(self, node: Node) -> str:
        v = self.v
        if node.operation == "slice":
            return self._slice(node)
        if not OPERATIONS[node.operation].elementwise and node.operation != "expand":
            raise NotImplementedError(node.operation)
        if node.operation == "add":
            for product, other in (node.arguments, node.arguments[::-1]):
                if (
                    product.operation == "multiply"
                    and product not in self.known
                    and not self._stays(product)
                ):
                    left, right = map(self.value, product.arguments)
                    return v.fma(left, right, self.value(other))
        values = [self.value(argument) for argument in operands(node)]
        return COMPUTE[node.operation](v, *values)

    def _stays(self, node: Node) -> bool:
        """Whether a value is needed by itself too."""
        return node in self.own or self.kernel.address(node, self.row, self.unit) is not None

    def _slice(self, node: Node) -> str:
        """A part of a vector in memory."""
        start = self.kernel.number(node.attributes["start"])
        unit = self.kernel.function.integer("add", self.unit, start)
        at = self.kernel.address(node.arguments[0], self.row, unit)
        if at is None:
            raise NotImplementedError("a slice of what is not in memory")
        return self.v.load(at, self.mask, self.otherwise)


def _extreme(relation: str) -> Callable[[Vectors, str, str], str]:
    def compute(v: Vectors, left: str, right: str) -> str:
        chosen = v.select(v.compare(relation, left, right), left, right)
        unordered = v.compare("uno", left, left)  # NaN on either side gives NaN
        return v.select(unordered, left, chosen)

    return compute


COMPUTE = {
    "add": Vectors.add,
    "subtract": Vectors.subtract,
    "multiply": Vectors.multiply,
    "divide": Vectors.divide,
    "negative": Vectors.negative,
    "sigmoid": mathematics.sigmoid,
    "tanh": mathematics.tanh,
    "exp": mathematics.exponential,
    "log": mathematics.logarithm,
    "softplus": mathematics.softplus,
    "relu": lambda v, x: v.most(x, 0.0),
    "sqrt": lambda v, x: v.call("sqrt", x),
    "abs": lambda v, x: v.call("fabs", x),
    "hard_sigmoid": lambda v, x: v.most(
        v.least(v.add(v.divide(x, v.constant(6.0)), v.constant(0.5)), 1.0), 0.0
    ),
    "maximum": _extreme("ogt"),
    "minimum": _extreme("olt"),
    "greater": lambda v, left, right: v.compare("ogt", left, right),
    "greater_equal": lambda v, left, right: v.compare("oge", left, right),
    "where": Vectors.select,
    "expand": lambda v, value: value,
}
