"""The rows of the vectors that products read: those in memory, or copies rounded to bfloat16."""

from __future__ import annotations

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.context import Context


def copy(context: Context, vector: Node) -> None:
    """Copy this thread's rows of a vector, rounded, and zero up to a whole register."""
    v, fields = context.v, context.record.copies[vector]
    with context.rows() as row:
        start = context.array_element(fields.rows, row, "0")

        def store(unit: str, mask: str | None) -> None:
            value = v.load(context.address(vector, row, unit), mask)
            context.arithmetic.operand.store_row(v, value, start, unit)

        v.over("unit", context.word(fields.size), store)


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
