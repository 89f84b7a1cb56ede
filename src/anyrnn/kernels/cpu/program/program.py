"""Run a schedule over a sequence: what comes before the loop, the loop, what comes after it, for
one segment of the steps after another.

Large arrays between these parts would cost a pass through memory for each. A segment has as many
steps as let its arrays stay in a cache; their memory serves every segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.kernels.cpu.program.commands import Bindings, BufferView, CommandBuffer
from anyrnn.kernels.cpu.program.instructions import (
    JOINED,
    Frame,
    Instruction,
    Operate,
    Operations,
    OuterGradients,
)
from anyrnn.kernels.cpu.program.loop_kernel import Loop
from anyrnn.kernels.cpu.program.outside_loop import Writer
from anyrnn.kernels.run import NOTHING, Array, ArrayInterface, History, Run, Steps
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.residuals import BEFORE

SEGMENT_BYTES = 8 << 20  # of the arrays between the parts of a run
WRITTEN = 64  # tapes of a program that are kept
KEPT = 1 << 20  # bytes of a workspace that is kept from one call to the next

compiled_loop = lru_cache(maxsize=1024)(Loop)


class Outcome(NamedTuple):
    """What a run has computed, or where it will be.

    Attributes:
        results: The results for each row, by name.
        histories: The histories of the states that were asked for, by name.
        states: The last states, by name.
        gradients: The gradients of stored parameters, by name.
    """

    results: dict[str, Any]
    histories: dict[str, Any]
    states: dict[str, Any]
    gradients: dict[str, Any]


class Machine(NamedTuple):
    """What a run is written for besides itself.

    Attributes:
        processor: The CPU to compile for.
        threads: The number of threads.
        runtime: Whose threads they are.
    """

    processor: Processor
    threads: int
    runtime: Any


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
        backward: Whether the schedule is that of the derivative, which goes against the run.
    """

    def __init__(
        self,
        cell: Cell,
        planned: Schedule,
        sizes: Mapping[str, int],
        results: Sequence[str],
        histories: Sequence[str],
        gradients: Sequence[str],
        backward: bool = False,
    ) -> None:
        self.cell, self.planned, self.sizes, self.backward = cell, planned, sizes, backward
        self.results, writer = tuple(results), Writer(cell, planned, sizes)
        nodes, known = [*planned.before, *planned.after], [*histories]
        while True:  # a state that is read after the loop needs its history, and that may need more
            wanted = [planned.graph.outputs[name] for name in (*results, *known)]
            instructions, self.last = writer.instructions(
                nodes, [*planned.loop_inputs, *wanted], gradients
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
        self.width = writer.width
        self.draws = planned.graph.draws
        self.input_names = tuple(dict.fromkeys(name for _, name in self.inputs))
        self._written: dict[Any, tuple[CommandBuffer, Outcome]] = {}
        self._idle: dict[
            CommandBuffer, Bindings
        ] = {}  # the memory of the last run, if it was small

    def _read_leaves(self) -> None:
        """Where parameters are, and what numbers are."""
        self.parameters: list[tuple[Node, str, slice]] = []
        self.numbers: list[tuple[Node, float]] = []
        rows = {
            name: (stored.name, part)
            for stored in self.cell.parameters
            for name, part in stored.rows(self.sizes).items()
        }
        graph = self.planned.graph
        for leaf in graph.nodes():
            if leaf.operation == "parameter":
                self.parameters.append((leaf, *rows[leaf.name]))
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
        run: Run,
        machine: Machine,
        interface: ArrayInterface,
        inputs: Mapping[str, Any],
        states: Mapping[str, Any],
        parameters: Mapping[str, Any],
        seed: Any = None,
        into: Mapping[tuple[str, str], Any] = NOTHING,
    ) -> Outcome:
        """Run over sequences.

        Args:
            run: What is run, or was run and is gone back through.
            machine: What it runs on.
            interface: What kind of arrays these are.
            inputs: The inputs by name: for the rows of all steps, or the array of a history.
            states: The initial states by name, (batch, size).
            parameters: The stored parameters by name.
            seed: The seed of random numbers, for a schedule that draws some.
            into: Arrays for what comes out, by `results` or `histories` and the name: it is there
                if it is not a part of something else, or the same.

        Returns:
            What was asked for.
        """
        key = run, machine, interface
        found = self._written.get(key)
        if found is None:
            found = _Writing(self, run, machine, interface.operations).write()
            while len(self._written) >= WRITTEN:
                self._written.pop(next(iter(self._written)), None)
            self._written[key] = found
        commands, places = found
        given = [inputs[name] for name in self.input_names]
        given += [states[name] for name in self.planned.states]
        given += [parameters[stored.name] for stored in self.cell.parameters]
        given += [seed] if self.draws else []
        small = commands.room <= KEPT
        made = {}
        if into:
            whole = {place.block: place.shape for place in commands.results}
            for (part, name), array in into.items():
                place = getattr(places, part)[name]
                if whole.get(place.block) == place.shape:
                    made.setdefault(place.block, array)
        bindings = commands.run(
            interface, given, self._idle.pop(commands, None) if small else None, made
        )
        outcome = Outcome(
            *({name: bindings.rows(place) for name, place in part.items()} for part in places)
        )
        if small:
            commands.forget(bindings)
            self._idle = {commands: bindings}
        return outcome


class _Writing:
    """Writes the commands of a program."""

    def __init__(
        self,
        program: Program,
        run: Run,
        machine: Machine,
        operations: Operations,
    ) -> None:
        self.program, self.steps, self.dtype = program, run.steps, run.dtype
        self.reverse = run.reverse != program.backward
        self.commands = commands = CommandBuffer(
            run.dtype, machine.threads, machine.processor, run.operand
        )
        cell, states = program.cell, program.planned.states
        graph, batch = program.planned.graph, self.steps.batch
        widths = {name: program.width(leaf) for leaf, name in program.inputs}
        self.inputs = {}
        for name in program.input_names:
            rows = self.steps.rows + (batch if name.startswith(BEFORE) else 0)
            self.inputs[name] = commands.give((rows, widths[name]), name=("input", name))
        widths = {name: program.width(graph.outputs[name]) for name in states}
        self.states = {
            name: commands.give((batch, widths[name]), name=("state", name)) for name in states
        }
        parameters = {
            name: commands.give(shape, name=("parameter", name))
            for name, shape in cell.stored_shapes(program.sizes).items()
        }
        self.seed = commands.give((1,), np.int64, ("seed", "")) if program.draws else None
        self.segments = list(program.segments(self.steps, run.dtype.itemsize, self.reverse))
        offsets = self.steps.offsets
        capacity = max(int(offsets[stop] - offsets[start]) for start, stop in self.segments)
        self.frame = Frame(commands, {}, parameters, operations, capacity)

    def write(self) -> tuple[CommandBuffer, Outcome]:
        """Write all of it; and where what was asked for will be."""
        program, frame, commands = self.program, self.frame, self.commands
        self._compute_once()
        histories = self._make_results()
        loop = compiled_loop(program.planned, self.dtype, commands.target, operand=commands.operand)
        steps = self.steps
        rows = steps.rows / len(steps.batch_sizes)
        prepared = loop.prepare(self.commands, frame.values, program.sizes, steps.batch, rows=rows)
        states = self._pairs()
        offsets = steps.offsets
        for start, stop in self.segments:
            frame.first, frame.last = int(offsets[start]), int(offsets[stop])
            frame.sums.clear()
            for leaf, name in program.inputs:
                frame.values[leaf] = self._part(name)
            for instruction in program.before:
                instruction.write(frame)
            self._place_emitted()
            own = offsets[start : stop + 1] - offsets[start]
            prepared.run(own, frame.values, states, self.reverse, frame.emitted, start, self.seed)
            if (stop - start) % 2:
                states = {name: (second, first) for name, (first, second) in states.items()}
            self._copy(program.early, histories)
            for leaf, name in program.old:
                frame.values[leaf] = self._old(histories[name])
            for instruction in (*program.after, *program.last):
                instruction.write(frame)
            self._copy(program.late, histories)
            frame.fresh = False
        for instruction in program.last:
            if isinstance(instruction, OuterGradients):
                instruction.finish(frame)
        outputs = program.planned.graph.outputs
        results = {name: frame.whole[outputs[name]] for name in program.results}
        arrays = {name: history.array for name, history in histories.items()}
        last = {name: self._last(name, states[name]) for name in states}
        return self.commands.finish(), Outcome(results, arrays, last, frame.totals)

    def _compute_once(self) -> None:
        """What depends on parameters only."""
        frame, program = self.frame, self.program
        for leaf, name, rows in program.parameters:
            part = frame.parameters[name][rows]
            frame.values[leaf] = part if leaf.type.shape else part[0]
        for leaf, number in program.numbers:
            with np.errstate(over="ignore"):  # beyond the type it is an infinity
                value = np.array(number, self.dtype)
            frame.values[leaf] = self.commands.constant(value)
        for instruction in program.once:
            instruction.write(frame)

    def _make_results(self) -> dict[str, History]:
        """Memory for what is to be computed."""
        program, frame, commands, steps = self.program, self.frame, self.commands, self.steps
        outputs = program.planned.graph.outputs
        histories = {}
        for name in program.histories:
            place = commands.result((steps.rows + steps.batch, self.states[name].shape[1]))
            history = histories[name] = History(place, steps, self.reverse)
            commands.copy(self.states[name], history.initial)
            frame.whole.setdefault(outputs[name], history.new)
        for node, width in program.places:
            frame.whole[node] = commands.result((steps.rows, width))
        for name, shape, complete in program.totals:
            total = frame.totals[name] = commands.result(shape)
            if not complete:
                commands.call(_clear, total)
        return histories

    def _pairs(self) -> dict[str, tuple[BufferView, BufferView]]:
        """The initial states and room for the next ones; the last ones will be in a result."""
        commands, count = self.commands, len(self.steps.batch_sizes)
        pairs = {}
        for name, initial in self.states.items():
            if count == 1:
                pairs[name] = initial, commands.result(initial.shape)
                continue
            other = commands.scratch(initial.shape)
            last = (
                commands.scratch(initial.shape)
                if self._scattered
                else commands.result(initial.shape)
            )
            pair = (other, last) if count % 2 else (last, other)
            commands.copy(initial, pair[0])
            if not self.steps.constant:
                commands.copy(initial, pair[1])
            pairs[name] = pair
        return pairs

    @property
    def _scattered(self) -> bool:
        """Whether sequences end at different steps, and so in different places."""
        return not self.steps.constant and not self.reverse

    def _last(self, name: str, pair: tuple[BufferView, BufferView]) -> BufferView:
        """The last state, given the places of the last step's."""
        if not self._scattered:
            return pair[0]
        if len(self.steps.batch_sizes) % 2:
            pair = pair[1], pair[0]
        result = self.commands.result(pair[0].shape)
        self.commands.call(partial(_choose, self.steps.odd), *pair, result)
        return result

    def _part(self, name: str) -> BufferView:
        frame = self.frame
        if name.startswith(BEFORE):
            return self._old(History(self.inputs[name], self.steps, not self.reverse))
        return self.inputs[name][frame.first : frame.last]

    def _old(self, history: History) -> BufferView:
        """The state before the step of each of the rows."""
        rows = history.old(self.frame.first, self.frame.last)
        if isinstance(rows, slice):
            return history.array[rows]
        shape = (len(rows), history.array.shape[1])
        return self.commands.compute(partial(_rows, rows), [history.array], shape)

    def _place_emitted(self) -> None:
        """Where the loop writes."""
        program, frame = self.program, self.frame
        joined = frame.buffer(JOINED, program.joined) if program.joined else None
        for node, width, columns in program.emitted:
            if columns is None or joined is None:
                place = frame.place(node, width)
            else:
                place = joined[:, columns[0] : columns[1]]
            frame.emitted[node] = frame.values[node] = place

    def _copy(
        self, copies: Sequence[tuple[Node, str | None]], histories: Mapping[str, History]
    ) -> None:
        """Copy values into results that they are not written into."""
        frame = self.frame
        for node, name in copies:
            whole = frame.whole[node] if name is None else histories[name].new
            self.commands.copy(frame.values[node], whole[frame.first : frame.last])


def _clear(array: Array) -> None:
    array.fill(0)


def _choose(odd: Array, even_place: Array, odd_place: Array, out: Array) -> None:
    out[...] = np.where(odd, odd_place, even_place)


def _rows(rows: Array, array: Array) -> Array:
    return array[rows]


@lru_cache(maxsize=1024)
def program(
    cell: Cell,
    planned: Schedule,
    sizes: tuple[tuple[str, int], ...],
    results: tuple[str, ...],
    histories: tuple[str, ...] = (),
    gradients: tuple[str, ...] = (),
    backward: bool = False,
) -> Program:
    """The program for a schedule and sizes; the arguments are those of `Program`."""
    return Program(cell, planned, dict(sizes), results, histories, gradients, backward)
