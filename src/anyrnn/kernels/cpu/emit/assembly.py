"""Builders of LLVM IR as text: functions with their control flow, and vector arithmetic."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

import numpy as np


class Function:
    """A function and its control flow."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[tuple[str, str]],
        attributes: str = "",
        internal: bool = True,
    ) -> None:
        linkage = "internal " if internal else ""
        listed = ", ".join(f"{type_} %{argument}" for type_, argument in arguments)
        self.head = f"define {linkage}void @{name}({listed}) {attributes} {{"
        self.first: list[str] = []
        self.lines: list[str] = []
        self.block = "entry"
        self.numbers: dict[str, int] = {}

    def name(self, hint: str) -> str:
        """A name that nothing else in the function has."""
        number = self.numbers.get(hint, 0)
        self.numbers[hint] = number + 1
        return f"{hint}.{number}"

    def emit(self, line: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {line}")

    def early(self, expression: str, hint: str) -> str:
        """Append an instruction to the entry block, where every use sees its result."""
        name = "%" + self.name(hint)
        self.first.append(f"  {name} = {expression}")
        return name

    def value(self, expression: str, hint: str = "v") -> str:
        """Append an instruction: the register of its result."""
        name = "%" + self.name(hint)
        self.emit(f"{name} = {expression}")
        return name

    def start(self, block: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{block}:")
        self.block = block

    def jump(self, block: str) -> None:
        """End the block with an unconditional branch."""
        self.emit(f"br label %{block}")

    def branch(self, condition: str, then: str, otherwise: str) -> None:
        """End the block with a conditional branch."""
        self.emit(f"br i1 {condition}, label %{then}, label %{otherwise}")

    @contextmanager
    def when(self, condition: str, hint: str) -> Iterator[None]:
        """Code that runs only if a condition holds."""
        inside, after = self.name(f"{hint}.then"), self.name(f"{hint}.after")
        self.branch(condition, inside, after)
        self.start(inside)
        yield
        self.jump(after)
        self.start(after)

    @contextmanager
    def either(self, condition: str, hint: str) -> Iterator[Callable[[], None]]:
        """Code that runs if a condition holds and, once the function that this yields is called,
        code that runs if not.
        """
        then, otherwise, after = (self.name(f"{hint}.{n}") for n in ("then", "else", "after"))
        self.branch(condition, then, otherwise)
        self.start(then)

        def change() -> None:
            self.jump(after)
            self.start(otherwise)

        yield change
        self.jump(after)
        self.start(after)

    def alternate(self, writers: Sequence[Callable[[], None]]) -> None:
        """Interleave the instructions of several writers, none of which branches."""
        before = self.lines
        parts = []
        for write in writers:
            self.lines = []
            write()
            parts.append(self.lines)
        turns = zip_longest(*parts)
        self.lines = before + [line for turn in turns for line in turn if line is not None]

    def repeat(self, head: str) -> Callable[[Iterable[tuple[str, str, str, str]]], None]:
        """Begin a basic block that runs again and again. Called at the end of the last block of the
        loop, what this returns says what is carried from one time to the next: of each value the
        register, the type, what it is at first, and what it is next.
        """
        before, slot = self.block, len(self.lines) + 2
        self.jump(head)
        self.start(head)
        self.lines.append("")

        def carry(values: Iterable[tuple[str, str, str, str]]) -> None:
            self.lines[slot] = "\n".join(
                f"  {name} = phi {type_} [{first}, %{before}], [{following}, %{self.block}]"
                for name, type_, first, following in values
            )

        return carry

    @contextmanager
    def loop(self, hint: str, first: str, last: str, step: str = "1") -> Iterator[str]:
        """A loop over the integers of a half-open range: the index."""
        head, body, end = (self.name(f"{hint}.{part}") for part in ("head", "body", "end"))
        index, following = "%" + self.name(hint), "%" + self.name(f"{hint}.next")
        carry = self.repeat(head)
        inside = self.value(f"icmp slt i64 {index}, {last}", f"{hint}.inside")
        self.branch(inside, body, end)
        self.start(body)
        yield index
        self.emit(f"{following} = add nsw i64 {index}, {step}")
        carry([(index, "i64", first, following)])
        self.jump(head)
        self.start(end)

    def element(self, pointer: str, index: str, type_: str) -> str:
        """The address of an element."""
        return self.value(f"getelementptr inbounds {type_}, ptr {pointer}, i64 {index}", "at")

    def integer(self, operation: str, left: str | int, right: str | int) -> str:
        """An operation on integers of 64 bits."""
        return self.value(f"{operation} i64 {left}, {right}", "n")

    def splat(self, scalar: str, number: str, lanes: int) -> str:
        """A vector with a scalar in all lanes."""
        type_ = f"<{lanes} x {scalar}>"
        first = self.value(f"insertelement {type_} poison, {scalar} {number}, i64 0")
        return self.value(
            f"shufflevector {type_} {first}, {type_} poison, <{lanes} x i32> zeroinitializer"
        )

    def smaller(self, left: str, right: str) -> str:
        """The smaller of two integers."""
        less = self.value(f"icmp slt i64 {left}, {right}", "less")
        return self.value(f"select i1 {less}, i64 {left}, i64 {right}", "least")

    def text(self) -> str:
        """The text of the function."""
        return "\n".join([self.head, "entry:", *self.first, *self.lines, "  ret void", "}"])


class Vectors:
    """Arithmetic on vectors of `lanes` numbers, which are float64 if `double`; `fused` says whether
    the CPU has a fused multiply-add.
    """

    def __init__(self, function: Function, lanes: int, double: bool, fused: bool) -> None:
        self.function = function
        self.lanes = lanes
        self.double = double
        self.fused = fused
        self.scalar, self.size = ("double", 8) if double else ("float", 4)
        self.short = f"v{lanes}f{64 if double else 32}"
        self.type = f"<{lanes} x {self.scalar}>"
        self.integers = f"<{lanes} x i{64 if double else 32}>"
        self.booleans = f"<{lanes} x i1>"

    def literal(self, number: float) -> str:
        """A scalar as LLVM writes it: the bits of the nearest double or float, as a double."""
        if not self.double:
            with np.errstate(over="ignore"):  # an infinity, if float32 does not reach so far
                number = float(np.float32(number))
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"

    def constant(self, number: float) -> str:
        """A vector with one number in all lanes."""
        return f"splat ({self.scalar} {self.literal(number)})"

    def integer(self, number: int) -> str:
        """A vector with one integer in all lanes."""
        return f"splat (i{64 if self.double else 32} {number})"

    def bits_of(self, number: float) -> str:
        """A vector with the bits of one number in all lanes."""
        code = ("<d", "<q") if self.double else ("<f", "<i")
        return self.integer(struct.unpack(code[1], struct.pack(code[0], number))[0])

    def add(self, left: str, right: str) -> str:
        """Sum."""
        return self.function.value(f"fadd {self.type} {left}, {right}")

    def subtract(self, left: str, right: str) -> str:
        """Difference."""
        return self.function.value(f"fsub {self.type} {left}, {right}")

    def multiply(self, left: str, right: str) -> str:
        """Product."""
        return self.function.value(f"fmul {self.type} {left}, {right}")

    def divide(self, left: str, right: str) -> str:
        """Quotient."""
        return self.function.value(f"fdiv {self.type} {left}, {right}")

    def negative(self, value: str) -> str:
        """The same with the other sign."""
        return self.function.value(f"fneg {self.type} {value}")

    def call(self, intrinsic: str, *values: str) -> str:
        """An intrinsic of LLVM on vectors."""
        listed = ", ".join(f"{self.type} {value}" for value in values)
        return self.function.value(f"call {self.type} @llvm.{intrinsic}.{self.short}({listed})")

    def fma(self, left: str, right: str, third: str) -> str:
        """left * right + third, rounded once where the CPU has a fused multiply-add."""
        return self.call("fmuladd", left, right, third)

    def polynomial(self, variable: str, coefficients: Sequence[float]) -> str:
        """A polynomial, highest power first."""
        result = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            result = self.fma(result, variable, self.constant(coefficient))
        return result

    def compare(self, relation: str, left: str, right: str) -> str:
        """A comparison (`ogt`, `oge`, `uno`, ...): a vector of booleans."""
        return self.function.value(f"fcmp {relation} {self.type} {left}, {right}", "holds")

    def select(self, condition: str, then: str, otherwise: str) -> str:
        """Element by element, one of two vectors."""
        return self.function.value(
            f"select {self.booleans} {condition}, {self.type} {then}, {self.type} {otherwise}"
        )

    def least(self, value: str, bound: float) -> str:
        """The smaller of a value and a bound; NaN stays NaN."""
        above = self.compare("ogt", value, self.constant(bound))
        return self.select(above, self.constant(bound), value)

    def most(self, value: str, bound: float) -> str:
        """The larger of a value and a bound; NaN stays NaN."""
        below = self.compare("olt", value, self.constant(bound))
        return self.select(below, self.constant(bound), value)

    def bits(self, value: str) -> str:
        """The bits of floats as integers."""
        return self.function.value(f"bitcast {self.type} {value} to {self.integers}", "bits")

    def floats(self, bits: str) -> str:
        """Floats from their bits."""
        return self.function.value(f"bitcast {self.integers} {bits} to {self.type}")

    def on_bits(self, operation: str, left: str, right: str) -> str:
        """An operation on vectors of integers."""
        return self.function.value(f"{operation} {self.integers} {left}, {right}", "bits")

    def splat(self, number: str) -> str:
        """A vector with a scalar in all lanes."""
        return self.function.splat(self.scalar, number, self.lanes)

    def load_number(self, pointer: str) -> str:
        """A vector with a scalar in memory in all lanes."""
        return self.splat(self.function.value(f"load {self.scalar}, ptr {pointer}", "number"))

    def load(
        self, pointer: str, mask: str | None = None, otherwise: str = "zeroinitializer"
    ) -> str:
        """A vector in memory; where the mask is false, `otherwise`."""
        if mask is None:
            return self.function.value(f"load {self.type}, ptr {pointer}, align {self.size}")
        return self.function.value(
            f"call {self.type} @llvm.masked.load.{self.short}.p0(ptr align {self.size} {pointer}, "
            f"{self.booleans} {mask}, {self.type} {otherwise})"
        )

    def store(self, value: str, pointer: str, mask: str | None = None) -> None:
        """Write a vector to memory, only where a mask is true."""
        if mask is None:
            self.function.emit(f"store {self.type} {value}, ptr {pointer}, align {self.size}")
        else:
            self.function.emit(
                f"call void @llvm.masked.store.{self.short}.p0({self.type} {value}, "
                f"ptr align {self.size} {pointer}, {self.booleans} {mask})"
            )

    def mask(self, count: str) -> str:
        """A mask of the first elements."""
        lanes = ", ".join(f"i64 {lane}" for lane in range(self.lanes))
        counts = self.function.splat("i64", count, self.lanes)
        return self.function.value(f"icmp slt <{self.lanes} x i64> <{lanes}>, {counts}", "mask")

    def over(self, hint: str, length: str, write: Callable[[str, str | None], None]) -> None:
        """A loop over the vectors of an array, and what is left of it with a mask; `write` gets the
        index of the first element and the mask.
        """
        function = self.function
        rest = function.integer("srem", length, self.lanes)
        whole = function.integer("sub", length, rest)
        with function.loop(hint, "0", whole, str(self.lanes)) as at:
            write(at, None)
        some = function.value(f"icmp sgt i64 {rest}, 0", "some")
        with function.when(some, "rest"):
            write(whole, self.mask(rest))

    def shuffle(self, left: str, right: str, places: Sequence[int]) -> str:
        """Elements of two vectors by their indices; those of the second follow the first's."""
        listed = ", ".join(f"i32 {place}" for place in places)
        return self.function.value(
            f"shufflevector {self.type} {left}, {self.type} {right}, "
            f"<{self.lanes} x i32> <{listed}>"
        )

    def store_part(self, value: str, start: int, count: int, pointer: str) -> None:
        """Write consecutive elements to memory."""
        listed = ", ".join(f"i32 {start + place}" for place in range(count))
        part = self.function.value(
            f"shufflevector {self.type} {value}, {self.type} poison, <{count} x i32> <{listed}>"
        )
        type_ = f"<{count} x {self.scalar}>"
        self.function.emit(f"store {type_} {part}, ptr {pointer}, align {self.size}")

    def _halves(self, distance: int) -> tuple[list[int], list[int]]:
        """The shuffles that exchange blocks between two rows a distance apart."""
        lanes = range(self.lanes)
        other = self.lanes - distance
        first = [lane + (other if lane & distance else 0) for lane in lanes]
        second = [lane + (self.lanes if lane & distance else distance) for lane in lanes]
        return first, second

    def transpose(self, rows: Sequence[str]) -> list[str]:
        """Transpose a square block of as many rows as a vector has lanes."""
        values = list(rows)
        distance = self.lanes // 2
        while distance:
            first, second = self._halves(distance)
            for row in range(self.lanes):
                if not row & distance:
                    left, right = values[row], values[row + distance]
                    values[row] = self.shuffle(left, right, first)
                    values[row + distance] = self.shuffle(left, right, second)
            distance //= 2
        return values

    def totals(self, rows: Sequence[str]) -> str:
        """A vector with the sum of each row, of as many rows as a vector has lanes."""
        values = list(rows)
        distance = self.lanes // 2
        while distance:
            first, second = self._halves(distance)
            values = [
                self.add(self.shuffle(left, right, first), self.shuffle(left, right, second))
                for left, right in zip(values[:distance], values[distance:], strict=True)
            ]
            distance //= 2
        return values[0]

    def total(self, value: str) -> str:
        """The sum of the lanes, as a scalar."""
        return self.function.value(
            f"call reassoc {self.scalar} @llvm.vector.reduce.fadd.{self.short}("
            f"{self.scalar} {self.literal(-0.0)}, {self.type} {value})",
            "total",
        )

    def largest(self, value: str) -> str:
        """The largest lane, as a scalar."""
        return self.function.value(
            f"call {self.scalar} @llvm.vector.reduce.fmax.{self.short}({self.type} {value})",
            "largest",
        )
