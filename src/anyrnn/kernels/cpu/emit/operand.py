"""The operands of products: numbers as they are, or rounded to bfloat16.

The sums are float32 in any case. Where the CPU multiplies pairs of bfloat16, two consecutive
elements share a slot, the space of one float32: half the memory, half the multiplications.
Elsewhere rounded numbers are stored and multiplied as float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from anyrnn.kernels.cpu.emit.assembly import Vectors


class Operand(Enum):
    """How the matrices and vectors of products are stored."""

    PLAIN = "as they are"
    ROUNDED = "rounded to bfloat16"
    PAIRS = "pairs of bfloat16"

    @property
    def each(self) -> int:
        """How many consecutive elements share a slot."""
        return 2 if self is Operand.PAIRS else 1

    def slots(self, length: int) -> int:
        """The number of slots that the elements of a vector take."""
        return -(-length // self.each)

    def join(self, v: Vectors, parts: Sequence[str]) -> str:
        """Combine `each` consecutive elements, in every lane."""
        if self is Operand.PLAIN:
            return parts[0]
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
        short = f"<{v.lanes} x i16>"
        high = v.on_bits("lshr", bits, v.integer(16))
        high = v.function.value(f"trunc {v.integers} {high} to {short}", "short")
        at = v.function.element(start, index, "i16")
        v.function.emit(f"store {short} {high}, ptr {at}, align 2")

    def multiply_add(self, v: Vectors, left: str, right: str, total: str) -> str:
        """Multiply two slots, and add the products to a sum, in every lane."""
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
