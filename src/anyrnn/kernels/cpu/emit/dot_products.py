"""Products of vectors with the rows of a matrix as it is in memory.

Each lane of a register sums every so many elements; at the end the lanes are added. For a single
step this is better than packing the matrix first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anyrnn.kernels.cpu.emit.assembly import Function, Vectors
from anyrnn.kernels.cpu.emit.entry import attributes
from anyrnn.kernels.cpu.emit.operand import Operand, load_rounded
from anyrnn.kernels.cpu.machine.processor import Processor

ROWS = 4  # the most vectors that are multiplied at a time; a power of two


def name(rows: int, terms: int) -> str:
    """The name of the function for a number of vectors and of products that are added."""
    return f"dots.{rows}.{terms}"


@dataclass(frozen=True)
class Kind:
    """What the functions multiply.

    Attributes:
        double: float64 instead of float32.
        operand: What numbers are rounded to; the vectors are already.
        short: Whether the matrices are bfloat16 in memory.
    """

    double: bool
    operand: Operand = Operand.PLAIN
    short: bool = False

    @property
    def element(self) -> str:
        """An element of a matrix, as LLVM calls it."""
        return "i16" if self.short else "double" if self.double else "float"


def functions(target: Processor, kind: Kind, terms: Iterable[int]) -> list[str]:
    """The text of the functions for 1, 2 and 4 vectors, and for sums of some numbers of products.

    Arguments: of each product the first row of the matrix, the step to the next one, the first
    vector, the step to the next one, their length; the number of the matrices' rows; the sums of
    the first vector, the step to those of the next one. The sums of one vector are as many as a
    register has elements; where the matrices have fewer rows, the rest is undefined.
    """
    counts = [1 << power for power in range(ROWS.bit_length())]
    return [_function(target, kind, rows, number) for number in terms for rows in counts]


def _function(target: Processor, kind: Kind, rows: int, terms: int) -> str:
    arguments = []
    for term in range(terms):
        arguments += [("ptr", f"matrix{term}"), ("i64", f"stride{term}"), ("ptr", f"x{term}")]
        arguments += [("i64", f"x_stride{term}"), ("i64", f"length{term}")]
    arguments += [("i64", "units"), ("ptr", "sums"), ("i64", "sums_stride")]
    function = Function(name(rows, terms), arguments, attributes(target))
    v = Vectors(function, target.lanes(kind.double), kind.double)
    at_once = min(rows, v.lanes)
    each = v.lanes // at_once  # rows of a matrix at a time
    last = function.integer("sub", "%units", 1)
    sums = [function.early(f"alloca {v.type}, align 64", "sum") for _ in range(v.lanes)]
    for first_row in range(0, rows, at_once):
        for start in range(0, v.lanes, each):
            for place in sums:
                v.store("zeroinitializer", place)
            units = [function.smaller(str(start + unit), last) for unit in range(each)]
            for term in range(terms):
                _accumulate(v, kind, term, units, range(first_row, first_row + at_once), sums)
            totals = v.totals([v.load(place) for place in sums])
            for number in range(at_once):
                offset = function.integer("mul", "%sums_stride", first_row + number)
                offset = function.integer("add", offset, start)
                at = function.element("%sums", offset, v.scalar)
                v.store_part(totals, number * each, each, at)
    return function.text()


def _accumulate(
    v: Vectors, kind: Kind, term: int, units: list[str], rows: range, sums: list[str]
) -> None:
    """Add the products of some rows of a matrix with some vectors, lane by lane."""
    function = v.function

    def starts(pointer: str, stride: str, places: Iterable[str | int], type_: str) -> list[str]:
        offsets = [function.integer("mul", stride, place) for place in places]
        return [function.element(pointer, offset, type_) for offset in offsets]

    matrix_rows = starts(f"%matrix{term}", f"%stride{term}", units, kind.element)
    vectors = starts(f"%x{term}", f"%x_stride{term}", rows, v.scalar)

    def load(row: str, at: str, mask: str | None) -> str:
        if kind.operand is Operand.PLAIN:
            return v.load(function.element(row, at, v.scalar), mask)
        return load_rounded(v, row, at, kind.short, mask)

    def add(at: str, mask: str | None) -> None:
        weights = [load(row, at, mask) for row in matrix_rows]
        for number, vector in enumerate(vectors):
            x = v.load(function.element(vector, at, v.scalar), mask)
            for unit, weight in enumerate(weights):
                place = sums[number * len(units) + unit]
                v.store(v.fma(weight, x, v.load(place)), place)

    rest = function.integer("srem", f"%length{term}", v.lanes)
    whole = function.integer("sub", f"%length{term}", rest)
    with function.loop("element", "0", whole, str(v.lanes)) as at:
        add(at, None)
    some = function.value(f"icmp sgt i64 {rest}, 0", "some")
    with function.when(some, "rest"):
        add(whole, v.mask(rest))
