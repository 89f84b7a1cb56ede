"""Products with matrices that are not packed: dot products along the rows.

Each lane of a register accumulates every `lanes`-th element of a row; the lanes are added at the
end. A single step reads each matrix once, so packing it would cost more than it saves.
"""

from __future__ import annotations

from collections.abc import Iterable

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.assembly import Function, Vectors
from anyrnn.kernels.cpu.emit.context import Context
from anyrnn.kernels.cpu.emit.operand import Operand, load_rounded
from anyrnn.kernels.cpu.emit.operand_copies import rows_of
from anyrnn.kernels.cpu.emit.record import ArrayFields, Field
from anyrnn.kernels.cpu.emit.tiles import DOT_ROWS, Group


def _name(rows: int, terms: int) -> str:
    """The name of the function for a number of vectors and of products that are added."""
    return f"dots.{rows}.{terms}"


def functions(arithmetic: Arithmetic, terms: Iterable[int]) -> list[str]:
    """The text of the functions for 1, 2 and 4 vectors, and for some numbers of terms of a sum.

    Arguments: of each term the first row of the matrix, the stride of its rows, the first vector,
    the stride of the vectors, their length; the number of rows of the matrices; where the sums of
    the first vector go, and the stride to those of the next one. A vector has one register of sums;
    where the matrices have fewer rows, the other lanes are undefined.
    """
    counts = [1 << power for power in range(DOT_ROWS.bit_length())]
    return [_function(arithmetic, rows, number) for number in terms for rows in counts]


def _function(arithmetic: Arithmetic, rows: int, terms: int) -> str:
    arguments = []
    for term in range(terms):
        arguments += [("ptr", f"matrix{term}"), ("i64", f"stride{term}"), ("ptr", f"x{term}")]
        arguments += [("i64", f"x_stride{term}"), ("i64", f"length{term}")]
    arguments += [("i64", "units"), ("ptr", "sums"), ("i64", "sums_stride")]
    function = Function(_name(rows, terms), arguments, arithmetic.attributes)
    v = arithmetic.vectors(function)
    at_once = min(rows, v.lanes)
    each = v.lanes // at_once  # rows of the matrices
    last = function.integer("sub", "%units", 1)
    sums = [function.early(f"alloca {v.type}, align 64", "sum") for _ in range(v.lanes)]
    for first_row in range(0, rows, at_once):
        for start in range(0, v.lanes, each):
            for place in sums:
                v.store("zeroinitializer", place)
            units = [function.smaller(str(start + unit), last) for unit in range(each)]
            for term in range(terms):
                at = range(first_row, first_row + at_once)
                _accumulate(v, arithmetic, term, units, at, sums)
            totals = v.totals([v.load(place) for place in sums])
            for number in range(at_once):
                offset = function.integer("mul", "%sums_stride", first_row + number)
                offset = function.integer("add", offset, start)
                at = function.element("%sums", offset, v.scalar)
                v.store_part(totals, number * each, each, at)
    return function.text()


def _accumulate(
    v: Vectors, arithmetic: Arithmetic, term: int, units: list[str], rows: range, sums: list[str]
) -> None:
    """Accumulate the products of some rows of a matrix with some vectors, lane by lane."""
    function = v.function

    def starts(pointer: str, stride: str, places: Iterable[str | int], type_: str) -> list[str]:
        offsets = [function.integer("mul", stride, place) for place in places]
        return [function.element(pointer, offset, type_) for offset in offsets]

    matrix_rows = starts(f"%matrix{term}", f"%stride{term}", units, arithmetic.matrix_element)
    vectors = starts(f"%x{term}", f"%x_stride{term}", rows, v.scalar)

    def load(row: str, at: str, mask: str | None) -> str:
        if arithmetic.operand is Operand.PLAIN:
            return v.load(function.element(row, at, v.scalar), mask)
        return load_rounded(v, row, at, arithmetic.short, mask)

    def add(at: str, mask: str | None) -> None:
        weights = [load(row, at, mask) for row in matrix_rows]
        for number, vector in enumerate(vectors):
            x = v.load(function.element(vector, at, v.scalar), mask)
            for unit, weight in enumerate(weights):
                place = sums[number * len(units) + unit]
                v.store(v.fma(weight, x, v.load(place)), place)

    v.over("element", f"%length{term}", add)


def call(
    context: Context,
    stage: int,
    index: int,
    group: Group,
    unit: str,
    row: str,
    count: str,
    offset: int,
) -> None:
    """Call the functions for 4, 2 and 1 rows, as many times as there are rows in a tile; the sums
    go to the thread's own memory, from `offset` on.
    """
    function, v = context.function, context.v
    fields = context.record.stages[stage]
    left = function.integer("sub", context.word(fields.size), unit)
    step = len(group.accumulators) * v.lanes  # from the sums of a row to those of the next one
    rows = DOT_ROWS
    while rows:
        bit = function.integer("and", count, rows)
        there = function.value(f"icmp ne i64 {bit}, 0", "there")
        done = function.integer("and", count, -2 * rows)  # rows of the calls before
        with function.when(there, f"dots{rows}"):
            here = function.integer("add", row, done)
            start = function.integer("add", function.integer("mul", done, step), offset)
            for place, matrices in enumerate(fields.groups[index].matrices):
                sums = context.scratch(function.integer("add", start, place * v.lanes))
                lengths = fields.groups[index].lengths
                terms = zip(matrices, group.vectors, lengths, strict=True)
                arguments = [_term(context, *term, unit, here) for term in terms]
                arguments.append(f"i64 {left}, ptr {sums}, i64 {step}")
                called = _name(rows, len(group.vectors))
                function.emit(f"call void @{called}({', '.join(arguments)})")
        rows //= 2


def _term(
    context: Context, matrix: ArrayFields, vector: Node, length: Field, unit: str, row: str
) -> str:
    """The arguments of a term: its matrix from a unit on, its vector of a row."""
    function, stride = context.function, context.word(matrix.stride)
    first = function.integer("mul", unit, stride)
    type_ = context.arithmetic.matrix_element
    weights = function.element(context.word(matrix.address), first, type_)
    address, vector_stride = rows_of(context, vector, row)
    return (
        f"ptr {weights}, i64 {stride}, ptr {address}, i64 {vector_stride}, "
        f"i64 {context.word(length)}"
    )
