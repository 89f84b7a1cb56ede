"""The commands of a run, recorded once for all calls of the same sizes.

Commands work on views of blocks of memory: arrays that the caller gives, results, and a workspace
for what is between. The records of all kernels are in one table, with the relocations of addresses
in them, and the commands themselves: a call enters machine code with it, which does all of it. So
a short run costs a few microseconds of Python, not hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.machine import executor, team
from anyrnn.kernels.cpu.machine.engine import Code
from anyrnn.kernels.cpu.program.block_views import LINE, BlockViews, Recording
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.prepared_commands import (
    TABLE,
    WEIGHTS,
    WORD,
    WORKSPACE,
    Bindings,
    Follow,
    PreparedCommands,
    Step,
)
from anyrnn.kernels.cpu.program.varying import Count, RecordedSteps, Varying
from anyrnn.kernels.run import Array

FEW = 1024  # rows of an array, at most, that are copied by a command each
ZERO = 3  # a block that begins at the address 0

# the place of an array, and a range of its rows; None for all
ArrayRows = tuple[int, tuple[Count, Count] | None]
_numbers = count()


def _by_rows(source: BufferView, into: BufferView) -> bool:
    """Whether a copy is one of a few rows, each contiguous."""
    shape = source.shape
    if shape != into.shape or len(shape) != 2 or not isinstance(shape[0], int):
        return False
    return shape[0] <= FEW and source.row_major and into.row_major


class CommandBuffer(BlockViews):
    """Records the commands of a run, which are then run any number of times.

    Args:
        arithmetic: How kernels compute.
        threads: The most threads that a kernel may use.
        recorded: The steps of the run, from which varying numbers follow, if there are any.
    """

    def __init__(
        self, arithmetic: Arithmetic, threads: int, recorded: RecordedSteps | None = None
    ) -> None:
        self.arithmetic, self.threads, self._recorded = arithmetic, threads, recorded
        super().__init__(np.dtype(arithmetic.dtype))
        self._words: list[tuple[Any, Any]] = []  # of the table, set after all pieces
        self._counts: list[tuple[Any, Varying]] = []  # those that are numbers that vary
        self._varying: list[tuple[Any, Follow]] = []  # others that follow from the steps
        self._pieces: list[tuple[int, Array]] = []  # of the table, with the index of the first word
        self._length = 0
        self._offsets: dict[Any, int] = {}  # where the table has those that copies share
        # as rows the entry of the table, the block, the offset
        self._relocations: list[Array] = [np.zeros((0, executor.RELOCATION), np.int64)]
        self._packed: list[Any] = []  # what is written into the block of weights
        self._codes: list[Code] = []
        self._parallel = 0

    @contextmanager
    def once(self) -> Iterator[None]:
        """Record what depends on parameters only. It comes before all else, and what it leaves is
        in the block of weights: a caller may keep that, and leave these commands out.
        """
        before, self._recording = self._recording, self._first
        try:
            yield
        finally:
            self._recording = before

    def note(self, *what: Any) -> None:
        """Note what is written into the block of weights; equal notes mean equal contents."""
        if self._recording is self._first:
            self._packed.append(what)

    def call(self, function: Callable[..., Any], *views: BufferView) -> None:
        """Append a call of a function with arrays."""
        self._step(lambda bindings: function(*map(bindings.array, views)))

    def copy(self, source: BufferView, into: BufferView) -> None:
        """Append a copy of an array, broadcast to the shape of the other."""
        if source.shape == into.shape and source.contiguous and into.contiguous:
            places = *self._locate(into), *self._locate(source)
            command = executor.COPY, *places, source.bytes
            self._recording.commands.append(command)
            self.note(*command)
        elif _by_rows(source, into):
            for row in range(source.shape[0]):
                self.copy(source[row], into[row])
        else:
            self.call(np.copyto, into, source)

    def clear(self, view: BufferView) -> None:
        """Append what fills a contiguous array with zeros."""
        command = executor.CLEAR, *self._locate(view), 0, 0, view.bytes
        self._recording.commands.append(command)
        self.note(*command)

    def copy_rows(
        self, source: BufferView, into: BufferView, most: int, offsets: Follow, key: Any = None
    ) -> None:
        """Append a copy of rows of one array into another one, both contiguous.

        Args:
            source: Where they come from.
            into: An array of them, one after another.
            most: The most rows.
            offsets: The offset of each in the source, in bytes.
            key: What copies have in common whose offsets are the same, if others may have them.
        """
        first = self._offsets.get(key)
        if first is None:
            first = self._offsets[key] = self._follow_offsets(most, offsets)
        if key is None:
            del self._offsets[key]
        places = *self._locate(into), *self._locate(source)
        command = executor.ROWS, *places, into.strides[0], first, into.shape[0]
        self._recording.commands.append(command)

    def _follow_offsets(self, most: int, offsets: Follow) -> int:
        """Append words to the table for at most so many offsets: the index of the first."""
        first = self.table(np.zeros(most))

        def all_offsets(*given: Any) -> Array:
            found, known = np.zeros(most, np.int64), offsets(*given)
            found[: len(known)] = known
            return found

        self.follow(slice(first, first + most), all_offsets)
        return first

    def pause(self) -> None:
        """Let what comes next be entered by Python anew: in between it sees a Ctrl-C."""
        self._recording.pause()

    def _step(self, step: Step) -> None:
        self.pause()
        self._recording.steps.append(step)
        self.note(next(_numbers))  # no two functions are known to be equal

    def compute(
        self,
        function: Callable[..., Array],
        views: Sequence[BufferView],
        shape: Sequence[Count],
        dtype: Any = None,
    ) -> BufferView:
        """Append a call of a function that returns an array of a known shape: that array."""
        if self._recording is self._first:
            result = self.scratch(shape, dtype)
            self.call(lambda out, *given: np.copyto(out, function(*given)), result, *views)
            return result
        result = self._block(shape, dtype)
        block, shape = result.block, result.shape

        def step(bindings: Bindings) -> None:
            array = np.ascontiguousarray(function(*map(bindings.array, views)), result.dtype)
            bindings.place(block, array.reshape(bindings.shape(shape)))

        self._step(step)
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
        self._pieces.append((start, piece))
        self._length += -(-len(piece) // (LINE // WORD)) * (LINE // WORD)
        return start

    def counts(self, numbers: Sequence[Count]) -> int:
        """Append numbers to the table: the index of the first."""
        known = [number if isinstance(number, int) else 0 for number in numbers]
        start = self.table(known)
        for place, number in enumerate(numbers):
            if isinstance(number, Varying):
                self.vary(start + place, number)
        return start

    def vary(self, indices: Any, number: Count) -> None:
        """Set entries of the table to a number, at call time if it varies."""
        if isinstance(number, int):
            self._words.append((indices, number))
        else:
            self._counts.append((indices, number))

    def follow(self, indices: Any, function: Follow) -> None:
        """Set entries of the table to what follows from the steps, at call time if these vary."""
        recorded = self._recorded
        if recorded is not None and not recorded.constant:
            self._varying.append((indices, function))
        else:
            known = (None, ()) if recorded is None else (recorded.steps, recorded.numbers)
            self._words.append((indices, function(*known)))

    def barrier(self) -> int:
        """Append the counter of a barrier to the table, zero before each run: its index."""
        index = self.table(0)
        self.point(index, ZERO, 0)
        return index

    def point(self, indices: Any, blocks: Any, offsets: Any) -> None:
        """Register relocations: entries of the table that are set to the base of a block plus an
        offset in bytes at call time.
        """
        shape = np.broadcast(indices, blocks, offsets).shape
        found = np.empty((*shape, executor.RELOCATION), np.int64)
        found[..., 0], found[..., 1], found[..., 2] = indices, blocks, offsets
        self._relocations.append(found.reshape(-1, executor.RELOCATION))

    def point_at(self, indices: Any, views: Sequence[BufferView], offsets: Any = 0) -> None:
        """The same for entries of which the last axis are those of views: set to where each begins
        plus an offset.
        """
        located = np.array([*map(self._locate, views)], np.int64).reshape(-1, 2)
        self.point(indices, located[:, 0], located[:, 1] + offsets)

    def enter(
        self,
        code: Code,
        records: NDArray[np.int64],
        pointers: Sequence[tuple[int, BufferView]],
        counts: Sequence[tuple[int, Count]] = (),
    ) -> int:
        """Append the entry of a kernel; the index in the table of the first record.

        Args:
            code: The compiled kernel.
            records: The record of the fallback for one thread, then one for each thread of a team.
            pointers: The index in every record of the address of an array.
            counts: The index in every record of a number, which may vary.
        """
        count, size = records.shape
        for column, number in counts:
            if isinstance(number, int):
                records[:, column] = number
        entry = team.TeamEntry(code, count - 1, size)
        start = self.table(np.concatenate([entry.header, records.ravel()]))
        first = start + len(entry.header)
        rows = first + size * np.arange(count)
        for column, number in counts:
            if isinstance(number, Varying):
                self.vary(rows + column, number)
        if pointers:
            columns = np.array([column for column, _ in pointers])
            self.point_at(rows[:, None] + columns, [view for _, view in pointers])
        if entry.threads == 1 or entry.parallel:
            functions = code.enter_alone, code.enter, entry.threads
            self._recording.commands.append((executor.ENTER, start, *functions, 0))
            self.note(*functions, records.tobytes())
            self._codes.append(code)
            self._parallel |= entry.parallel
        else:
            self._step(lambda bindings: entry.run(bindings.start + start * WORD))
        return first

    def rows(self, views: Mapping[Any, BufferView]) -> dict[Any, ArrayRows]:
        """By name, which of the arrays that a run gives back these are, or some rows of them."""
        arrays = enumerate((*self.given, *self.results))
        known = {view.block: (place, view.shape[0]) for place, view in arrays}
        found: dict[Any, ArrayRows] = {}
        for name, view in views.items():
            place, length = known[view.block]
            rows = None
            if view.shape[0] != length:
                first = view.offset // view.strides[0]
                rows = first, first + view.shape[0]
            found[name] = place, rows
        return found

    # the end

    def finish(self) -> PreparedCommands:
        """End the recording: the addresses of blocks, relocations and jobs join the table."""
        own = [*(view.block for view in (*self.given, *self.results)), WORKSPACE, WEIGHTS]
        shifted, computed = [], []  # those in arrays that a function computes are set after it
        for found in self._shifted.values():
            (shifted if found[1] in own else computed).append(found)
        shifts = [(own.index(block), shift) for _, block, shift in shifted]
        own += [block for block, _, _ in shifted]
        others = [*{*range(self._blocks)}.difference(own)]
        start = self.table(np.zeros(len(own) + len(others)))
        entries = {block: start + place for place, block in enumerate((*own, *others))}
        each_call = self._relocated([*own, ZERO], entries)
        patched = self.table(each_call), len(each_call)
        first, rest = self._first, self._rest
        whole = Recording(WORKSPACE, 0, [*first.commands], [*first.steps])
        if whole.steps:
            whole.pause()
        whole.commands += rest.commands
        ended = len(first.commands)
        whole.steps += [step + ended if isinstance(step, int) else step for step in rest.steps]
        located = (_with_entries(each, entries) for each in whole.commands)
        words = self.counts([word for command in located for word in command])
        jobs = self._jobs(whole, words, patched)
        jobs_of_rest = self._jobs(rest, words + ended * executor.COMMAND, patched)
        template, once = np.zeros(self._length, np.int64), self._relocated(others, entries)
        for start, piece in self._pieces:
            template[start : start + len(piece)] = piece
        for indices, numbers in self._words:
            template[indices] = numbers
        noted = [(view.name, view.block) for view in self.given], self._packed
        return PreparedCommands(
            steps=jobs,
            rest=jobs_of_rest,
            template=template,
            given=self.given,
            results=self.results,
            room=rest.room,
            weights=first.room,
            contents=sha256(repr(noted).encode()).digest(),
            constants=dict(self._constants),
            entries=entries,
            relocations={block: once[once[:, 1] == entries[block]] for block in others},
            codes=self._codes,
            varies=self._recorded is not None and not self._recorded.constant,
            shifts=shifts,
            computed=computed,
            counts=self._counts,
            varying=self._varying,
        )

    def _jobs(
        self, recording: Recording, words: int, relocations: tuple[int, int]
    ) -> list[Step | int]:
        """The steps of recorded commands, which are in the table from an entry on, as jobs of the
        executor and functions.
        """
        recording.pause()
        steps: list[Step | int] = []
        done = 0
        for step in recording.steps:
            if not isinstance(step, int):
                steps.append(step)
            elif step > done or not steps:
                commands = words + done * executor.COMMAND, step - done
                patched = relocations if not steps else (0, 0)
                job = self.table([0, *patched, *commands, self._parallel])
                self.point(job, TABLE, 0)
                steps.append(job * WORD)
                done = step
        return steps

    def _relocated(self, blocks: Sequence[int], entries: Mapping[int, int]) -> Array:
        """The relocations of some blocks, as the executor reads them: with the entries of the table
        where blocks begin in the place of the blocks.
        """
        entry_of = np.full(self._blocks, -1)
        entry_of[blocks] = [*map(entries.__getitem__, blocks)]
        every = np.concatenate(self._relocations)
        every[:, 1] = entry_of[every[:, 1]]
        return every[every[:, 1] >= 0]


def _with_entries(command: tuple[Any, ...], entries: Mapping[int, int]) -> tuple[Any, ...]:
    """A command with the entries of the table where blocks begin in the place of the blocks."""
    kind, first, second, third, *rest = *command, *[0] * (executor.COMMAND - len(command))
    if kind in (executor.COPY, executor.ROWS):
        return kind, entries[first], second, entries[third], *rest
    if kind == executor.CLEAR:
        return kind, entries[first], second, third, *rest
    return kind, first, second, third, *rest
