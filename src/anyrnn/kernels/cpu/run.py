"""Run a schedule over a sequence: what comes before the loop, the loop, what comes after it, for
one segment of the steps after another.

Large arrays between these parts would cost a pass through memory for each. A segment has as many
steps as let its arrays stay in a cache; their memory serves every segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import NUMPY
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu import memory
from anyrnn.kernels.cpu.instructions import (
    JOINED,
    Array,
    Frame,
    Instruction,
    Operate,
    Operations,
    OuterGradients,
)
from anyrnn.kernels.cpu.loop import Loop
from anyrnn.kernels.cpu.outside import Writer
from anyrnn.kernels.cpu.target import Target
from anyrnn.schedule.loop import Schedule

SEGMENT_BYTES = 16 << 20  # of the arrays between the parts of a run

compiled_loop = lru_cache(maxsize=1024)(Loop)


@dataclass(frozen=True)
class Steps:
    """The steps of a batch of sequences, whose rows lie one after another.

    Attributes:
        batch_sizes: The number of rows of each step, never rising.
        offsets: The first row of each step, and the number of all rows.
        rows: The number of rows of all steps.
    """

    batch_sizes: tuple[int, ...]
    offsets: Array = field(init=False, repr=False, compare=False)
    rows: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        offsets = np.concatenate([[0], np.cumsum(self.batch_sizes)]).astype(np.int64)
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "rows", int(offsets[-1]))

    @property
    def batch(self) -> int:
        """The number of sequences."""
        return self.batch_sizes[0]

    @property
    def constant(self) -> bool:
        """Whether every step has a row of each sequence."""
        return self.batch_sizes[-1] == self.batch_sizes[0]

    @cached_property
    def _row(self) -> Array:
        """The sequence of each row."""
        return np.arange(self.rows) - np.repeat(self.offsets[:-1], self.batch_sizes)

    @cached_property
    def before(self) -> Array:
        """Where a history from the first step on has the row that comes before each row."""
        start = np.concatenate([[0], self.batch + self.offsets[:-2]])
        return np.repeat(start, self.batch_sizes) + self._row

    @cached_property
    def after(self) -> Array:
        """Where a history from the last step on has the row that comes after each row."""
        following = np.append(self.batch_sizes[1:], 0)
        goes_on = self._row < np.repeat(following, self.batch_sizes)
        start = np.repeat(self.offsets[1:], self.batch_sizes)
        return np.where(goes_on, start, self.rows) + self._row


@dataclass(frozen=True)
class History:
    """A state after each step, and the initial one: in front, or at the end of a run that goes
    from the last step to the first.

    Attributes:
        array: The rows of all steps and the initial ones, (rows + batch, size).
        steps: The steps.
        reverse: Whether the run went from the last step to the first.
    """

    array: Array
    steps: Steps
    reverse: bool

    @property
    def initial(self) -> Array:
        """The initial state."""
        batch = self.steps.batch
        return self.array[-batch:] if self.reverse else self.array[:batch]

    @property
    def new(self) -> Array:
        """The state after each step, for the rows of all steps."""
        batch = self.steps.batch
        return self.array[:-batch] if self.reverse else self.array[batch:]

    def old(self, first: int, last: int) -> Array:
        """The state before the step of each of some rows."""
        if self.steps.constant:
            shift = self.steps.batch if self.reverse else 0
            return self.array[first + shift : last + shift]
        index = self.steps.after if self.reverse else self.steps.before
        return self.array[index[first:last]]


@dataclass(frozen=True)
class Outcome:
    """What a run has computed.

    Attributes:
        results: The results for each row, by name.
        histories: The histories of the states that were asked for, by name.
        states: The last states, by name.
        gradients: The gradients of stored parameters, by name.
    """

    results: dict[str, Array]
    histories: dict[str, History]
    states: dict[str, Array]
    gradients: dict[str, Array]


class Program:
    """What to do to run a schedule, for a cell of given sizes; `program` keeps it for the next
    call.

    Args:
        cell: The cell.
        planned: The schedule of its step, or of its derivative's step.
        sizes: The named sizes.
        results: The names of the results that are wanted for each row.
        histories: The names of the states whose histories are wanted.
        gradients: The names of the stored parameters whose gradients are wanted.
    """

    def __init__(
        self,
        cell: Cell,
        planned: Schedule,
        sizes: Mapping[str, int],
        results: Sequence[str],
        histories: Sequence[str],
        gradients: Sequence[str],
    ) -> None:
        self.cell, self.planned, self.sizes = cell, planned, sizes
        self.results, writer = tuple(results), Writer(cell, planned, sizes)
        nodes, known = [*planned.before, *planned.after], [*histories]
        while True:  # a state that is read after the loop needs its history, and that may need more
            wanted = [planned.graph.outputs[name] for name in (*results, *known)]
            instructions, self.last = writer.instructions(
                nodes, [*planned.carried, *wanted], gradients
            )
            needed = {argument for part in instructions for argument in part.arguments}
            needed |= {argument for part in self.last for argument in part.arguments}
            leaves = planned.graph.leaves("state")
            self.old = [(leaf, leaf.name) for leaf in leaves if leaf in needed or leaf in wanted]
            self.histories = tuple(dict.fromkeys([*histories, *(name for _, name in self.old)]))
            if len(self.histories) == len(known):
                break
            known = [*self.histories]
        before = set(planned.before)
        self.before = [part for part in instructions if part.results[0] in before]
        self.after = [part for part in instructions if part.results[0] not in before]
        self.once = [writer.operation(node) for node in planned.once if not node.is_leaf]
        self._read_leaves()
        self._lay_out(writer, instructions)

    def _read_leaves(self) -> None:
        """Where parameters are, and what numbers are."""
        self.parameters: list[tuple[Node, str, int, int]] = []
        self.numbers: list[tuple[Node, float]] = []
        places = {
            name: (stored.name, first.evaluate(self.sizes), end.evaluate(self.sizes))
            for stored in self.cell.parameters
            for name, (first, end) in zip(stored.members, pairwise(stored.bounds), strict=True)
        }
        graph = self.planned.graph
        for leaf in graph.nodes():
            if leaf.operation == "parameter":
                name, start, stop = places[leaf.name]
                self.parameters.append((leaf, name, start, stop))
            elif leaf.operation == "constant":
                self.numbers.append((leaf, leaf.attributes["value"]))
            elif leaf.operation == "size":
                self.numbers.append((leaf, leaf.attributes["size"].evaluate(self.sizes)))
        self.inputs = [(leaf, leaf.name) for leaf in graph.leaves("input")]

    def _lay_out(self, writer: Writer, instructions: Sequence[Instruction]) -> None:
        """Which values are written into results, which are copied there, which need memory."""
        outputs = self.planned.graph.outputs
        homes: dict[Node, str] = {}  # the history that a value is written into
        copies: list[tuple[Node, str | None]] = []
        for name in self.histories:
            if homes.setdefault(outputs[name], name) != name:
                copies.append((outputs[name], name))
        results = dict.fromkeys(outputs[name] for name in self.results)
        self.places = [(node, writer.width(node)) for node in results if node not in homes]
        whole = {**homes, **results}
        written = {node for node in self.planned.emitted if node not in writer.columns}
        for instruction in instructions:
            if not isinstance(instruction, Operate) and len(instruction.results) == 1:
                written.update(node for node in instruction.results if node.type.per_row)
        copies += [(node, None) for node in whole if node not in written]
        late = {*self.planned.after, *(leaf for leaf, _ in self.old)}
        self.early = [copy for copy in copies if copy[0] not in late]
        self.late = [copy for copy in copies if copy[0] in late]
        self.emitted = [
            (node, writer.width(node), writer.columns.get(node)) for node in self.planned.emitted
        ]
        self.joined = sum(stop - start for start, stop in writer.columns.values())
        kept = [node for part in instructions for node in part.results if node.type.per_row]
        kept += self.planned.emitted
        self.row_size = sum(writer.width(node) for node in kept if node not in whole)
        self.totals = []
        for stored in self.cell.parameters:
            own = [rows for part in self.last for name, *rows in part.places if name == stored.name]
            if own:
                shape = stored.shape_for(self.sizes)
                complete = sum(stop - start for start, stop in own) == shape[0]
                self.totals.append((stored.name, shape, complete))

    def segments(self, steps: Steps, itemsize: int, reverse: bool) -> Iterator[tuple[int, int]]:
        """The segments of the steps, in the order in which they run: the first step, the end."""
        count = len(steps.batch_sizes)
        most = SEGMENT_BYTES // max(1, self.row_size * steps.batch * itemsize)
        number = -(-count // max(1, most))
        for place in reversed(range(number)) if reverse else range(number):
            yield count * place // number, count * (place + 1) // number

    def run(
        self,
        steps: Steps,
        reverse: bool,
        inputs: Mapping[str, Array | History],
        states: Mapping[str, Array],
        parameters: Mapping[str, Array],
        threads: int,
        operations: Operations = NUMPY,
        target: Target | None = None,
    ) -> Outcome:
        """Run over a sequence.

        Args:
            steps: The steps.
            reverse: From the last step to the first.
            inputs: The inputs by name: for the rows of all steps; of a history the state before
                each step.
            states: The initial states by name, (batch, size).
            parameters: The stored parameters by name.
            threads: The most threads to use.
            operations: A function for each elementwise operation outside the loop.
            target: The CPU to compile for; this one if not given.

        Returns:
            What was asked for.
        """
        dtype = next(iter(states.values())).dtype
        segments = list(self.segments(steps, dtype.itemsize, reverse))
        offsets = steps.offsets
        capacity = max(int(offsets[stop] - offsets[start]) for start, stop in segments)
        frame = Frame({}, parameters, NUMPY, {}, {}, capacity, dtype, threads, target)
        self._compute_once(frame)
        frame.operations = operations
        histories = self._make_results(frame, steps, reverse, states)
        prepared = compiled_loop(self.planned, dtype, target).prepare(
            frame.values, self.sizes, steps.batch, threads
        )
        for start, stop in segments:
            frame.first, frame.last = int(offsets[start]), int(offsets[stop])
            frame.sums.clear()
            for leaf, name in self.inputs:
                frame.values[leaf] = _part(inputs[name], frame)
            for instruction in self.before:
                instruction.run(frame)
            self._place_emitted(frame)
            own = offsets[start : stop + 1] - offsets[start]
            _, states = prepared.run(own, frame.values, states, reverse, frame.emitted)
            self._copy(frame, self.early, histories)
            for leaf, name in self.old:
                frame.values[leaf] = histories[name].old(frame.first, frame.last)
            for instruction in (*self.after, *self.last):
                instruction.run(frame)
            self._copy(frame, self.late, histories)
            frame.fresh = False
        for instruction in self.last:
            if isinstance(instruction, OuterGradients):
                instruction.finish(frame)
        outputs = self.planned.graph.outputs
        results = {name: frame.whole[outputs[name]] for name in self.results}
        return Outcome(results, histories, dict(states), frame.totals)

    def _compute_once(self, frame: Frame) -> None:
        """What depends on parameters only."""
        values = frame.values
        for leaf, name, start, stop in self.parameters:
            part = frame.parameters[name][start:stop]
            values[leaf] = part if leaf.type.shape else part[0]
        for leaf, number in self.numbers:
            values[leaf] = np.asarray(number, frame.dtype)
        for instruction in self.once:
            instruction.run(frame)

    def _make_results(
        self, frame: Frame, steps: Steps, reverse: bool, states: Mapping[str, Array]
    ) -> dict[str, History]:
        """Memory for what is to be computed."""
        outputs, dtype = self.planned.graph.outputs, frame.dtype
        histories = {}
        for name in self.histories:
            shape = (steps.rows + steps.batch, states[name].shape[1])
            history = histories[name] = History(memory.empty(shape, dtype), steps, reverse)
            history.initial[...] = states[name]
            frame.whole.setdefault(outputs[name], history.new)
        for node, width in self.places:
            frame.whole[node] = memory.empty((steps.rows, width), dtype)
        for name, shape, complete in self.totals:
            total = frame.totals[name] = memory.empty(shape, dtype)
            if not complete:
                total.fill(0)
        return histories

    def _place_emitted(self, frame: Frame) -> None:
        """Where the loop writes."""
        joined = frame.buffer(JOINED, self.joined) if self.joined else None
        for node, width, columns in self.emitted:
            if columns is None or joined is None:
                place = frame.place(node, width)
            else:
                place = joined[:, columns[0] : columns[1]]
            frame.emitted[node] = frame.values[node] = place

    @staticmethod
    def _copy(
        frame: Frame,
        copies: Sequence[tuple[Node, str | None]],
        histories: Mapping[str, History],
    ) -> None:
        """Copy values into results that they are not written into."""
        for node, name in copies:
            whole = frame.whole[node] if name is None else histories[name].new
            whole[frame.first : frame.last] = frame.values[node]


def _part(given: Array | History, frame: Frame) -> Array:
    if isinstance(given, History):
        return given.old(frame.first, frame.last)
    return given[frame.first : frame.last]


@lru_cache(maxsize=1024)
def program(
    cell: Cell,
    planned: Schedule,
    sizes: tuple[tuple[str, int], ...],
    results: tuple[str, ...],
    histories: tuple[str, ...] = (),
    gradients: tuple[str, ...] = (),
) -> Program:
    """The program for a schedule and sizes; the arguments are those of `Program`."""
    return Program(cell, planned, dict(sizes), results, histories, gradients)
