"""The generator of `anyrnn.graph.randomness` as instructions, with the same bits."""

from __future__ import annotations

from anyrnn.graph.randomness import BITS, MULTIPLIER, ROUNDS, WEYL, stream_key
from anyrnn.kernels.cpu.emit.assembly import Function, Vectors


def _philox(
    function: Function, first: str, second: str, key: str, lanes: int | None
) -> tuple[str, str]:
    """Philox 2x32: two words from a counter of two words and a key; scalars, or vectors."""

    def kind(bits: int) -> str:
        return f"<{lanes} x i{bits}>" if lanes else f"i{bits}"

    def number(bits: int, value: int) -> str:
        return f"splat (i{bits} {value})" if lanes else str(value)

    short, long = kind(32), kind(64)
    for _ in range(ROUNDS):
        wide = function.value(f"zext {short} {first} to {long}")
        product = function.value(f"mul {long} {wide}, {number(64, MULTIPLIER)}")
        upper = function.value(f"lshr {long} {product}, {number(64, 32)}")
        upper = function.value(f"trunc {long} {upper} to {short}")
        mixed = function.value(f"xor {short} {upper}, {key}")
        first = function.value(f"xor {short} {mixed}, {second}")
        second = function.value(f"trunc {long} {product} to {short}")
        key = function.value(f"add {short} {key}, {number(32, WEYL)}")
    return first, second


def words(v: Vectors, seed: str, stream: int, step: str, row: str, unit: str) -> tuple[str, str]:
    """Two vectors of 32 random bits each: of an even stream, and of its neighbour."""
    function, lanes = v.function, v.lanes
    low = function.value(f"load i32, ptr {seed}")
    high = function.value(f"load i32, ptr {function.element(seed, '1', 'i32')}")
    key = function.value(f"add i32 {low}, {stream_key(stream)}")
    row, step, unit = (function.value(f"trunc i64 {number} to i32") for number in (row, step, unit))
    hashed, second = _philox(function, row, step, key, None)
    key = function.value(f"xor i32 {hashed}, {high}")
    places = ", ".join(f"i32 {lane}" for lane in range(lanes))
    units = function.splat("i32", unit, lanes)
    units = function.value(f"add <{lanes} x i32> {units}, <{places}>")
    second, key = (function.splat("i32", number, lanes) for number in (second, key))
    return _philox(function, units, second, key, lanes)


def uniform(v: Vectors, bits: str) -> str:
    """A vector of numbers in [0, 1), from 32 random bits each."""
    lanes = v.lanes
    bits = v.function.value(f"lshr <{lanes} x i32> {bits}, splat (i32 {32 - BITS})")
    whole = v.function.value(f"uitofp <{lanes} x i32> {bits} to {v.type}")
    return v.multiply(whole, v.constant(2.0**-BITS))
