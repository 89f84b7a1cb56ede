"""The commands of a run, recorded once for all calls of the same sizes.

Commands work on views of blocks of memory: arrays that the caller gives, results, and a workspace
for what is between. The records of all kernels are in one table; a call patches the relocations,
the addresses in the table, all at once, and then enters one kernel after another. So a short run
costs tens of microseconds of Python, not hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import memmove
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.machine import memory, team
from anyrnn.kernels.cpu.machine.engine import Code
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.numpy_arrays import address
from anyrnn.kernels.run import NOTHING, Array, ArrayInterface

LINE = 64  # bytes of a cache line
WORD = 8  # bytes of a word of a record
TABLE, WORKSPACE = 0, 1  # the blocks of every call

BlockRows = tuple[int, slice | None]  # a block, and some of its rows; None for all


class Bindings:
    """The memory of a call.

    Attributes:
        arrays: What the blocks are.
        blocks: The blocks of memory.
        addresses: Where they begin.
        table: The records of all kernels.
    """

    __slots__ = ("addresses", "arrays", "blocks", "table")

    def __init__(self, arrays: ArrayInterface, blocks: list[Any], addresses: list[int]) -> None:
        self.arrays, self.blocks, self.addresses = arrays, blocks, addresses
        self.table = blocks[TABLE]

    def array(self, view: BufferView) -> Array:
        """The array of a view."""
        block = self.blocks[view.block]
        memory = block if isinstance(block, np.ndarray) else self.arrays.view(block)
        return np.ndarray(view.shape, view.dtype, memory, view.offset, view.strides)

    def rows(self, parts: Mapping[Any, BlockRows]) -> dict[Any, Any]:
        """Results, or some rows of them, as arrays of the caller's kind, by name."""
        blocks = self.blocks
        return {
            name: blocks[block] if rows is None else blocks[block][rows]
            for name, (block, rows) in parts.items()
        }


class CommandBuffer:
    """The commands of a run: recorded first, then run any number of times.

    Args:
        arithmetic: How kernels compute.
        threads: The most threads that a kernel may use.

    Attributes:
        dtype: The type of the arrays, where no other is given.
    """

    def __init__(self, arithmetic: Arithmetic, threads: int) -> None:
        self.arithmetic, self.threads = arithmetic, threads
        self.dtype: np.dtype[Any] = np.dtype(arithmetic.dtype)
        self.steps: list[Callable[[Bindings], None]] = []
        self.given: list[BufferView] = []
        self.results: list[BufferView] = []
        self.room = 0  # bytes of the workspace
        self._blocks = 2
        self._constants: list[tuple[int, Array]] = []
        self._pieces: list[NDArray[np.int64]] = []
        self._length = 0
        self._fields: dict[int, list[tuple[Array, Array]]] = {}  # relocations, by their block
        self._barriers: list[int] = []

    # views

    def _block(
        self, shape: Sequence[int], dtype: Any = None, block: int | None = None
    ) -> BufferView:
        kind = self.dtype if dtype is None else np.dtype(dtype)
        strides, size = [], kind.itemsize
        for length in reversed(shape):
            strides.append(size)
            size *= length
        if block is None:
            block = self._blocks
            self._blocks += 1
        return BufferView(block, 0, tuple(shape), tuple(reversed(strides)), kind)

    def give(
        self, shape: Sequence[int], dtype: Any = None, name: tuple[str, str] = ("array", "")
    ) -> BufferView:
        """An array that the caller of a run gives, contiguous; in the order of these calls. For
        messages, its name says what it is, and what it is called.
        """
        self.given.append(self._block(shape, dtype))
        self.given[-1].name = name
        return self.given[-1]

    def result(self, shape: Sequence[int]) -> BufferView:
        """An array that is allocated for each run, and returned."""
        self.results.append(self._block(shape))
        return self.results[-1]

    def scratch(self, shape: Sequence[int], dtype: Any = None) -> BufferView:
        """An array in the workspace, aligned to a cache line."""
        view = self._block(shape, dtype, WORKSPACE)
        view.offset = self.room
        self.room += -(-view.bytes // LINE) * LINE
        return view

    def constant(self, array: Array) -> BufferView:
        """An array that is the same in every run."""
        array = np.ascontiguousarray(array)
        view = self._block(array.shape, array.dtype)
        self._constants.append((view.block, array))
        return view

    # commands

    def call(self, function: Callable[..., Any], *views: BufferView) -> None:
        """Append a call of a function with arrays."""

        def step(bindings: Bindings) -> None:
            function(*map(bindings.array, views))

        self.steps.append(step)

    def copy(self, source: BufferView, into: BufferView) -> None:
        """Append a copy of an array, broadcast to the shape of the other."""
        if not (source.shape == into.shape and source.contiguous and into.contiguous):
            self.call(np.copyto, into, source)
            return
        start, offset, end, size = source.block, source.offset, into.block, source.bytes
        behind = into.offset

        def step(bindings: Bindings) -> None:
            found = bindings.addresses
            memmove(found[end] + behind, found[start] + offset, size)

        self.steps.append(step)

    def compute(
        self,
        function: Callable[..., Array],
        views: Sequence[BufferView],
        shape: Sequence[int],
        dtype: Any = None,
    ) -> BufferView:
        """Append a call of a function that returns an array of a known shape: that array."""
        result = self._block(shape, dtype)
        block, shape = result.block, result.shape
        fields = self._fields.setdefault(block, [])

        def step(bindings: Bindings) -> None:
            array = np.ascontiguousarray(function(*map(bindings.array, views)), result.dtype)
            bindings.blocks[block] = array.reshape(shape)
            bindings.addresses[block] = start = address(array)
            for indices, offsets in fields:
                bindings.table[indices] = offsets + start

        self.steps.append(step)
        return result

    def contiguous(self, view: BufferView) -> BufferView:
        """The view itself, or that of a copy with contiguous rows."""
        if view.row_major:
            return view
        copied = self.scratch(view.shape, view.dtype)
        self.copy(view, copied)
        return copied

    def table(self, numbers: Any) -> int:
        """Append words to the table, aligned to a cache line: the index of the first."""
        start, piece = self._length, np.asarray(numbers, np.int64).ravel()
        rest = -len(piece) % (LINE // WORD)
        self._pieces.append(np.concatenate([piece, np.zeros(rest, np.int64)]))
        self._length += len(piece) + rest
        return start

    def barrier(self) -> int:
        """Append the counter of a barrier to the table, zero before each run: its index."""
        self._barriers.append(self.table(0))
        return self._barriers[-1]

    def point(self, indices: Any, block: int, offsets: Any) -> None:
        """Register relocations: entries of the table that are set to the base of a block plus an
        offset in bytes at call time.
        """
        indices, offsets = map(np.ravel, np.broadcast_arrays(indices, offsets))
        self._fields.setdefault(block, []).append((indices, offsets))

    def enter(
        self, code: Code, records: NDArray[np.int64], pointers: Sequence[tuple[int, BufferView]]
    ) -> int:
        """Append the entry of a kernel; the index in the table of the first record.

        Args:
            code: The compiled kernel.
            records: The record of the fallback for one thread, then one for each thread of a team.
            pointers: The index in every record of the address of an array.
        """
        count, size = records.shape
        entry = team.TeamEntry(code, count - 1, size)
        start = self.table([*entry.header, *records.ravel()])
        first = start + len(entry.header)
        rows = first + size * np.arange(count)
        for column, view in pointers:
            self.point(rows + column, view.block, view.offset)
        behind = start * WORD

        def step(bindings: Bindings) -> None:
            entry.run(bindings.addresses[TABLE] + behind)

        self.steps.append(step)
        return first

    def block_rows(self, views: Mapping[Any, BufferView]) -> dict[Any, BlockRows]:
        """Where arrays are that the caller gives or that are returned, or some rows of them."""
        lengths = {view.block: len(view) for view in (*self.given, *self.results)}
        found: dict[Any, BlockRows] = {}
        for name, view in views.items():
            rows = None
            if len(view) != lengths[view.block]:
                first = view.offset // view.strides[0]
                rows = slice(first, first + len(view))
            found[name] = view.block, rows
        return found

    # a call

    def finish(self) -> CommandBuffer:
        """End the recording."""
        self._template = np.concatenate(self._pieces or [np.zeros(0, np.int64)])
        fixed = [TABLE, WORKSPACE, *(block for block, _ in self._constants)]
        self._varying = [view.block for view in (*self.given, *self.results)]
        self._fields_of_each = [
            [
                pair
                for fields in self._fields.get(block, ())
                for pair in zip(*map(np.ndarray.tolist, fields), strict=True)
            ]
            for block in self._varying
        ]
        self._loose = {*range(self._blocks)}.difference(fixed)
        self._fields_of_memory = self._addresses(fixed)
        self._fields_of_arrays = self._addresses(self._varying)
        return self

    def _addresses(self, blocks: Iterable[int]) -> tuple[Array, Array, Array]:
        """The relocations of some blocks: entries of the table, blocks, offsets in bytes."""
        parts = [(np.zeros(0, np.int64),) * 3]
        for block in blocks:
            for indices, offsets in self._fields.get(block, ()):
                parts.append((indices, np.full(len(indices), block), offsets))
        indices, which, behind = map(np.concatenate, zip(*parts, strict=True))
        return indices, which, behind

    def memory(self, arrays: ArrayInterface) -> Bindings:
        """Allocate memory for a run, or for several one after another."""
        blocks: list[Any] = [None] * self._blocks
        addresses = [0] * self._blocks
        table = memory.empty((len(self._template),), np.int64)
        table[...] = self._template
        workspace = memory.empty((self.room,), np.uint8)
        for block, array in ((TABLE, table), (WORKSPACE, workspace), *self._constants):
            blocks[block], addresses[block] = array, address(array)
        _fill(table, self._fields_of_memory, addresses)
        return Bindings(arrays, blocks, addresses)

    def run(
        self,
        arrays: ArrayInterface,
        given: Sequence[Any],
        bindings: Bindings | None = None,
        made: Mapping[int, Any] = NOTHING,
    ) -> Bindings:
        """Run; in the memory that this returns, results can be looked up.

        Args:
            arrays: What the caller's arrays are.
            given: The arrays that the caller gives.
            bindings: The memory of a run before, which nobody uses any more; new memory if not
            given.
            made: Results that there is memory for already, by their blocks.
        """
        if bindings is None:
            bindings = self.memory(arrays)
        blocks, addresses = bindings.blocks, bindings.addresses
        ready = arrays.ready(given, self.given)
        for view, array, start in zip(self.given, *ready, strict=True):
            blocks[view.block], addresses[view.block] = array, start
        for view in self.results:
            block = view.block
            array = made.get(block)
            if array is None:
                array = arrays.empty(view.shape, view.dtype)
            blocks[block], addresses[block] = array, arrays.address(array)
        _fill(bindings.table, self._fields_of_arrays, addresses)
        self._do(bindings)
        return bindings

    def forget(self, bindings: Bindings) -> None:
        """Release the arrays of a call, but keep its memory for the next one."""
        blocks = bindings.blocks
        for block in self._loose:
            blocks[block] = None

    def run_in(self, bindings: Bindings, addresses: Sequence[int]) -> None:
        """Run in the memory of a run before, without checks.

        Args:
            bindings: The memory, which no other thread uses, and no other method.
            addresses: Of the arrays that the caller gives, then of the results; not checked.
        """
        known, table = bindings.addresses, bindings.table
        for block, start, fields in zip(
            self._varying, addresses, self._fields_of_each, strict=True
        ):
            if known[block] != start:  # most are where they were at the call before
                known[block] = start
                for index, offset in fields:
                    table[index] = start + offset
        self._do(bindings)

    def _do(self, bindings: Bindings) -> None:
        for index in self._barriers:
            bindings.table[index] = 0
        for step in self.steps:
            step(bindings)


def _fill(
    table: NDArray[np.int64], fields: tuple[Array, Array, Array], addresses: Sequence[int]
) -> None:
    indices, which, behind = fields
    table[indices] = np.array(addresses, np.int64)[which] + behind
