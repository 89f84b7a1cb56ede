"""The rows of the vectors that products read: those in memory, or copies, rounded to bfloat16 or
quantised.
"""

from __future__ import annotations

from collections.abc import Callable

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit import quantised
from anyrnn.kernels.cpu.emit.context import Context


def copy(context: Context, vector: Node) -> None:
    """Copy this thread's rows of a vector, rounded, and zero up to a whole register."""
    v, fields = context.v, context.record.copies[vector]
    operand, size = context.arithmetic.operand, context.word(fields.size)
    with context.rows() as row:
        start = context.array_element(fields.rows, row, "0")

        def load(unit: str, mask: str | None) -> str:
            return v.load(context.address(vector, row, unit), mask)

        if operand.quantised:
            _quantise(context, load, start, size)
        else:
            v.over("unit", size, lambda *at: operand.store_row(v, load(*at), start, at[0]))


def _quantise(
    context: Context, load: Callable[[str, str | None], str], start: str, size: str
) -> None:
    """Quantise a row; its scale is in the slot after its last element."""
    function, v, operand = context.function, context.v, context.arithmetic.operand
    peak = quantised.Peak(v)
    v.over("unit", size, lambda *at: peak.include(load(*at)))
    into, back = quantised.scales(v, peak.bits_of_all)

    def store(unit: str, mask: str | None) -> None:
        bits = quantised.quantise(v, load(unit, mask), into, operand.offset)
        operand.store_bits(v, bits, start, unit)

    v.over("unit", size, store)
    after = function.integer("add", size, operand.each - 1)
    slot = function.integer("sdiv", after, operand.each)
    scale = function.value(f"extractelement {v.type} {back}, i64 0", "scale")
    function.emit(f"store {v.scalar} {scale}, ptr {function.element(start, slot, v.scalar)}")


def rows_of(context: Context, vector: Node, row: str) -> tuple[str, str]:
    """The address of a row of a vector as products read it, and the stride of its rows."""
    function = context.function
    if vector in context.record.copies:
        rows = context.record.copies[vector].rows
        stride = context.word(rows.stride)
        return context.array_element(rows, row, "0"), stride
    address = context.address(vector, row, "0")
    following = context.address(vector, function.integer("add", row, 1), "0")
    left, right = (
        function.value(f"ptrtoint ptr {at} to i64", "address") for at in (address, following)
    )
    stride = function.integer("sub", right, left)
    return address, function.integer("sdiv exact", stride, context.v.size)
