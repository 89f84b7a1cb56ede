"""A run as a list of things to do, written once for all calls of the same sizes.

What a run works on are places in blocks of memory: arrays that the caller gives, results, and one
workspace for all that is between. A call fills in the addresses of the blocks, all at once, and
enters one kernel after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import memmove
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyrnn.kernels.cpu.machine import memory, team
from anyrnn.kernels.cpu.machine.engine import Code
from anyrnn.kernels.cpu.machine.processor import Processor, host
from anyrnn.kernels.numpy_arrays import address
from anyrnn.kernels.run import NOTHING, Array, ArrayInterface

LINE = 64  # bytes of a cache line
WORD = 8  # bytes of a number of a record
TABLE, WORKSPACE = 0, 1  # the blocks that every call has


class BufferView:
    """An array that has no memory yet; it can be sliced and transposed as NumPy's can.

    Attributes:
        block: The block of memory that it is in.
        offset: Where in the block it begins, in bytes.
        shape: Its shape.
        strides: Its strides, in bytes.
        dtype: Its type.
        name: For messages, what an array that a caller gives is, and what it is called.
    """

    __slots__ = ("block", "dtype", "name", "offset", "shape", "strides")

    def __init__(
        self,
        block: int,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self.block, self.offset, self.dtype = block, offset, dtype
        self.shape, self.strides = shape, strides
        self.name: tuple[str, str] = ("array", "")

    def __len__(self) -> int:
        """The size of the first axis."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> BufferView:
        """A part: slices of the axes without steps, or elements of them."""
        keys = key if isinstance(key, tuple) else (key,)
        if keys[0] is ...:
            keys = (slice(None),) * (len(self.shape) - len(keys) + 1) + keys[1:]
        offset, shape, strides = self.offset, [], []
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            part = keys[axis] if axis < len(keys) else slice(None)
            if isinstance(part, slice):
                start, stop, _ = part.indices(size)
                shape.append(max(0, stop - start))
                strides.append(stride)
            else:
                start = part
            offset += start * stride
        return BufferView(self.block, offset, tuple(shape), tuple(strides), self.dtype)

    @property
    def T(self) -> BufferView:  # noqa: N802 - as NumPy calls it
        """The transposed array."""
        return BufferView(self.block, self.offset, self.shape[::-1], self.strides[::-1], self.dtype)

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides in elements."""
        return tuple(stride // self.dtype.itemsize for stride in self.strides)

    @property
    def row_major(self) -> bool:
        """Whether the elements of a row lie one after another."""
        return not self.shape or self.strides[-1] == self.dtype.itemsize or self.shape[-1] == 1

    @property
    def contiguous(self) -> bool:
        """Whether all elements lie one after another."""
        size = self.dtype.itemsize
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != size:
                return False
            size *= length
        return True

    @property
    def bytes(self) -> int:
        """What all elements take, one after another."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class Bindings:
    """The memory of one call.

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

    def array(self, place: BufferView) -> Array:
        """The array at a place."""
        block = self.blocks[place.block]
        memory = block if isinstance(block, np.ndarray) else self.arrays.view(block)
        return np.ndarray(place.shape, place.dtype, memory, place.offset, place.strides)

    def rows(self, place: BufferView) -> Any:
        """A result, or some rows of it, as the face's array."""
        block, count = self.blocks[place.block], place.shape[0]
        if block.shape[0] == count:
            return block
        first = place.offset // place.strides[0]
        return block[first : first + count]


class CommandBuffer:
    """A run that is being written, or is ready.

    Args:
        dtype: The type of the arrays, where no other is given.
        threads: The most threads that a kernel may use.
        target: The CPU to compile for; this one if not given.
        operand: `bfloat16` to round what products multiply.
    """

    def __init__(
        self,
        dtype: Any,
        threads: int,
        target: Processor | None = None,
        operand: str | None = None,
    ) -> None:
        self.dtype, self.threads, self.target = np.dtype(dtype), threads, target or host()
        self.operand = operand
        self.steps: list[Callable[[Bindings], None]] = []
        self.given: list[BufferView] = []
        self.results: list[BufferView] = []
        self.room = 0  # bytes of the workspace
        self._blocks = 2
        self._constants: list[tuple[int, Array, int]] = []
        self._pieces: list[NDArray[np.int64]] = []
        self._length = 0
        self._fields: dict[int, list[tuple[Array, Array]]] = {}  # addresses, by their block
        self._barriers: list[int] = []

    # places

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
        """An array that is made for each run, and returned."""
        self.results.append(self._block(shape))
        return self.results[-1]

    def scratch(self, shape: Sequence[int], dtype: Any = None) -> BufferView:
        """An array in the workspace; it begins at a cache line."""
        place = self._block(shape, dtype, WORKSPACE)
        place.offset = self.room
        self.room += -(-place.bytes // LINE) * LINE
        return place

    def constant(self, array: Array) -> BufferView:
        """An array that is the same in every run."""
        array = np.ascontiguousarray(array)
        place = self._block(array.shape, array.dtype)
        self._constants.append((place.block, array, address(array)))
        return place

    # things to do

    def call(self, function: Callable[..., Any], *places: BufferView) -> None:
        """Call a function with arrays."""

        def step(bindings: Bindings) -> None:
            function(*map(bindings.array, places))

        self.steps.append(step)

    def copy(self, source: BufferView, into: BufferView) -> None:
        """Copy an array; it is broadcast to the other's shape."""
        if not (source.shape == into.shape and source.contiguous and into.contiguous):
            self.call(_copy, source, into)
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
        places: Sequence[BufferView],
        shape: Sequence[int],
        dtype: Any = None,
    ) -> BufferView:
        """The array that a function returns, of a known shape."""
        result = self._block(shape, dtype)
        block, shape = result.block, result.shape
        fields = self._fields.setdefault(block, [])

        def step(bindings: Bindings) -> None:
            array = np.ascontiguousarray(function(*map(bindings.array, places)), result.dtype)
            bindings.blocks[block] = array.reshape(shape)
            bindings.addresses[block] = start = address(array)
            for indices, offsets in fields:
                bindings.table[indices] = offsets + start

        self.steps.append(step)
        return result

    def contiguous(self, place: BufferView) -> BufferView:
        """The place, or a copy whose rows are contiguous."""
        if place.row_major:
            return place
        copied = self.scratch(place.shape, place.dtype)
        self.copy(place, copied)
        return copied

    def table(self, numbers: Any) -> int:
        """Numbers for kernels to read, from a cache line on: where in the table they begin."""
        start, piece = self._length, np.asarray(numbers, np.int64).ravel()
        rest = -len(piece) % (LINE // WORD)
        self._pieces.append(np.concatenate([piece, np.zeros(rest, np.int64)]))
        self._length += len(piece) + rest
        return start

    def barrier(self) -> int:
        """A number of the table that threads count with, zero at first: where it is."""
        self._barriers.append(self.table(0))
        return self._barriers[-1]

    def point(self, indices: Any, block: int, offsets: Any) -> None:
        """Have numbers of the table be addresses: so many bytes behind the beginning of a block,
        one number for all of them, or one for each.
        """
        indices = np.ravel(indices)
        offsets = np.ravel(offsets) if np.ndim(offsets) else np.full(len(indices), offsets)
        self._fields.setdefault(block, []).append((indices, offsets))

    def enter(
        self, code: Code, records: NDArray[np.int64], pointers: Sequence[tuple[int, BufferView]]
    ) -> int:
        """Enter a kernel.

        Args:
            code: The compiled kernel.
            records: A record of numbers for one thread alone, then one for each thread of a team.
            pointers: Where in every record the address of an array belongs.

        Returns:
            Where in the table the first record begins.
        """
        count, size = records.shape
        entry = team.TeamEntry(code, count - 1, size)
        start = self.table([*entry.header, *records.ravel()])
        first = start + len(entry.header)
        rows = first + size * np.arange(count)
        for column, place in pointers:
            self.point(rows + column, place.block, place.offset)
        behind = start * WORD

        def step(bindings: Bindings) -> None:
            entry.run(bindings.addresses[TABLE] + behind)

        self.steps.append(step)
        return first

    # a call

    def finish(self) -> CommandBuffer:
        """End the writing."""
        self._template = np.concatenate(self._pieces or [np.zeros(0, np.int64)])
        fixed = [TABLE, WORKSPACE, *(block for block, *_ in self._constants)]
        self._varying = [place.block for place in (*self.given, *self.results)]
        self._loose = sorted({*range(self._blocks)} - {*fixed})
        self._fields_of_memory = self._addresses(fixed)
        self._fields_of_arrays = self._addresses(self._varying)
        return self

    def _addresses(self, blocks: Iterable[int]) -> tuple[Array, Array, Array]:
        """Where addresses in some blocks belong, which blocks, and how far behind their begin."""
        parts = [
            (indices, np.full(len(indices), block), offsets)
            for block in blocks
            for indices, offsets in self._fields.get(block, ())
        ]
        if not parts:
            parts = [(np.zeros(0, np.int64),) * 3]
        indices, which, behind = map(np.concatenate, zip(*parts, strict=True))
        return indices, which, behind

    def memory(self, arrays: ArrayInterface) -> Bindings:
        """Memory for a run, or for one after another."""
        blocks: list[Any] = [None] * self._blocks
        blocks[TABLE] = table = memory.empty((len(self._template),), np.int64)
        blocks[WORKSPACE] = memory.empty((self.room,), np.uint8)
        table[...] = self._template
        addresses = [0] * self._blocks
        for block in (TABLE, WORKSPACE):
            addresses[block] = address(blocks[block])
        for block, array, place in self._constants:
            blocks[block], addresses[block] = array, place
        _fill(table, self._fields_of_memory, addresses)
        return Bindings(arrays, blocks, addresses)

    def run(
        self,
        arrays: ArrayInterface,
        given: Sequence[Any],
        bindings: Bindings | None = None,
        made: Mapping[int, Any] = NOTHING,
    ) -> Bindings:
        """Do all of it.

        Args:
            arrays: What the caller's arrays are.
            given: The arrays that the caller gives.
            bindings: The memory of a run before, which nobody uses any more; new memory if not
                given.
            made: Results that there is memory for already, by their blocks.

        Returns:
            The memory, in which results can be looked up.
        """
        if bindings is None:
            bindings = self.memory(arrays)
        blocks, addresses = bindings.blocks, bindings.addresses
        for place, array in zip(self.given, given, strict=True):
            blocks[place.block], addresses[place.block] = arrays.ready(array, place)
        for place in self.results:
            found = made.get(place.block)
            found = arrays.empty(place.shape, place.dtype) if found is None else found
            blocks[place.block], addresses[place.block] = found, arrays.address(found)
        self._do(bindings)
        return bindings

    def forget(self, bindings: Bindings) -> None:
        """Let go of the arrays of a call, to keep the memory for the next one."""
        for block in self._loose:
            bindings.blocks[block] = None

    def run_in(self, bindings: Bindings, addresses: Sequence[int]) -> None:
        """Do all of it in memory that a run before has used, without a look at any array.

        Args:
            bindings: The memory, which no other thread uses.
            addresses: Of the arrays that the caller gives, then of the results; not checked.
        """
        for block, start in zip(self._varying, addresses, strict=True):
            bindings.addresses[block] = start
        self._do(bindings)

    def _do(self, bindings: Bindings) -> None:
        for place in self._barriers:
            bindings.table[place] = 0
        _fill(bindings.table, self._fields_of_arrays, bindings.addresses)
        for step in self.steps:
            step(bindings)


def _copy(source: Array, into: Array) -> None:
    into[...] = source


def _fill(
    table: NDArray[np.int64], fields: tuple[Array, Array, Array], addresses: Sequence[int]
) -> None:
    indices, which, behind = fields
    table[indices] = np.array(addresses, np.int64)[which] + behind
