"""Products with packed matrices, by register blocking: each weight vector that is loaded serves all
rows of a tile, whose sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import pairwise, product

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.assembly import Function
from anyrnn.kernels.cpu.emit.context import Context
from anyrnn.kernels.cpu.emit.operand_copies import rows_of
from anyrnn.kernels.cpu.emit.record import Field
from anyrnn.kernels.cpu.emit.tiles import Group, Tile, row_by_row


def _name(stage: int, group: int, used: int, rows: int) -> str:
    return f"tile{stage}.{group}.{used}.{rows}"


def _widths(tile: Tile) -> list[int]:
    """How many vectors of units of each sum there are functions for: all of a tile, and one, for
    the last block of units.
    """
    return [tile.blocks] if tile.blocks == 1 else [tile.blocks, 1]


def functions(
    arithmetic: Arithmetic, tiles: Sequence[Tile], placed: Container[Node] = ()
) -> Iterator[str]:
    """The text of the functions: for each group of each stage, each width and each number of rows.

    Arguments: the packed matrices of a block of units, and the elements from one slot to the next
    there; where the sums go; of each vector the first row, the stride of the rows, its length in
    slots. One that is `placed` has its whole array in the place of the first row, and after these
    the places of the rows in it.
    """
    for stage, tile in enumerate(tiles):
        for index, group in enumerate(tile.groups):
            for used, rows in product(_widths(tile), range(1, group.rows + 1)):
                name = _name(stage, index, used, rows)
                yield _Block(arithmetic, name, group, tile.blocks, used, rows, placed).write()


class _Block:
    """Writes the function of a group for a number of rows; of the `blocks` vectors of each sum it
    computes the first `used` ones.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        name: str,
        group: Group,
        blocks: int,
        used: int,
        rows: int,
        placed: Container[Node],
    ) -> None:
        self.terms, self.rows = len(group.vectors), rows
        self.placed = [vector in placed for vector in group.vectors]
        self.stride = len(group.accumulators) * blocks  # vectors from one row of sums to the next
        starts = range(0, self.stride, blocks)
        self.places = [start + place for start in starts for place in range(used)]
        self.width = len(self.places)
        self.operand, self.registers = arithmetic.operand, arithmetic.registers
        arguments = [("ptr noalias", "weights"), ("i64", "step"), ("ptr noalias", "sums")]
        for term in range(self.terms):
            arguments += [("ptr", f"x{term}"), ("i64", f"stride{term}"), ("i64", f"length{term}")]
            arguments += [("ptr", f"places{term}")] * self.placed[term]
        self.function = Function(name, arguments, f"noinline {arithmetic.attributes}")
        self.v = arithmetic.vectors(self.function)

    def write(self) -> str:
        """The text of the function."""
        sums = zeros = [["zeroinitializer"] * self.width for _ in range(self.rows)]
        weights = "%weights"
        for term in range(self.terms):
            if not self.operand.quantised:
                sums, weights = self._accumulate(term, sums, weights)
            else:
                sums, weights = self._accumulate(term, zeros, weights)
                weights = self._add_scaled(term, sums, weights)
        if not self.operand.quantised:
            for *_, total, at in self._totals(sums):
                self.v.store(total, at)
        return self.function.text()

    def _totals(self, sums: list[list[str]]) -> Iterator[tuple[int, int, str, str]]:
        """The row of each sum, its place, its register, and where it goes."""
        function, v = self.function, self.v
        for row in range(self.rows):
            for total, place in zip(sums[row], self.places, strict=True):
                offset = (row * self.stride + place) * v.lanes
                yield row, place, total, function.element("%sums", str(offset), v.scalar)

    def _add_scaled(self, term: int, sums: list[list[str]], weights: str) -> str:
        """Scale the sums of integers of a term, which come to those of the terms before in memory;
        the weights after the scales.
        """
        function, v = self.function, self.v

        def following(slot: str) -> str:
            return function.element(slot, "%step", v.scalar)

        def loaded(slot: str) -> dict[int, str]:
            offsets = {place: str(place * v.lanes) for place in self.places}
            return {at: v.load(function.element(slot, n, v.scalar)) for at, n in offsets.items()}

        scales, added, end = loaded(weights), {}, following(weights)
        if self.operand.offset:
            added, end = loaded(end), following(end)
        pointers = self._row_pointers(term)
        numbers = [
            v.load_number(function.element(pointer, f"%length{term}", v.scalar))
            for pointer in pointers
        ]
        for row, place, total, at in self._totals(sums):
            if added:
                total = v.on_bits("sub", total, v.bits(added[place]))
            value = function.value(f"sitofp {v.integers} {total} to {v.type}", "total")
            value = v.multiply(value, scales[place])
            if term:
                v.store(v.fma(value, numbers[row], v.load(at)), at)
            else:
                v.store(v.multiply(value, numbers[row]), at)
        return end

    def _row_pointers(self, term: int) -> list[str]:
        """The rows of a vector."""
        function, placed = self.function, self.placed[term]
        pointers = [] if placed else [f"%x{term}"]
        for row in range(len(pointers), self.rows):
            number: str | int = row
            if placed:
                at = function.element(f"%places{term}", str(row), "i64")
                number = function.value(f"load i64, ptr {at}", "place")
            offset = function.integer("mul", f"%stride{term}", number)
            pointers.append(function.element(f"%x{term}", offset, self.v.scalar))
        return pointers

    def _accumulate(
        self, term: int, sums: list[list[str]], weights: str
    ) -> tuple[list[list[str]], str]:
        """The loop over the elements of one vector: the sums and the weights after it."""
        function, v, rows, width = self.function, self.v, self.rows, self.width
        pointers = self._row_pointers(term)
        head, end = function.name("products"), function.name("products.end")
        index, following = "%" + function.name("k"), "%" + function.name("k.next")
        here, next_weights = "%" + function.name("w"), "%" + function.name("w.next")
        phis = [[("%" + function.name("sum")) for _ in range(width)] for _ in range(rows)]
        carry = function.repeat(head)
        new = [[""] * width for _ in range(rows)]
        for row, place, number, weight in self._pairs(pointers, index, here):
            new[row][place] = self.operand.multiply_add(v, number, weight, phis[row][place])
        function.emit(f"{next_weights} = getelementptr inbounds {v.scalar}, ptr {here}, i64 %step")
        function.emit(f"{following} = add nsw i64 {index}, 1")
        more = function.value(f"icmp slt i64 {following}, %length{term}", "more")
        function.branch(more, head, end)
        carried = [(index, "i64", "0", following), (here, "ptr", weights, next_weights)]
        for row in range(rows):
            types = [self.operand.total_type(v)] * width
            carried += zip(phis[row], types, sums[row], new[row], strict=True)
        carry(carried)
        function.start(end)
        return new, next_weights

    def _pairs(
        self, pointers: Sequence[str], index: str, here: str
    ) -> Iterator[tuple[int, int, str, str]]:
        """The row, the place of the weight, the number and the weight of each multiplication.

        The numbers of all rows stay in registers while one weight after the other is loaded, or the
        other way round.
        """
        function, v, rows, width = self.function, self.v, self.rows, self.width

        def number(row: int) -> str:
            return v.load_number(function.element(pointers[row], index, v.scalar))

        def weight(place: int) -> str:
            return v.load(function.element(here, str(self.places[place] * v.lanes), v.scalar))

        if row_by_row(width, rows, self.registers):
            weights = [weight(place) for place in range(width)]
            for row in range(rows):
                loaded = number(row)
                yield from ((row, place, loaded, weights[place]) for place in range(width))
            return
        numbers = [number(row) for row in range(rows)]
        for place in range(width):
            loaded = weight(place)
            yield from ((row, place, numbers[row], loaded) for row in range(rows))


class _Vector:
    """What a function is given of a vector, from a row on."""

    def __init__(self, context: Context, vector: Node, length: Field, row: str) -> None:
        self.function, self.scalar = context.function, context.v.scalar
        self.length, self.places = context.word(length), None
        found = context.places_of(vector, row)
        if found is None:
            self.address, self.stride = rows_of(context, vector, row)
        else:
            array, self.places = found
            self.address, self.stride = context.word(array.address), context.word(array.stride)

    def arguments(self, first: int) -> list[str]:
        """The arguments for the rows from one on."""
        function, address, further = self.function, self.address, []
        if self.places is None:
            skipped = function.integer("mul", self.stride, first)
            address = function.element(address, skipped, self.scalar)
        else:
            further = [f"ptr {function.element(self.places, str(first), 'i64')}"]
        return [f"ptr {address}", f"i64 {self.stride}", f"i64 {self.length}", *further]


def call(
    context: Context,
    stage: int,
    index: int,
    group: Group,
    tile: Tile,
    block: str,
    row: str,
    count: str,
    offset: int,
) -> None:
    """Call the function for the number of rows; the sums go to the thread's own memory, from
    `offset` on. If at most half of the vectors of units are there, they are computed one by one.
    """
    function, v = context.function, context.v
    fields = context.record.stages[stage].groups[index]
    assert fields.weights is not None
    assert fields.steps is not None
    vectors = [
        _Vector(context, *each, row) for each in zip(group.vectors, fields.lengths, strict=True)
    ]
    block_step, step = map(context.word, fields.steps)
    start = function.integer("mul", block_step, block)
    weights = function.element(context.word(fields.weights), start, v.scalar)
    widths, sums, times, which = _widths(tile), context.scratch(offset), "1", count
    if len(widths) > 1:
        before = function.integer("mul", block, tile.blocks * v.lanes)
        units = function.integer("sub", context.word(context.record.stages[stage].size), before)
        there = function.integer("sdiv", function.integer("add", units, v.lanes - 1), v.lanes)
        few = function.value(f"icmp sle i64 {there}, {tile.blocks // 2}", "few")
        times = function.value(f"select i1 {few}, i64 {there}, i64 1", "times")
        more = function.value(f"select i1 {few}, i64 {tile.rows}, i64 0", "more")
        which = function.integer("add", count, more)
    sizes = [*product(widths, range(1, tile.rows + 1))]
    with function.loop("part", "0", times) as part:
        at = function.integer("mul", part, v.lanes)
        source, into = (function.element(place, at, v.scalar) for place in (weights, sums))
        done = function.name("tile.done")
        cases = [function.name("tile.rows") for _ in sizes]
        choices = " ".join(
            f"i64 {number}, label %{case}" for number, case in enumerate(cases[:-1], start=1)
        )
        function.emit(f"switch i64 {which}, label %{cases[-1]} [{choices}]")
        width = len(group.accumulators) * tile.blocks * v.lanes
        for (used, rows), case in zip(sizes, cases, strict=True):
            function.start(case)
            parts = -(-rows // group.rows)
            for first, last in pairwise(rows * part // parts for part in range(parts + 1)):
                arguments = [f"ptr {source}", f"i64 {step}"]
                arguments.append(f"ptr {function.element(into, str(first * width), v.scalar)}")
                for vector in vectors:
                    arguments += vector.arguments(first)
                name = _name(stage, index, used, last - first)
                function.emit(f"call void @{name}({', '.join(arguments)})")
            function.jump(done)
        function.start(done)
