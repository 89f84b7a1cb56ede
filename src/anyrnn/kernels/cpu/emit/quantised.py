"""Numbers quantised to int8: q = round(127 x / peak), with one peak, the largest magnitude, for
each row of a matrix or of a vector. The sum of the products of two rows is peak peak' / 127^2 times
the sum of those of integers, which int32 holds exactly (`kernels/int8.py`: `LONGEST`).

A row of zeros, or of magnitudes below `LEAST`, counts as zeros. Of a row with a NaN or an infinity
all products are NaN.
"""

from __future__ import annotations

from anyrnn.kernels.cpu.emit.assembly import Vectors

LARGEST = 127.0  # the largest magnitude of an integer
LEAST = 0x04000000  # the bits of 2^-119: 127 divided by less could be infinite
INFINITY = 0x7F800000  # its bits
ROUNDING = 1.5 * 2**23  # added to a number, the lowest bits of the sum are the nearest integer
ROUNDING_BITS = 0x4B400000


def declaration(lanes: int) -> str:
    """That of the instruction for four bytes, as LLVM 21 has it; newer ones know it."""
    integers = f"<{lanes} x i32>"
    name = f"@llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    return f"declare {integers} {name}({integers}, {integers}, {integers})"


def multiply_add(v: Vectors, each: int, left: str, right: str, total: str) -> str:
    """Add the products of `each` integers of a slot of a vector and of one of a matrix."""
    if each == 4:
        left, right = v.bits(left), v.bits(right)
        return v.function.value(
            f"call {v.integers} @llvm.x86.avx512.vpdpbusd.{32 * v.lanes}({v.integers} {total}, "
            f"{v.integers} {left}, {v.integers} {right})",
            "total",
        )
    name = {16: "avx512.pmaddw.d.512", 8: "avx2.pmadd.wd"}.get(v.lanes)
    if name is None:
        for shift in (0, 16):
            parts = [v.on_bits("shl", v.bits(slot), v.integer(shift)) for slot in (left, right)]
            both = [v.on_bits("ashr", part, v.integer(16)) for part in parts]
            total = v.on_bits("add", total, v.on_bits("mul", *both))
        return total
    words = f"<{2 * v.lanes} x i16>"
    both = [v.function.value(f"bitcast {v.type} {slot} to {words}") for slot in (left, right)]
    products = v.function.value(
        f"call {v.integers} @llvm.x86.{name}({words} {both[0]}, {words} {both[1]})"
    )
    return v.on_bits("add", total, products)


class Peak:
    """The largest magnitude so far, in every lane; the bits of magnitudes are in their order."""

    def __init__(self, v: Vectors) -> None:
        self.v = v
        self.place = v.function.early(f"alloca {v.type}, align 64", "peak")
        v.store("zeroinitializer", self.place)

    def include(self, value: str) -> None:
        """Take other numbers into account."""
        v = self.v
        bits = v.on_bits("and", v.bits(value), v.integer(0x7FFFFFFF))
        largest = v.function.value(
            f"call {v.integers} @llvm.smax.v{v.lanes}i32({v.integers} {self.bits}, "
            f"{v.integers} {bits})",
            "largest",
        )
        v.store(v.floats(largest), self.place)

    @property
    def bits(self) -> str:
        """Its bits."""
        return self.v.bits(self.v.load(self.place))

    @property
    def bits_of_all(self) -> str:
        """The bits of the largest one of all lanes, in every lane."""
        v = self.v
        largest = v.function.value(
            f"call i32 @llvm.vector.reduce.smax.v{v.lanes}i32({v.integers} {self.bits})", "largest"
        )
        return v.function.splat("i32", largest, v.lanes)


def scales(v: Vectors, peak: str) -> tuple[str, str]:
    """What numbers are multiplied with before they are rounded, and what the integers are
    multiplied with to be numbers again; of the bits of a peak.
    """

    def holds(relation: str, bits: int) -> str:
        return v.function.value(f"icmp {relation} {v.integers} {peak}, {v.integer(bits)}", "holds")

    number, none = v.floats(peak), holds("slt", LEAST)
    into = v.select(none, "zeroinitializer", v.divide(v.constant(LARGEST), number))
    back = v.select(none, "zeroinitializer", v.divide(number, v.constant(LARGEST)))
    return into, v.select(holds("sge", INFINITY), v.constant(float("nan")), back)


def quantise(v: Vectors, value: str, into: str, offset: int = 0) -> str:
    """The integers of numbers: each in the lowest bits of a lane, plus an offset."""
    return v.bits(v.add(v.multiply(value, into), v.constant(ROUNDING + offset)))


def whole(v: Vectors, bits: str) -> str:
    """The same as integers of 32 bits."""
    return v.on_bits("sub", bits, v.integer(ROUNDING_BITS))
