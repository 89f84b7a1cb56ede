"""The operands of products: numbers as they are, rounded to bfloat16, or quantised to int8.

Where the CPU multiplies pairs of bfloat16, two consecutive elements share a slot, the space of one
float32: half the memory, half the multiplications. Elsewhere rounded numbers are stored and
multiplied as float32; their sums are float32 in any case.

Sums of quantised numbers are int32, and exact (`quantised.py`). Where the CPU has dot products of
bytes, four elements share a slot: those of a vector from 1 to 255, with an offset of 128, because
the instruction takes one factor without a sign. Elsewhere two elements of 16 bits share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from anyrnn.kernels.cpu.emit import quantised
from anyrnn.kernels.cpu.emit.assembly import Vectors
from anyrnn.kernels.run import BFLOAT16, INT8


class Operand(Enum):
    """How the matrices and vectors of products are stored."""

    PLAIN = "as they are"
    ROUNDED = "rounded to bfloat16"
    PAIRS = "pairs of bfloat16"
    WORDS = "pairs of int8 in 16 bits each"
    BYTES = "four int8"

    @property
    def precision(self) -> str | None:
        """What elements are rounded to: `bfloat16` or `int8`."""
        return None if self is Operand.PLAIN else INT8 if self.quantised else BFLOAT16

    @property
    def quantised(self) -> bool:
        """Whether they are integers, with a scale for each row."""
        return self in (Operand.WORDS, Operand.BYTES)

    @property
    def each(self) -> int:
        """How many consecutive elements share a slot."""
        return {Operand.PAIRS: 2, Operand.WORDS: 2, Operand.BYTES: 4}.get(self, 1)

    @property
    def offset(self) -> int:
        """What is added to the elements of vectors."""
        return 128 if self is Operand.BYTES else 0

    def slots(self, length: int) -> int:
        """The number of slots that the elements of a vector take."""
        return -(-length // self.each)

    def packed_slots(self, length: int) -> int:
        """The same in a packed matrix: after the elements of each of its rows there may be their
        scale, and what the offset of vectors adds to their products.
        """
        return self.slots(length) + self.quantised + bool(self.offset)

    def copied_slots(self, length: int, lanes: int) -> int:
        """The same in a copy, which is written register by register: its scale follows."""
        return self.slots(-(-length // lanes) * lanes) + self.quantised

    def join(self, v: Vectors, parts: Sequence[str]) -> str:
        """Combine `each` consecutive elements, in every lane; quantised ones are bits."""
        if self is Operand.PLAIN:
            return parts[0]
        if self.quantised:
            width = 32 // self.each
            joined = v.on_bits("and", parts[0], v.integer((1 << width) - 1))
            for place, part in enumerate(parts[1:-1], start=1):
                part = v.on_bits("and", part, v.integer((1 << width) - 1))
                part = v.on_bits("shl", part, v.integer(width * place))
                joined = v.on_bits("or", joined, part)
            part = v.on_bits("shl", parts[-1], v.integer(32 - width))
            return v.floats(v.on_bits("or", joined, part))
        rounded = [rounded_bits(v, part) for part in parts]
        if self is Operand.PAIRS:
            low = v.on_bits("lshr", rounded[0], v.integer(16))
            return v.floats(v.on_bits("or", low, rounded[1]))
        return v.floats(rounded[0])

    def store_row(self, v: Vectors, value: str, start: str, index: str) -> None:
        """Write consecutive elements of a row, from element `index` on."""
        bits = rounded_bits(v, value)
        if self is Operand.ROUNDED:
            v.store(v.floats(bits), v.function.element(start, index, v.scalar))
            return
        self.store_bits(v, v.on_bits("lshr", bits, v.integer(16)), start, index)

    def store_bits(self, v: Vectors, bits: str, start: str, index: str) -> None:
        """Write the lowest bits of integers as consecutive elements of a row."""
        width = 32 // self.each
        short = f"<{v.lanes} x i{width}>"
        low = v.function.value(f"trunc {v.integers} {bits} to {short}", "short")
        at = v.function.element(start, index, f"i{width}")
        v.function.emit(f"store {short} {low}, ptr {at}, align {width // 8}")

    def total_type(self, v: Vectors) -> str:
        """The type of sums of products, in every lane."""
        return v.integers if self.quantised else v.type

    def multiply_add(self, v: Vectors, left: str, right: str, total: str) -> str:
        """Multiply two slots, of a vector and of a matrix, and add the products to a sum, in every
        lane.
        """
        if self.quantised:
            return quantised.multiply_add(v, self.each, left, right, total)
        if self is not Operand.PAIRS:
            return v.fma(left, right, total)
        pairs = f"<{2 * v.lanes} x bfloat>"
        both = [v.function.value(f"bitcast {v.type} {x} to {pairs}") for x in (left, right)]
        return v.function.value(
            f"call {v.type} @llvm.x86.avx512bf16.dpbf16ps.{32 * v.lanes}({v.type} {total}, "
            f"{pairs} {both[0]}, {pairs} {both[1]})"
        )


def load_rounded(v: Vectors, row: str, index: str, short: bool, mask: str | None) -> str:
    """Load consecutive elements of a row of a matrix that is not packed, rounded; `short` says
    whether it is bfloat16 in memory. Lanes outside the mask are zero.
    """
    function = v.function
    if not short:
        return v.floats(rounded_bits(v, v.load(function.element(row, index, v.scalar), mask)))
    at, type_ = function.element(row, index, "i16"), f"<{v.lanes} x i16>"
    if mask is None:
        bits = function.value(f"load {type_}, ptr {at}, align 2", "short")
    else:
        bits = function.value(
            f"call {type_} @llvm.masked.load.v{v.lanes}i16.p0(ptr align 2 {at}, "
            f"{v.booleans} {mask}, {type_} zeroinitializer)",
            "short",
        )
    wide = function.value(f"zext {type_} {bits} to {v.integers}", "bits")
    return v.floats(v.on_bits("shl", wide, v.integer(16)))


def rounded_bits(v: Vectors, value: str) -> str:
    """The bits of float32 numbers rounded to bfloat16: to nearest, ties to even."""
    bits = v.bits(value)
    odd = v.on_bits("and", v.on_bits("lshr", bits, v.integer(16)), v.integer(1))
    rounded = v.on_bits("add", v.on_bits("add", bits, v.integer(0x7FFF)), odd)
    quiet = v.on_bits("or", bits, v.integer(0x400000))  # or rounding could make NaN infinite
    unordered = v.compare("uno", value, value)
    chosen = v.function.value(
        f"select {v.booleans} {unordered}, {v.integers} {quiet}, {v.integers} {rounded}", "bits"
    )
    return v.on_bits("and", chosen, v.integer(-0x10000))
