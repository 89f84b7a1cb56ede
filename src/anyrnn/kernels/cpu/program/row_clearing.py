"""Rows of a padded array that no step has, which become zero: as a command, by all threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.assembly import Function
from anyrnn.kernels.cpu.emit.entry import entry
from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.numpy_arrays import address
from anyrnn.kernels.run import Array, Places

INTO, INDEX, SIZE, FIRST, LAST = range(5)  # words of a record: addresses, elements, some rows
WORDS = 5


def _text(arithmetic: Arithmetic) -> str:
    arguments = [("ptr noalias", "record")]
    attributes = f'noinline "no-builtins" {arithmetic.attributes}'  # or a loop becomes a call
    function = Function("kernel", arguments, attributes, internal=False)
    v = arithmetic.vectors(function)
    into, index, size, first, last = (
        function.value(
            f"load {'ptr' if word in (INTO, INDEX) else 'i64'}, "
            f"ptr {function.element('%record', str(word), 'i64')}"
        )
        for word in range(WORDS)
    )
    with function.loop("row", first, last) as number:
        place = function.value(f"load i64, ptr {function.element(index, number, 'i64')}", "place")
        row = function.element(into, function.integer("mul", place, size), v.scalar)

        def clear(unit: str, mask: str | None) -> None:
            v.store("zeroinitializer", function.element(row, unit, v.scalar), mask)

        v.over("unit", size, clear)
    return "\n\n".join([function.text(), entry(WORDS, arithmetic.processor)])


@lru_cache(maxsize=16)
def _code(arithmetic: Arithmetic) -> Code:
    return compile_text(_text(arithmetic), arithmetic.processor, f"rows ({arithmetic.dtype})")


def clear_rest(commands: CommandBuffer, array: BufferView, places: Callable[[Any], Places]) -> None:
    """Append what fills those rows of an array with zeros that no step of the run has.

    Args:
        commands: The command buffer, of `PlacedSteps`.
        array: The array, (padded rows, size).
        places: Gives its places, for the steps of a run.
    """
    threads, records = commands.threads, np.zeros((1 + commands.threads, WORDS), np.int64)
    records[:, SIZE] = array.shape[1]
    first = commands.enter(_code(commands.arithmetic), records, [(INTO, array)])
    each = first + WORDS * np.arange(1 + threads)

    def bounds(steps: Any, _: Sequence[int]) -> Array:
        rest = places(steps).rest
        edges = [len(rest) * number // threads for number in range(threads + 1)]
        starts = [address(rest)] * (1 + threads)
        return np.array([starts, [0, *edges[:-1]], [len(rest), *edges[1:]]])

    commands.follow(np.array([each + word for word in (INDEX, FIRST, LAST)]), bounds)
