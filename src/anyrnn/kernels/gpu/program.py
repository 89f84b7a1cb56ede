"""A schedule over sequences: large products by the framework, before the loop and after it, and the
loop by kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from anyrnn.graph.keys import Before, Name
from anyrnn.graph.nodes import Node
from anyrnn.graph.parameters import split_parameters
from anyrnn.kernels.evaluator import Values
from anyrnn.kernels.gpu import compile, graphs
from anyrnn.kernels.gpu.form import Form, Loop, choose_loop
from anyrnn.kernels.gpu.outside_loop import OutsideEvaluator, Program, outer, outside_loop
from anyrnn.kernels.gpu.row_indices import INDICES
from anyrnn.kernels.gpu.source import LoopSource, loop_source
from anyrnn.kernels.run import Arrays, DeviceSteps, History, Run
from anyrnn.schedule.neighbours import side_by_side


class Outcome(NamedTuple):
    """What a run has computed: results for each row and histories of states (`Before`), last states
    and gradients of stored parameters, by name.
    """

    results: dict[Any, Any]
    states: dict[Any, Any]
    gradients: dict[str, Any]


class Execution:
    """A program over the sequences of a call.

    Args:
        program: What runs.
        run: The run, or the run that it goes back through.
        arrays: The states that it begins with, the parameters and the seed.
        inputs: Its inputs by name: for the rows of all steps, or the array of a history.
    """

    def __init__(
        self, program: Program, run: Run, arrays: Arrays, inputs: Mapping[Any, Any]
    ) -> None:
        assert arrays.interface.on_device is not None
        self.program, self.run, self.arrays, self.inputs = program, run, arrays, inputs
        self.device, self.like, self.steps = arrays.interface.on_device, arrays.rows, run.steps
        self.schedule, self.sizes = program.schedule, dict(run.sizes)
        self.reverse = run.reverse != program.backward
        self.outside = outside_loop(run.cell, program)
        names = (*program.histories, *(leaf.name for leaf in self.outside.old))
        self.histories = frozenset(names)
        self.values: Values = {}

    def width(self, node: Node) -> int:
        """The number of columns of a value."""
        return node.type.size.evaluate(self.sizes)

    def _index(self, what: str) -> Any:
        return INDICES.find(self.steps, what, self.like, self.device)

    def execute(self) -> Outcome:
        """Run, on the device of the arrays, and in the queue that it has now."""
        with self.device.entered(self.like):
            return self._execute()

    def _execute(self) -> Outcome:
        cell, rows = self.run.cell, self.steps.rows
        evaluator = OutsideEvaluator(cell, self.arrays.parameters, self.sizes, self._operations())
        evaluator.join, evaluator.whole = self.device.join, {}
        self._leaves()
        evaluator.run(self.outside.once, self.values)
        evaluator.run(self.outside.before, self.values, rows)
        histories, pairs = self._states()
        evaluator.columns, evaluator.joined = self._emitted(histories)
        self._loop(histories, pairs)
        for leaf in self.outside.old:
            self.values[leaf] = self._old(histories[leaf.name])
        evaluator.run(self.outside.after, self.values, rows)
        outputs = self.schedule.graph.outputs
        results = {name: self._result(outputs[name]) for name in self.program.results}
        results |= {Before(name): histories[name].array for name in self.program.histories}
        last = {
            name: self._last(histories.get(name), pairs.get(name)) for name in self.schedule.states
        }
        return Outcome(results, last, self._totals(evaluator))

    def _operations(self) -> dict[str, Any]:
        """What is computed outside the loop: sums are of rows that are some."""
        found = {**self.device.operations, "outer": outer}
        if isinstance(self.steps, DeviceSteps):
            total = found["batch_sum"]
            found["batch_sum"] = lambda value: total(self._cleared(value))
            found["outer"] = lambda *both: outer(*map(self._cleared, both))
        return found

    def _cleared(self, value: Any) -> Any:
        """A value of each row, with zero in rows that are none."""
        if value.ndim < 2 or not isinstance(self.steps, DeviceSteps):
            return value
        zero = self.like.new_zeros((), dtype=value.dtype)
        return self.device.operations["where"](self.steps.live[:, None], value, zero)

    def _leaves(self) -> None:
        members = split_parameters(self.run.cell, self.arrays.parameters, self.sizes)
        for leaf in self.outside.numbers:
            self.values[leaf] = self.device.number(leaf.number(self.sizes), self.like)
        for leaf in self.schedule.graph.nodes():
            if leaf.operation == "parameter":
                self.values[leaf] = members[leaf.name]
            elif leaf.operation == "input":
                given = self.inputs[leaf.name]
                if isinstance(leaf.name, Before):
                    given = self._old(History(given, self.steps, not self.reverse))
                self.values[leaf] = given

    def _old(self, history: History) -> Any:
        """The state before the step of each row."""
        if self.steps.constant:
            return history.array[history.old(0, self.steps.rows)]
        return history.array.index_select(0, self._index("after" if history.reverse else "before"))

    def _states(self) -> tuple[dict[Name, History], dict[Name, Any]]:
        """The histories of states, and the pairs of buffers of the others."""
        histories, pairs = {}, {}
        rows, batch = self.steps.rows, self.steps.batch
        for name, initial in zip(self.schedule.states, self.arrays.states, strict=True):
            size = initial.shape[1]
            if name in self.histories:
                array = self.like.new_empty((rows + batch, size))
                histories[name] = History(array, self.steps, self.reverse)
                histories[name].initial.copy_(initial)
            else:
                pairs[name] = self.like.new_empty((2, batch, size), dtype=self.device.float32)
                pairs[name].copy_(initial)
        return histories, pairs

    def _emitted(
        self, histories: Mapping[Name, History]
    ) -> tuple[dict[Node, tuple[int, int]], Any]:
        """Make the arrays of emitted values: those that products take together side by side."""
        rows, joined = self.steps.rows, ()
        if self.program.backward:
            joined = side_by_side(self.run.cell, self.schedule)
        edges = [0, *accumulate(map(self.width, joined))]
        columns = dict(zip(joined, pairwise(edges), strict=True))
        whole = self.like.new_empty((rows, edges[-1])) if joined else None
        homes = {self.schedule.new_states[name]: history for name, history in histories.items()}
        for node in self.schedule.emitted:
            if node in homes:
                self.values[node] = homes[node].new
                columns.pop(node, None)
            elif node in columns and whole is not None:
                self.values[node] = whole[:, slice(*columns[node])]
            else:
                self.values[node] = self.like.new_empty((rows, self.width(node)))
        return columns, whole

    def source(self) -> LoopSource:
        """The source of the loop."""
        interpreted = compile.interpreted()
        element = str(self.like.dtype).rpartition(".")[2]
        form = Form(
            choose_loop(self.schedule, self.sizes, element),
            self.reverse,
            element,
            "tf32" if self.device.tf32() and element == "float32" else "ieee",
            interpreted,
        )
        return loop_source(self.program.name, self.schedule, self.run.sizes, self.histories, form)

    def _loop(self, histories: Mapping[Name, History], pairs: Mapping[Name, Any]) -> None:
        source, steps = self.source(), self.steps
        layout, given = source.layout, []
        for name in layout.states:
            array = histories[name].array if name in histories else pairs[name]
            given += [array, array.stride(-2)]
        for node in layout.rows:
            array = self.values[node]
            array = array if array.stride(-1) == 1 else array.contiguous()
            given += [array, array.stride(0)]
        for node in layout.scratch:
            width = self.width(node)
            shape = steps.batch, width
            given += [self.like.new_empty(shape, dtype=self.device.float32), width]
        for node, argument in layout.parameters.items():
            array = self.values[node]
            given += [array, *array.stride()] if argument.strides else [array.contiguous()]
        seed = [self.device.moved(self.arrays.seed, self.like)] if source.draws else []
        where = self._index("offsets"), self._index("lengths")
        common = steps.batch, steps.rows, *where, *seed, *given
        made, options = compile.functions(source.text, compile.interpreted()), compile.own_options()
        tile, sizes = source.form.rows, steps.batch_sizes
        if source.form.loop is not Loop.STEPS:
            (kernel,) = source.kernels
            made[kernel.name][-(-steps.batch // tile), kernel.tiles](*common, **options)
            return

        def launches() -> None:
            ready: dict[str, Any] = {}  # what is compiled for arrays like these, whatever the step
            for step in reversed(range(len(sizes))) if self.reverse else range(len(sizes)):
                tiles = -(-sizes[step] // tile)
                for kernel in source.kernels:
                    grid, known = (tiles, kernel.tiles, 1), ready.get(kernel.name)
                    if known is not None:  # it looks at no argument, which takes longest
                        known[grid](step, *common)
                        continue
                    found = made[kernel.name][grid](step, *common, **options)
                    ready[kernel.name] = found  # none of Triton's interpreter

        if not graphs.wanted():
            launches()
            return
        address, kind = self.arrays.interface.address, type(self.like)
        known = (address(each) if isinstance(each, kind) else each for each in common)
        key = source.text, source.form, sizes, str(self.like.device), *known
        graphs.GRAPHS.launch(key, launches, made, self.like, self.device)

    def _result(self, node: Node) -> Any:
        """A result for each row, contiguous as traced graphs take it: a value may be some columns
        of an array.
        """
        shape = self.steps.rows, self.width(node)
        found = self.values[node]
        found = found if tuple(found.shape) == shape else found.expand(shape)
        return self._cleared(found.contiguous())

    def _last(self, history: History | None, pair: Any) -> Any:
        """A last state, which holds no history in memory."""
        steps = self.steps
        if history is not None:
            if self.reverse and not isinstance(steps, DeviceSteps):
                return history.new[: steps.batch].clone()
            if steps.constant:
                return history.new[-steps.batch :].clone()
            index = self._index("first" if self.reverse else "last")
            return history.array.index_select(0, index)
        if self.reverse or steps.constant:
            found = pair[0 if self.reverse else len(steps.batch_sizes) % 2]
        else:
            found = self.device.operations["where"](self._index("odd"), pair[1], pair[0])
        return found.to(self.like.dtype)

    def _totals(self, evaluator: OutsideEvaluator) -> dict[str, Any]:
        """The gradients of stored parameters."""
        found = {}
        for stored in self.run.cell.parameters:
            parts = self.outside.totals.get(stored.name)
            if parts is None:
                continue
            shape, whole = stored.shape_for(self.sizes), evaluator.whole.get(parts)  # type: ignore[arg-type]
            if whole is None:
                every = []
                rows = stored.rows(self.sizes).values()
                for node, own in zip(parts, rows, strict=True):
                    size = own.stop - own.start, *shape[1:]
                    every.append(
                        self.like.new_zeros(size)
                        if node is None
                        else self.values[node].reshape(-1, *shape[1:]).expand(size)
                    )
                whole = self.device.join(every, 0)
            found[stored.name] = whole
        return found


def execute(program: Program, run: Run, arrays: Arrays, inputs: Mapping[Any, Any]) -> Outcome:
    """Run a program; arguments as those of `Execution`."""
    return Execution(program, run, arrays, inputs).execute()
