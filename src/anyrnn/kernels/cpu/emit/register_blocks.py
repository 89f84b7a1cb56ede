"""Products with packed matrices, by register blocking: each weight vector that is loaded serves all
rows of a tile, whose sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.assembly import Function
from anyrnn.kernels.cpu.emit.context import Context
from anyrnn.kernels.cpu.emit.operand_copies import rows_of
from anyrnn.kernels.cpu.emit.tiles import Group, Tile, row_by_row


def _name(stage: int, group: int, rows: int) -> str:
    return f"tile{stage}.{group}.{rows}"


def functions(arithmetic: Arithmetic, tiles: Sequence[Tile]) -> Iterator[str]:
    """The text of the functions: for each group of each stage, and each number of rows.

    Arguments: the packed matrices of a block of units; where the sums go; of each vector the first
    row, the stride of the rows, its length.
    """
    for stage, tile in enumerate(tiles):
        for index, group in enumerate(tile.groups):
            width = len(group.accumulators) * tile.blocks
            for rows in range(1, group.rows + 1):
                name = _name(stage, index, rows)
                yield _Block(arithmetic, name, group, width, rows).write()


class _Block:
    """Writes the function of a group for a number of rows, each with `width` vectors of sums."""

    def __init__(
        self, arithmetic: Arithmetic, name: str, group: Group, width: int, rows: int
    ) -> None:
        self.terms, self.width, self.rows = len(group.vectors), width, rows
        self.operand, self.registers = arithmetic.operand, arithmetic.processor.registers
        arguments = [("ptr noalias", "weights"), ("ptr noalias", "sums")]
        for term in range(self.terms):
            arguments += [("ptr", f"x{term}"), ("i64", f"stride{term}"), ("i64", f"length{term}")]
        self.function = Function(name, arguments, arithmetic.attributes)
        self.v = arithmetic.vectors(self.function)

    def write(self) -> str:
        """The text of the function."""
        function, v = self.function, self.v
        sums = [["zeroinitializer"] * self.width for _ in range(self.rows)]
        weights = "%weights"
        for term in range(self.terms):
            sums, weights = self._accumulate(term, sums, weights)
        for row in range(self.rows):
            for place in range(self.width):
                offset = (row * self.width + place) * v.lanes
                v.store(sums[row][place], function.element("%sums", str(offset), v.scalar))
        return function.text()

    def _accumulate(
        self, term: int, sums: list[list[str]], weights: str
    ) -> tuple[list[list[str]], str]:
        """The loop over the elements of one vector: the sums and the weights after it."""
        function, v, rows, width = self.function, self.v, self.rows, self.width
        pointers = [f"%x{term}"]
        for row in range(1, rows):
            offset = function.integer("mul", f"%stride{term}", row)
            pointers.append(function.element(f"%x{term}", offset, v.scalar))
        head, end = function.name("products"), function.name("products.end")
        index, following = "%" + function.name("k"), "%" + function.name("k.next")
        here, next_weights = "%" + function.name("w"), "%" + function.name("w.next")
        phis = [[("%" + function.name("sum")) for _ in range(width)] for _ in range(rows)]
        carry = function.repeat(head)
        new = [[""] * width for _ in range(rows)]
        for row, place, number, weight in self._pairs(pointers, index, here):
            new[row][place] = self.operand.multiply_add(v, number, weight, phis[row][place])
        function.emit(
            f"{next_weights} = getelementptr inbounds {v.scalar}, ptr {here}, i64 {width * v.lanes}"
        )
        function.emit(f"{following} = add nsw i64 {index}, 1")
        more = function.value(f"icmp slt i64 {following}, %length{term}", "more")
        function.branch(more, head, end)
        carried = [(index, "i64", "0", following), (here, "ptr", weights, next_weights)]
        for row in range(rows):
            types = [v.type] * width
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
            return v.load(function.element(here, str(place * v.lanes), v.scalar))

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
    `offset` on.
    """
    function, v = context.function, context.v
    fields = context.record.stages[stage].groups[index]
    assert fields.weights is not None
    vectors, total = [], "0"
    for vector, field in zip(group.vectors, fields.lengths, strict=True):
        length = context.word(field)
        total = function.integer("add", total, length)
        vectors.append((*rows_of(context, vector, row), length))
    width = len(group.accumulators) * tile.blocks * v.lanes
    start = function.integer("mul", function.integer("mul", total, width), block)
    weights = function.element(context.word(fields.weights), start, v.scalar)
    sums = context.scratch(offset)
    done = function.name("tile.done")
    cases = [function.name("tile.rows") for _ in range(tile.rows)]
    choices = " ".join(
        f"i64 {rows}, label %{case}" for rows, case in enumerate(cases[:-1], start=1)
    )
    function.emit(f"switch i64 {count}, label %{cases[-1]} [{choices}]")
    for rows, case in enumerate(cases, start=1):
        function.start(case)
        parts = -(-rows // group.rows)
        for first, last in pairwise(rows * part // parts for part in range(parts + 1)):
            into, starts = sums, [address for address, _, _ in vectors]
            if first:
                into = function.element(sums, str(first * width), v.scalar)
                starts = [
                    function.element(address, function.integer("mul", stride, first), v.scalar)
                    for address, stride, _ in vectors
                ]
            arguments = [f"ptr {weights}", f"ptr {into}"]
            for at, (_, stride, length) in zip(starts, vectors, strict=True):
                arguments += [f"ptr {at}", f"i64 {stride}", f"i64 {length}"]
            name = _name(stage, index, last - first)
            function.emit(f"call void @{name}({', '.join(arguments)})")
        function.jump(done)
    function.start(done)
