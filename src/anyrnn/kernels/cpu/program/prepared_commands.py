"""Recorded commands, ready to run in memory that one call after another uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from anyrnn.kernels.cpu.machine import executor, memory
from anyrnn.kernels.cpu.machine.engine import Code
from anyrnn.kernels.cpu.machine.job_entry import Enter, job_entry
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.varying import Count, RecordedSteps, Varying, value_of
from anyrnn.kernels.numpy_arrays import address, memory_at
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import NOTHING, Array, ArrayInterface, Steps

WORD = 8  # bytes of a word of the table
TABLE, WORKSPACE, WEIGHTS = 0, 1, 2  # the blocks of every call
PARAMETER = "parameter"  # what arrays are called that may be packed
Follow = Callable[[Any, Sequence[int]], Any]  # of the steps, and of `numbers`
KEPT = 1 << 20  # bytes of a workspace that is kept from one call to the next


class Block(NamedTuple):
    """Memory, and where it begins."""

    array: Array
    start: int


def new_block(size: int) -> Block:
    """Memory of so many bytes."""
    array = memory.empty((size,), np.uint8)
    return Block(array, address(array))


class Bindings:
    """The memory of one call at a time.

    Args:
        arrays: What the caller's arrays are.
        commands: What is run.

    Attributes:
        table: The words that the executor reads.
        words: The table as bytes.
        start: The address of the table.
        read: Gives the caller's arrays as they are to be, and where they begin.
        slots: What the caller's arrays are to be.
        makers: Each makes the array of a result.
        workspace, weights: Those of the call before, if they were kept.
        blocks: The arrays of blocks, while functions of Python are called.
        steps: Those of the run, if numbers vary with them.
        numbers: What varying numbers follow from.
        shifts: Where blocks begin that begin in another one: the place of that among the starts,
            and how many bytes later.
    """

    steps: Steps | None = None
    numbers: Sequence[int] = ()
    shifts: Sequence[tuple[int, int]] = ()

    def __init__(self, arrays: ArrayInterface, commands: PreparedCommands) -> None:
        self.arrays, self.commands = arrays, commands
        self.table = memory.empty(commands.template.shape, np.int64)
        self.table[...] = commands.template
        self.words = self.table.data.cast("B")
        self.start = address(self.table)
        self.patch(TABLE, self.start)
        self.slots: list[BufferView] = []
        self._shapes: list[tuple[int, ...]] | None = None  # of those that vary
        self.makers: list[Callable[[], Any]] = []
        if not commands.varies:
            self._know_shapes()
        self.workspace: Block | None = None
        self.weights: Block | None = None
        self.blocks: dict[int, Any] = {}
        self.entered: dict[int, Enter] = {}  # by the place of their job in the table

    def lay_out(self, recorded: RecordedSteps) -> None:
        """Have the table of the steps of a run."""
        self.steps, self.numbers = recorded.steps, recorded.numbers
        self._know_shapes()
        self.shifts = [(place, shift(self.numbers)) for place, shift in self.commands.shifts]
        self.table[self.commands.count_entries] = self.commands.all_counts(self.numbers)
        for indices, function in self.commands.varying:
            self.table[indices] = function(self.steps, self.numbers)

    def _know_shapes(self) -> None:
        """Find what reads the given arrays, and what makes the results."""
        given, results = self.commands.given, self.commands.results
        varying = [given[place].shape for place in self.commands.varying_given]
        varying += [results[place].shape for place in self.commands.varying_results]
        shapes = [*map(self.shape, varying)]
        if shapes == self._shapes:
            return
        self._shapes = shapes
        if not self.slots:
            self.slots, self.makers = [*map(self._view, given)], [*map(self._maker, results)]
        else:
            for place in self.commands.varying_given:
                self.slots[place] = self._view(given[place])
            for place in self.commands.varying_results:
                self.makers[place] = self._maker(results[place])
        self.read = self.arrays.reader(self.slots)

    def _maker(self, view: BufferView) -> Callable[[], Any]:
        return self.arrays.maker(self.shape(view.shape), view.dtype)

    def _view(self, view: BufferView) -> BufferView:
        """A view as it is for these steps."""
        if not view.varies:
            return view
        offset, shape = value_of(view.offset, self.numbers), self.shape(view.shape)
        return BufferView(view.block, offset, shape, view.strides, view.dtype, view.name)

    def shape(self, shape: Sequence[Count]) -> tuple[int, ...]:
        """A shape as it is for these steps."""
        return tuple(value_of(size, self.numbers) for size in shape)

    def patch(self, block: int, start: int) -> None:
        """Set what follows from where a block begins."""
        _patch(self.table, self.commands, block, start)

    def place(self, block: int, array: Array) -> None:
        """Have the array of a block that each run computes anew."""
        self.blocks[block] = array
        start = address(array)
        self.patch(block, start)
        for inner, outer, shift in self.commands.computed:
            if outer == block:
                self.patch(inner, start + shift(self.numbers))

    def array(self, view: BufferView) -> Array:
        """The array of a view."""
        view, block = self._view(view), self.blocks[view.block]
        memory = block if isinstance(block, np.ndarray) else self.arrays.view(block)
        return np.ndarray(view.shape, view.dtype, memory, view.offset, view.strides)


Step = Callable[[Bindings], None]


@dataclass(eq=False)
class PreparedCommands:
    """The commands of a run.

    Attributes:
        template: The table of words, without the addresses of arrays.
        steps: What is done: the jobs of the executor, by where in the table they are, in bytes; and
            functions of Python.
        rest: The same without what depends on parameters only.
        given: The arrays that the caller gives.
        results: Those that are made for each run.
        room: The bytes of the workspace.
        weights: The bytes of what depends on parameters only: packed matrices.
        contents: What is there; commands with equal contents may share them.
        constants: The arrays that are the same in every run, by their blocks.
        entries: Where in the table the address of each block is; those of the given arrays, of the
            results, of the workspace and of the weights are one after another.
        relocations: What follows from the address of each of the other blocks: as rows the entry of
            the table, that of the block, the offset in bytes.
        codes: The kernels, which live as long as this.
        varies: Whether steps of other numbers of rows may be run.
        shifts: The blocks that begin in another one, which come after the weights: the place of
            that one, and how many bytes later they begin.
        computed: Those that begin in an array that a function computes: the block, that of the
            array, and how many bytes later it begins.
        counts: The words of the table that are numbers that vary.
        varying: Others that follow from the steps.
    """

    template: Array
    steps: list[Step | int]
    rest: list[Step | int]
    given: list[BufferView]
    results: list[BufferView]
    room: int
    weights: int
    contents: bytes
    constants: dict[int, Array]
    entries: dict[int, int]
    relocations: dict[int, Array]
    codes: list[Code]
    varies: bool
    shifts: list[tuple[int, Varying]]
    computed: list[tuple[int, int, Varying]]
    counts: list[tuple[Any, Varying]]
    varying: list[tuple[Any, Follow]]
    _idle: list[Bindings] = field(default_factory=list)

    def __post_init__(self) -> None:
        for block, array in self.constants.items():
            _patch(self.template, self, block, address(array))
        own = (*self.given, *self.results)
        self._blocks = [*(view.block for view in own), WORKSPACE, WEIGHTS]
        self._bytes = [*(view.bytes for view in own), self.room, self.weights]
        kinds = [view.name[0] for view in self.given]
        first = kinds.index(PARAMETER) if PARAMETER in kinds else 0
        self._parameters = slice(first, first + kinds.count(PARAMETER))
        self._store = Struct(f"={len(self._blocks) + len(self.shifts)}q").pack_into
        self._behind = self.entries[self._blocks[0]] * WORD
        self._calls = not all(isinstance(step, int) for step in self.steps)
        self._execute = executor.executor().run
        self.varying_given = [n for n, view in enumerate(self.given) if view.varies]
        self.varying_results = [n for n, view in enumerate(self.results) if view.varies]
        own = {number: place for place, number in enumerate({n: n for _, n in self.counts})}
        places = [(indices, own[number]) for indices, number in self.counts]
        self._counts = [*own]
        sizes = [np.size(indices) for indices, _ in places]
        self.count_entries = np.array([n for part, _ in places for n in np.ravel(part)], np.int64)
        self._which = np.repeat([which for _, which in places], sizes).astype(np.int64)

    def all_counts(self, numbers: Sequence[int]) -> Array:
        """The words of the table that are numbers that vary, given what these follow from."""
        known = [number(numbers) for number in self._counts]
        return np.array(known, np.int64)[self._which]

    def memory(self, arrays: ArrayInterface) -> Bindings:
        """Memory for runs one after another; argument as of `Bindings`."""
        return Bindings(arrays, self)

    def run(
        self,
        interface: ArrayInterface,
        given: Sequence[Any],
        made: Mapping[int, Any] = NOTHING,
        packed: PackedWeights | None = None,
        recorded: RecordedSteps | None = None,
    ) -> list[Any]:
        """Run.

        Args:
            interface: What the caller's arrays are.
            given: The arrays that the caller gives.
            made: Results that there is memory for already, by their places in what this returns.
            packed: Where packed weights are kept from one run to the next.
            recorded: The steps, if numbers vary with them.

        Returns:
            The arrays that were given, as they were read, and the results.
        """
        bindings = self._take(interface)
        if self.varies and recorded is not None and bindings.steps is not recorded.steps:
            bindings.lay_out(recorded)
        arrays, starts = bindings.read(given)
        packing = None
        if packed is not None and self.weights:
            own = self._parameters
            packing = packed.find(self.contents, interface, arrays[own], starts[own])
        results = [make() for make in bindings.makers]
        for place, array in made.items():
            results[place - len(arrays)] = array
        workspace = self._workspace(bindings)
        steps = self.steps
        if packing is None:
            weights = self._weights(bindings)
        elif packing.memory is None:
            weights = new_block(self.weights)
        else:
            steps, weights = self.rest, packing.memory
        starts = *starts, *map(interface.address, results), workspace.start, weights.start
        found = [*arrays, *results]
        self.run_in(bindings, starts, steps, (*found, workspace.array, weights.array))
        if packed is not None and packing is not None and packing.memory is None:
            packing.memory = weights
            packed.keep(self.contents, packing)
        self._idle.append(bindings)
        return found

    def _take(self, interface: ArrayInterface) -> Bindings:
        """Memory that no other thread uses."""
        bindings = self._idle.pop() if self._idle else None
        if bindings is None or bindings.arrays is not interface:
            return self.memory(interface)
        return bindings

    def _workspace(self, bindings: Bindings) -> Block:
        workspace = bindings.workspace or new_block(self.room)
        bindings.workspace = workspace if self.room <= KEPT else None
        return workspace

    def _weights(self, bindings: Bindings) -> Block:
        weights = bindings.weights or new_block(self.weights)
        bindings.weights = weights if self.weights <= KEPT else None
        return weights

    def entry(
        self, interface: ArrayInterface, packed: PackedWeights | None, stamp: Sequence[Any]
    ) -> Callable[[Sequence[int]], None] | None:
        """As `anyrnn.kernels.target.Target.entry`."""
        if self.varies:
            return None
        steps, idle, weights = self.steps, self._idle, None
        if packed is not None and self.weights:
            packing = packed.kept(self.contents, [*stamp])
            if packing is None:
                return None
            steps, weights = self.rest, packing.memory
        first = steps[0] if len(steps) == 1 else None
        job = first if isinstance(first, int) else None  # the only thing to do, if it is one

        def run(addresses: Sequence[int]) -> None:
            bindings = self._take(interface)
            workspace, own = self._workspace(bindings), weights or self._weights(bindings)
            starts = [*addresses, workspace.start, own.start]
            if job is None:
                self.run_in(bindings, starts, steps, map(memory_at, starts, self._bytes))
            else:
                enter = bindings.entered.get(job)
                if enter is None:
                    enter = bindings.entered[job] = self.caller(bindings, len(starts), job)
                enter(starts)
            idle.append(bindings)

        return run

    def forget(self) -> None:
        """Release large workspaces."""
        if max(self.room, self.weights) >= memory.LEAST:
            for bindings in [*self._idle]:
                bindings.workspace = bindings.weights = None

    def write(self, bindings: Bindings, starts: Sequence[int]) -> None:
        """Write into the table where the given arrays, the results, the workspace and the weights
        begin.
        """
        shifted = [starts[place] + shift for place, shift in bindings.shifts]
        self._store(bindings.words, self._behind, *starts, *shifted)

    def caller(
        self, bindings: Bindings, count: int, job: int, kept: object = None
    ) -> Callable[[list[int]], None]:
        """What writes the first of these only, and carries out a job.

        Args:
            bindings: The memory.
            count: How many.
            job: Where in the table the job is, in bytes.
            kept: What lives as long as what is returned.
        """
        start = bindings.start
        place = bindings.words, self._behind, start + self._behind
        return job_entry(start + job, *place, count, kept)

    def run_in(
        self,
        bindings: Bindings,
        starts: Sequence[int],
        steps: Sequence[Step | int],
        arrays: Iterable[Any],
    ) -> None:
        """Run in some memory, without checks.

        Args:
            bindings: The memory, which no other thread uses.
            starts: Where the given arrays, the results, the workspace and the weights begin.
            steps: What is done.
            arrays: What begins there, as functions of Python are given it.
        """
        self.write(bindings, starts)
        if self._calls:
            bindings.blocks = dict(zip(self._blocks, arrays, strict=True)) | self.constants
        execute, table = self._execute, bindings.start
        for step in steps:
            if isinstance(step, int):
                execute(table + step)
            else:
                step(bindings)
        if self._calls:
            bindings.blocks = {}


def _patch(table: Array, commands: PreparedCommands, block: int, start: int) -> None:
    table[commands.entries[block]] = start
    relocations = commands.relocations[block]
    table[relocations[:, 0]] = start + relocations[:, 2]
