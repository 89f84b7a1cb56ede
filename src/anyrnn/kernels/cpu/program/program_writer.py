"""Writes the commands of a run, segment by segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from anyrnn.graph.interpret import evaluate
from anyrnn.graph.keys import Before
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.kernels.cpu.program.block_views import LINE
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.loop_kernel import compiled_loop
from anyrnn.kernels.cpu.program.placed_rows import PlacedRows
from anyrnn.kernels.cpu.program.prepared_commands import PreparedCommands
from anyrnn.kernels.cpu.program.program_plan import OUTPUT, ProgramPlan
from anyrnn.kernels.cpu.program.residual_layout import PACKED, ResidualLayout
from anyrnn.kernels.cpu.program.row_clearing import clear_rest
from anyrnn.kernels.cpu.program.segment_operations import (
    SIDE_BY_SIDE,
    Frame,
    Operations,
    OuterGradients,
    Place,
)
from anyrnn.kernels.cpu.program.step_rows import SegmentSteps
from anyrnn.kernels.cpu.program.varying import RecordedSteps
from anyrnn.kernels.run import INT8, Array, History, Places, Run


class Outcome(NamedTuple):
    """What a run has computed, or where it will be, by name: the results for each row and the
    histories of states (`Before`), the last states, the gradients of stored parameters.
    """

    results: dict[Any, Any]
    states: dict[Any, Any]
    gradients: dict[str, Any]


class Machine(NamedTuple):
    """The CPU that a run is compiled for, the number of threads, and whose threads they are."""

    processor: Processor
    threads: int
    runtime: Any


Histories = dict[str, History]
Written = tuple[PreparedCommands, tuple[Any, ...], Outcome]


class ProgramWriter:
    """Writes the commands of a run, with a framework's elementwise operations outside the loop."""

    def __init__(
        self,
        plan: ProgramPlan,
        layout: ResidualLayout | None,
        run: Run,
        recorded: RecordedSteps,
        machine: Machine,
        operations: Operations,
    ) -> None:
        self.plan, self.steps, self.dtype = plan, recorded, run.dtype
        self.layout = ResidualLayout({}, {}, {}) if layout is None else layout
        self.reverse = run.reverse != plan.backward
        kind = machine.processor, run.dtype, run.operand
        single = recorded.single and recorded.constant  # packing does not pay for one step
        packed = not single or plan.backward or run.transposed or run.operand == INT8
        self.commands = commands = CommandBuffer(arithmetic(*kind), machine.threads, recorded)
        self.given: dict[Any, BufferView] = {}
        self.inputs = {leaf.name: self._give(leaf.name, plan.width(leaf)) for leaf in plan.inputs}
        self.states = {
            name: commands.give((recorded.given, plan.width(node)), name=("state", str(name)))
            for name, node in plan.planned.new_states.items()
        }
        self.order = -1 if run.transposed else 1  # of the axes of matrices
        parameters = {
            name: self._turned(commands.give(shape[:: self.order], name=("parameter", name)))
            for name, shape in plan.cell.stored_shapes(plan.sizes).items()
        }
        self.seed = commands.give((1,), np.int64, ("seed", "")) if plan.draws else None
        segments = recorded.segments
        self.segments = [*reversed(segments)] if self.reverse else segments
        most = recorded.most_rows, recorded.most_part
        self.frame = Frame(
            commands,
            {},
            parameters,
            operations,
            plan.columns,
            *most,
            self.segments[0],
            len(segments) == 1,
            arithmetic(*kind, packed),
        )

    def _turned(self, view: BufferView) -> BufferView:
        """A parameter, or its gradient, from the caller's layout to the stored one, or back."""
        return view.T if self.order < 0 and len(view.shape) == 2 else view

    def _give(self, name: Any, width: int) -> BufferView:
        """An input, for the rows of all steps: an array that the caller gives, or in one."""
        layout, rows, batch = self.layout, self.steps.rows, self.steps.batch
        whole = layout.shared.get(name)
        if whole is not None:
            history = self._give(whole, width)
            return History(history, self.steps, not self.reverse).new
        array = PACKED if name in layout.packed else name
        if array not in self.given:
            known = layout.arrays.get(array)
            rows = rows if self._places_of(array) is None else self.steps.padded
            shape = (rows, width) if known is None else known.shape(rows, batch)
            self.given[array] = self.commands.give(shape, name=("input", str(array)))
        found = self.given[array]
        return layout.views(found, self.steps)[name] if array == PACKED else found

    def _places_of(self, name: Any) -> Callable[[Any], Places] | None:
        """What gives the places of the rows of an input, given steps, if it is padded."""
        known = {self.plan.cell.input: attrgetter("input"), OUTPUT: attrgetter("output")}
        return known.get(name) if self.steps.placed else None

    def write(self) -> Written:
        """Write all commands; with them the names of the inputs, and where the results are."""
        plan, frame, commands = self.plan, self.frame, self.commands
        self._compute_once()
        steps = self.steps
        begun: dict[Any, tuple[BufferView, BufferView]] = {}
        if steps.placed:
            begun = {name: self._chosen(state) for name, state in self.states.items()}
        histories = self._make_results(begun)
        padded, twice = self._make_padded()
        read = {leaf for leaf in plan.inputs if self._places_of(leaf.name) is not None}
        placed = frozenset(read.intersection(plan.planned.loop_inputs) | {*frame.placed})
        loop = compiled_loop(plan.planned, frame.computing, placed, frozenset(twice))
        prepared = loop.prepare(
            self.commands, frame.values, plan.sizes, steps.most[0], rows=steps.mean
        )
        states = begun or self._pairs()
        for segment in self.segments:
            if not frame.fresh:
                commands.pause()
            frame.segment = segment
            frame.gathered.clear()
            for leaf in plan.inputs:
                frame.values[leaf] = self._input(leaf.name)
            for operation in plan.before:
                operation.write(frame)
            self._place_emitted()
            own = SegmentSteps(segment, steps.most_steps)
            values = frame.values | {
                node: frame.rows_of(node) for node in plan.planned.loop_inputs if node not in placed
            }
            also = {node: rows[segment.first : segment.last] for node, rows in twice.items()}
            prepared.run(own, values, states, self.reverse, segment.start, self.seed, also)
            if segment.odd:
                states = {name: (second, first) for name, (first, second) in states.items()}
            self._copy(plan.early, histories)
            for leaf in plan.old:
                frame.values[leaf] = self._old(histories[leaf.name])
            for operation in (*plan.after, *plan.last):
                operation.write(frame)
            self._copy(plan.late, histories)
            frame.fresh = False
        for operation in plan.last:
            if isinstance(operation, OuterGradients):
                operation.finish(frame)
        outputs = plan.planned.graph.outputs
        nodes = {name: outputs[name] for name in plan.results}
        results = {name: frame.whole[node] for name, node in nodes.items() if node in frame.whole}
        if padded is not None:
            results[plan.results[0]] = padded
        results |= {Before(name): history.array for name, history in histories.items()}
        if self.saved is not None:
            results = {n: view for n, view in results.items() if n not in self.layout.packed}
            results[PACKED] = self.saved
            output = results[plan.cell.output]
            if output.block == self.saved.block:  # this policy makes a residual of the output
                results[plan.cell.output] = own = commands.result(output.shape)
                commands.copy(output, own)
        last = {name: self._last(name, states[name]) for name in states}
        totals = {name: self._turned(total) for name, total in frame.totals.items()}
        parts = results, last, totals
        return commands.finish(), tuple(self.given), Outcome(*map(commands.rows, parts))

    def _compute_once(self) -> None:
        """Locate the parameters, and compute what depends on them only."""
        frame, plan = self.frame, self.plan
        for leaf, rows in plan.parameters:
            part = frame.stored(rows)
            frame.values[leaf] = part if leaf.type.shape else part[0]
        for leaf, number in evaluate(plan.numbers, {}, plan.sizes, self.dtype).items():
            frame.values[leaf] = self.commands.constant(number)
        with self.commands.once():
            for operation in plan.once:
                operation.write(frame)

    def _make_results(self, begun: Mapping[Any, tuple[BufferView, BufferView]]) -> Histories:
        """The arrays of the results; the histories. Placed rows begin with some states."""
        plan, frame, commands, steps = self.plan, self.frame, self.commands, self.steps
        outputs = plan.planned.graph.outputs
        histories, saved = {}, self._saved()
        for name in plan.histories:
            place = saved.get(Before(name))
            if place is None:
                place = commands.result((steps.rows + steps.batch, self.states[name].shape[1]))
            history = histories[name] = History(place, steps, self.reverse)
            commands.copy(begun[name][0] if begun else self.states[name], history.initial)
            frame.whole.setdefault(outputs[name], history.new)
        places = {outputs[name]: view for name, view in saved.items() if name in outputs}
        for node, width in plan.places:
            place = places.get(node)
            if place is None and (steps.placed and node == plan.result and not plan.kept):
                continue
            frame.whole[node] = commands.result((steps.rows, width)) if place is None else place
        for name, shape, complete in plan.totals:
            total = commands.result(shape[:: self.order])
            frame.totals[name] = self._turned(total)
            if not complete:
                commands.clear(total)
        return histories

    def _make_padded(self) -> tuple[BufferView | None, dict[Node, PlacedRows]]:
        """The padded array of the first result, with zeros where no step is; and its rows, if it is
        also needed with one row after another.
        """
        plan, frame, node = self.plan, self.frame, self.plan.result
        if not self.steps.placed or node is None:
            return None, {}
        places: Callable[[Any], Places] = attrgetter("input" if plan.backward else "output")
        array = self.commands.result((self.steps.padded, plan.width(node)))
        clear_rest(self.commands, array, places)
        rows = {node: PlacedRows(array, lambda steps: places(steps).rows, 0, self.steps.rows)}
        if plan.twice:
            return array, rows
        frame.placed |= rows
        return array, {}

    def _saved(self) -> dict[Any, BufferView]:
        """The residuals that lie in one array, if this run saves any."""
        self.saved = None
        if self.plan.backward or not self.layout.packed:
            return {}
        shape = self.layout.arrays[PACKED].shape(self.steps.rows, self.steps.batch)
        self.saved = self.commands.result(shape)
        return self.layout.views(self.saved, self.steps)

    def _pairs(self) -> dict[str, tuple[BufferView, BufferView]]:
        """The two buffers of each state, so that the last state ends up in a result."""
        commands, batch = self.commands, self.steps.most[0]
        pairs = {}
        for name, initial in self.states.items():
            if self.steps.single:
                pairs[name] = initial, commands.result(initial.shape)
                continue
            room = batch, initial.shape[1]
            other = commands.scratch(room)[: initial.shape[0]]
            if self._scattered:
                last = commands.scratch(room)[: initial.shape[0]]
            else:
                last = commands.result(initial.shape)
            pair = (other, last) if self.steps.odd else (last, other)
            commands.copy(initial, pair[0])
            if not self.steps.constant:
                commands.copy(initial, pair[1])
            pairs[name] = pair
        return pairs

    def _chosen(self, given: BufferView) -> tuple[BufferView, BufferView]:
        """The same with the states with which sequences begin, among those that are given."""
        commands, (size, _), width = self.commands, given.strides, given.shape[1]
        room = commands.scratch((2 * self.steps.most[0] + self.steps.most_given, width))
        first, second, kept = (room[start:] for start in self._parts)
        pair = first[: self.steps.batch], second[: self.steps.batch]
        commands.copy(given, kept[: given.shape[0]])  # the last state where no step counts
        commands.copy_rows(
            given, pair[0], self.steps.most[0], lambda steps, _: steps.begin * size, ("first", size)
        )
        commands.copy(*pair)
        return pair

    @property
    def _parts(self) -> tuple[int, int, int]:
        """Where in the room of a state its two buffers begin, and what is given."""
        return 0, self.steps.most[0], 2 * self.steps.most[0]

    def _last_of_all(self, given: BufferView, pair: tuple[BufferView, BufferView]) -> BufferView:
        """The last states of a caller's batch: those of sequences, or given ones."""
        commands, (size, _) = self.commands, given.strides
        result = commands.result((self.steps.ended, given.shape[1]))
        even, odd, kept = self._parts
        if self.reverse and self.steps.odd:  # all end at the last step that is computed
            even = odd
        elif self.reverse:
            odd = even

        def chosen(steps: Any, _: Any) -> Array:
            ends = np.where(steps.odd[:, 0], odd, even) + np.arange(steps.batch)
            return np.concatenate([ends, np.arange(kept, kept + steps.given)])[steps.end] * size

        first = min(pair, key=lambda view: view.offset)
        commands.copy_rows(first, result, self.steps.most_given, chosen, ("last", size))
        return result

    @property
    def _scattered(self) -> bool:
        """Whether sequences end at different steps, and so in either buffer."""
        return not self.steps.constant and not self.reverse

    def _last(self, name: str, pair: tuple[BufferView, BufferView]) -> BufferView:
        """The last state, given the two buffers after the last step."""
        if self.steps.placed:
            return self._last_of_all(self.states[name], pair)
        if not self._scattered:
            return pair[0]
        even, odd = reversed(pair) if self.steps.odd else pair
        result, size = self.commands.result(even.shape), even.strides[0]
        starts: list[Any] = [even.offset, odd.offset]  # both are in the workspace
        first = even if starts[0] < starts[1] else odd

        def chosen(steps: Any, _: Any) -> Array:
            places = np.where(steps.odd[:, 0], starts[1], starts[0]) - min(starts)
            return places + size * np.arange(steps.batch)

        self.commands.copy_rows(first, result, self.steps.most[0], chosen)
        return result

    def _input(self, name: Any) -> Place:
        """An input of the rows of the segment."""
        frame, places = self.frame, self._places_of(name)
        if isinstance(name, Before):
            return self._old(History(self.inputs[name], self.steps, not self.reverse))
        bounds = frame.segment.first, frame.segment.last
        if places is not None:
            return PlacedRows(self.inputs[name], lambda steps: places(steps).rows, *bounds)
        return self.inputs[name][slice(*bounds)]

    def _old(self, history: History) -> Place:
        """The state before the step of each row of the segment."""
        first, last = self.frame.segment.first, self.frame.segment.last
        if self.steps.constant:
            return history.array[history.old(first, last)]
        index = attrgetter("after" if history.reverse else "before")
        return PlacedRows(history.array, index, first, last)

    def _place_emitted(self) -> None:
        """The destinations of emitted values."""
        plan, frame = self.plan, self.frame
        edges = [stop for _, stop in plan.columns.values()]
        joined = frame.buffer(SIDE_BY_SIDE, self._apart(edges[-1])) if edges else None
        for node in plan.planned.emitted:
            if joined is not None and node in plan.columns:
                place = joined[:, slice(*plan.columns[node])]
            else:
                place = frame.destination(node, plan.width(node))
            frame.values[node] = place

    def _apart(self, width: int) -> int:
        """The columns of an odd number of cache lines: products read a few columns of all rows,
        which would share few sets of a cache otherwise.
        """
        size = self.commands.dtype.itemsize
        return (-(-width * size // LINE) | 1) * LINE // size

    def _copy(
        self, copies: Sequence[tuple[Node, str | None]], histories: Mapping[str, History]
    ) -> None:
        """Copy values into results that could not be written there directly."""
        frame = self.frame
        for node, name in copies:
            if name is None and node not in frame.whole:  # the loop writes it where its rows are
                continue
            whole = frame.whole[node] if name is None else histories[name].new
            part = whole[frame.segment.first : frame.segment.last]
            self.commands.copy(frame.rows_of(node), part)
