"""The kernel that packs matrices: it reorders them into the order in which tiles read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from anyrnn.kernels.cpu.emit import quantised
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.entry import entry
from anyrnn.kernels.cpu.emit.operand import Operand


class PackingJob(NamedTuple):
    """A matrix to pack; steps and strides count elements, and how many there are may vary."""

    units: Any  # the number of rows
    length: Any  # the number of columns
    element_step: int  # the distance of two columns, or pairs of columns, in the packed matrix
    vectors: Any  # the width of a block of units, in vector registers
    all_vectors: Any  # the width of all blocks: rows beyond `units` become zeros
    block_step: int = 0  # the distance of two blocks in the packed matrix
    destination: int = 0  # the address of the first packed element
    source: int = 0  # the address of the first element of the matrix
    unit_stride: int = 0  # the distance of two rows of the matrix
    element_stride: int = 0  # the distance of two columns of the matrix
    places: int = 0  # the address of the row of the matrix of each unit, if rows are anywhere


Visit = Callable[[Sequence[str], str], None]


class _Packing:
    """Writes the kernel."""

    def __init__(self, arithmetic: Arithmetic, placed: bool) -> None:
        self.placed, self.operand, self.lanes = placed, arithmetic.operand, arithmetic.lanes
        self.function = arithmetic.kernel()
        self.v = arithmetic.vectors(self.function)

    def write(self) -> str:
        """The text of the kernel: its record is the address of the jobs, their number, the index of
        the thread, the number of threads.
        """
        function = self.function
        jobs, count, thread, threads = (
            function.value(f"load i64, ptr {function.element('%record', str(index), 'i64')}")
            for index in range(4)
        )
        table = function.value(f"inttoptr i64 {jobs} to ptr", "jobs")
        with function.loop("job", "0", count) as number:
            fields = len(PackingJob._fields)
            start = function.integer("mul", number, fields)
            given = []
            for index in range(fields):
                at = function.element(table, function.integer("add", start, index), "i64")
                given.append(function.value(f"load i64, ptr {at}", "given"))
            self.given = dict(zip(PackingJob._fields, given, strict=True))
            for name in ("source", "destination", "places"):
                self.given[name] = function.value(f"inttoptr i64 {self.given[name]} to ptr", name)
            share = function.integer("mul", self.given["all_vectors"], thread)
            first = function.integer("sdiv", share, threads)
            share = function.integer("add", share, self.given["all_vectors"])
            last = function.integer("sdiv", share, threads)
            with function.loop("vector", first, last) as vector:
                self._vector(vector)
        return function.text()

    def _vector(self, vector: str) -> None:
        """One vector of units."""
        function, given = self.function, self.given
        block = function.integer("sdiv", vector, given["vectors"])
        inner = function.integer("srem", vector, given["vectors"])
        start = function.integer("mul", block, given["block_step"])
        start = function.integer("add", start, function.integer("mul", inner, self.lanes))
        destination = function.element(given["destination"], start, self.v.scalar)
        unit = function.integer("mul", vector, self.lanes)
        source = given["source"]
        if self.placed:
            self.places = function.element(given["places"], unit, "i64")
        else:
            offset = function.integer("mul", unit, given["unit_stride"])
            source = function.element(source, offset, self.v.scalar)
        left = function.integer("sub", given["units"], unit)
        if self.operand.quantised:
            self._quantised(source, destination, left)
            return

        def store(values: Sequence[str], element: str) -> None:
            self.v.store(self.operand.join(self.v, values), self._packed(destination, element))

        self._visit(source, left, store, destination)

    def _quantised(self, source: str, destination: str, left: str) -> None:
        """Quantise a vector of units; after its elements their scale, and what the offset of the
        elements of vectors adds to their products.
        """
        function, v, operand = self.function, self.v, self.operand
        peak, total = quantised.Peak(v), function.early(f"alloca {v.type}, align 64", "sum")
        v.store("zeroinitializer", total)

        def compare(values: Sequence[str], element: str) -> None:
            for value in values:
                peak.include(value)

        self._visit(source, left, compare)
        into, back = quantised.scales(v, peak.bits)

        def store(values: Sequence[str], element: str) -> None:
            parts = [quantised.quantise(v, value, into) for value in values]
            v.store(operand.join(v, parts), self._packed(destination, element))
            so_far = v.bits(v.load(total))
            for part in parts if operand.offset else ():
                so_far = v.on_bits("add", so_far, quantised.whole(v, part))
            v.store(v.floats(so_far), total)

        self._visit(source, left, store)
        after = function.integer("add", self.given["length"], operand.each - 1)
        v.store(back, self._packed(destination, after))
        if operand.offset:
            added = v.on_bits("mul", v.bits(v.load(total)), v.integer(operand.offset))
            following = function.integer("add", after, operand.each)
            v.store(v.floats(added), self._packed(destination, following))

    def _visit(self, source: str, left: str, visit: Visit, destination: str | None = None) -> None:
        """Visit the columns that share a slot, one slot after the other: of whole vectors of a
        row-major or a column-major matrix, or any other. What is stored as it is may be gathered at
        its destination.
        """
        function, given = self.function, self.given
        whole = function.value(f"icmp sge i64 {left}, {self.lanes}", "whole")
        with function.either(self._steps_by_one(whole, given["element_stride"]), "pack") as rest:
            self._transposed(source, visit, destination)
            rest()
            if self.placed:
                self._one_by_one(source, visit, destination, "0", left)
                return
            with function.either(self._steps_by_one(whole, given["unit_stride"]), "pack") as rest:
                self._along_columns(source, visit)
                rest()
                self._one_by_one(source, visit, destination, "0", left)

    def _steps_by_one(self, whole: str, stride: str) -> str:
        """Whether a vector is whole, and a stride is one."""
        one = self.function.value(f"icmp eq i64 {stride}, 1", "one")
        return self.function.value(f"and i1 {whole}, {one}", "both")

    def _unit(self, lane: str | int) -> str:
        """Where the row of one unit of a vector begins, in elements."""
        function = self.function
        if self.placed:
            at = function.element(self.places, str(lane), "i64")
            lane = function.value(f"load i64, ptr {at}", "place")
        return function.integer("mul", self.given["unit_stride"], lane)

    def _packed(self, destination: str, element: str) -> str:
        """Where the slot of an element is."""
        function, each = self.function, self.operand.each
        number = function.integer("sdiv", element, each) if each > 1 else element
        step = function.integer("mul", number, self.given["element_step"])
        return function.element(destination, step, self.v.scalar)

    def _along_columns(self, source: str, visit: Visit) -> None:
        """The columns of a column-major matrix, which are as tiles read them."""
        function, v, length, each = self.function, self.v, self.given["length"], self.operand.each

        def column(element: str) -> str:
            offset = function.integer("mul", element, self.given["element_stride"])
            return v.load(function.element(source, offset, v.scalar))

        rest = function.integer("srem", length, each)
        whole = function.integer("sub", length, rest)
        with function.loop("element", "0", whole, str(each)) as element:
            visit([column(function.integer("add", element, part)) for part in range(each)], element)
        for count in range(1, each):
            some = function.value(f"icmp eq i64 {rest}, {count}", "some")
            with function.when(some, "rest"):
                parts = [column(function.integer("add", whole, part)) for part in range(count)]
                visit([*parts, *["zeroinitializer"] * (each - count)], whole)

    def _transposed(self, source: str, visit: Visit, destination: str | None) -> None:
        """Transpose square blocks of a row-major matrix; the last columns one by one."""
        function, v, length = self.function, self.v, self.given["length"]
        rest = function.integer("srem", length, self.lanes)
        whole = function.integer("sub", length, rest)
        starts = [*map(self._unit, range(self.lanes))]
        with function.loop("square", "0", whole, str(self.lanes)) as element:
            rows = []
            for start in starts:
                offset = function.integer("add", start, element)
                rows.append(v.load(function.element(source, offset, v.scalar)))
            columns = v.transpose(rows)
            for number in range(0, self.lanes, self.operand.each):
                parts = columns[number : number + self.operand.each]
                visit(parts, function.integer("add", element, number))
        self._one_by_one(source, visit, destination, whole, str(self.lanes))

    def _one_by_one(
        self, source: str, visit: Visit, destination: str | None, first: str, left: str
    ) -> None:
        """Element by element; zero beyond the last unit."""
        function, v, each = self.function, self.v, self.operand.each
        plain = self.operand is Operand.PLAIN and destination is not None
        parts = []  # rounding needs whole vectors: they are gathered here first
        if not plain:
            parts = [function.early(f"alloca {v.type}, align 64", "part") for _ in range(each)]
        with function.loop("element", first, self.given["length"], str(each)) as element:
            if plain:
                assert destination is not None
                self._gather(source, element, left, self._packed(destination, element))
            for number, part in enumerate(parts):
                self._gather(source, function.integer("add", element, number), left, part)
            if parts:
                visit([v.load(part) for part in parts], element)

    def _gather(self, source: str, element: str, left: str, at: str) -> None:
        """An element of each row; zero beyond the last unit or the last element."""
        function, given, scalar = self.function, self.given, self.v.scalar
        self.v.store("zeroinitializer", at)
        there = function.value(f"icmp slt i64 {element}, {given['length']}", "there")
        count = function.smaller(left, str(self.lanes))
        count = function.value(f"select i1 {there}, i64 {count}, i64 0", "count")
        with function.loop("lane", "0", count) as lane:
            start = function.integer("mul", element, given["element_stride"])
            offset = function.integer("add", start, self._unit(lane))
            value = function.element(source, offset, scalar)
            value = function.value(f"load {scalar}, ptr {value}")
            function.emit(f"store {scalar} {value}, ptr {function.element(at, lane, scalar)}")


def kernel(arithmetic: Arithmetic, placed: bool = False) -> str:
    """The module that packs matrices of one type, whose rows are at the `places` of jobs or one
    after another.
    """
    return "\n\n".join([_Packing(arithmetic, placed).write(), entry(4, arithmetic.processor)])
