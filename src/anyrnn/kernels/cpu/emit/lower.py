"""A schedule's loop as LLVM IR.

A stage is a loop over blocks of units and, inside it, over blocks of rows: the sums of products of
a block are accumulated in registers, and the elementwise work follows while they are in the cache.
The matrices are packed in the order in which this reads them; for a single step, for which packing
would cost more than it saves, they are read as they are (`dots`).
The kernel reads everything from a record of whole numbers: sizes, ranges, addresses and strides.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.emit import dot_products
from anyrnn.kernels.cpu.emit.assembly import Function, Vectors
from anyrnn.kernels.cpu.emit.entry import attributes, entry
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.emit.tiles import Group, Tile, tile
from anyrnn.kernels.cpu.emit.time_loop import Kernel
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.schedule.forms import Schedule, Stage
from anyrnn.schedule.phases import phases
from anyrnn.schedule.rematerialise import is_in_place


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
        operands: The copies of vectors that products read, by node.
    """

    text: str
    record: Record
    tiles: tuple[Tile | None, ...]
    arrays: dict[Node, str]
    rows: dict[Node, str]
    vectors: dict[Node, str]
    numbers: dict[str, Size]
    operands: dict[Node, str]


HEADER = [
    "threads",
    "barrier",
    "yield",
    "steps",
    "time",
    "direction",
    "clock",
    "seed",
    "offsets",
    "first_row",
    "last_row",
    "scratch",
]


class Lowering:
    """Writes the kernel of a schedule."""

    def __init__(
        self,
        schedule: Schedule,
        target: Processor,
        double: bool,
        packed: bool = True,
        operand: Operand = Operand.PLAIN,
        short: bool = False,
    ) -> None:
        self.schedule = schedule
        self.packed = packed
        self.operand = operand
        self.dots = dot_products.Kind(double, operand, short)
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
        self.operands: dict[Node, str] = {}
        self.tiles = tuple(
            tile(stage, target, packed) if isinstance(stage, Stage) else None
            for stage in schedule.stages
        )
        self.functions: list[str] = []
        self._place_arrays()

    def _place_arrays(self) -> None:
        schedule = self.schedule
        for node in schedule.loop_inputs:
            self.arrays[node] = f"carried{len(self.arrays)}"
        for node in schedule.emitted:
            self.arrays.setdefault(node, f"emitted{len(self.arrays)}")
        new_states = set(schedule.new_states.values())
        for stage in schedule.stages:
            for node in stage.stores:
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
        if self.operand is not Operand.PLAIN:
            groups = [group for cut in self.tiles if cut for group in cut.groups]
            for vector in dict.fromkeys(vector for group in groups for vector in group.vectors):
                name = self.operands[vector] = f"operand{len(self.operands)}"
                for part in ("", ".stride", ".size"):
                    self.record.place(name + part)
        for number, cut in enumerate(self.tiles):
            self.record.place(f"stage{number}.size")
            if cut is not None:
                for part in ("first", "last"):
                    self.record.place(f"stage{number}.{part}")
                for index, group in enumerate(cut.groups):
                    if self.packed:
                        self.record.place(f"stage{number}.weights{index}")
                    for term in range(len(group.vectors)):
                        self.record.place(f"stage{number}.length{index}.{term}")
                        for place in range(0 if self.packed else len(group.accumulators)):
                            name = f"stage{number}.matrix{index}.{place}.{term}"
                            self.record.place(name)
                            self.record.place(f"{name}.stride")

    def in_place(self, node: Node) -> bool:
        """Whether what depends on parameters only is computed where it is needed, not before."""
        if self.packed:
            return is_in_place(node)
        return node.traits.pointwise and not node.is_leaf

    def lower(self) -> Lowered:
        """The whole kernel."""
        if self.packed:
            self._write_tiles()
        else:
            groups = [group for cut in self.tiles if cut for group in cut.groups]
            terms = sorted({len(group.vectors) for group in groups})
            self.functions += dot_products.functions(self.target, self.dots, terms)
        self.functions.append(Kernel(self).write())
        return Lowered(
            "\n\n".join([*self.functions, entry(len(self.record.names))]),
            self.record,
            self.tiles,
            self.arrays,
            self.rows,
            self.vectors,
            self.numbers,
            self.operands,
        )

    def _write_tiles(self) -> None:
        for number, cut in enumerate(self.tiles):
            for index, group in enumerate(cut.groups if cut else ()):
                for rows in range(1, cut.rows + 1):  # type: ignore[union-attr]
                    self.functions.append(self._tile_function(number, index, group, cut, rows))  # type: ignore[arg-type]

    def _tile_function(self, number: int, index: int, group: Group, cut: Tile, rows: int) -> str:
        """Accumulate the products of one block of units and a number of rows."""
        arguments = [("ptr noalias", "weights"), ("ptr noalias", "sums")]
        for term in range(len(group.vectors)):
            arguments += [("ptr", f"x{term}"), ("i64", f"stride{term}"), ("i64", f"length{term}")]
        function = Function(f"tile{number}.{index}.{rows}", arguments, attributes(self.target))
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
                total = phis[row][place]
                new[row][place] = self.operand.multiply_add(v, numbers[row], weight, total)
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
