"""A schedule over sequences: large products by the framework, before the loop and after it, and the
loop by kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Before, Gradient, Name
from anyrnn.graph.nodes import Node, reached
from anyrnn.graph.parameters import split_parameters
from anyrnn.kernels.evaluator import Evaluator, Values
from anyrnn.kernels.gpu import compile
from anyrnn.kernels.gpu.form import Form, loops_over_time
from anyrnn.kernels.gpu.source import LoopSource, loop_source
from anyrnn.kernels.run import Arrays, DeviceArrays, History, Run, Steps
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.neighbours import products_together, side_by_side
from anyrnn.schedule.phases import operands


class Program(NamedTuple):
    """What is run of a schedule.

    Attributes:
        name: What its kernels are called.
        schedule: The schedule of a cell's step, or of its derivative's.
        results: The names of the results that are wanted for each row.
        histories: The states of which the value after each step is wanted.
        gradients: The stored parameters whose gradients are wanted.
        backward: Whether it goes against the run.
    """

    name: str
    schedule: Schedule
    results: tuple[Name, ...]
    histories: tuple[Name, ...] = ()
    gradients: tuple[str, ...] = ()
    backward: bool = False


class Outcome(NamedTuple):
    """What a run has computed: results for each row and histories of states (`Before`), last states
    and gradients of stored parameters, by name.
    """

    results: dict[Any, Any]
    states: dict[Any, Any]
    gradients: dict[str, Any]


class _Outside(NamedTuple):
    """What is computed outside the loop, in groups that are computed together."""

    once: list[tuple[Node, ...]]
    before: list[tuple[Node, ...]]
    after: list[tuple[Node, ...]]
    old: tuple[Node, ...]  # the old states that are read after the loop
    totals: dict[str, tuple[Node | None, ...]]  # of each stored parameter, by its members


@lru_cache(maxsize=512)
def _outside(cell: Cell, program: Program) -> _Outside:
    schedule, outputs = program.schedule, program.schedule.graph.outputs
    totals: dict[str, tuple[Node | None, ...]] = {}
    for stored in cell.parameters:
        parts = tuple(outputs.get(Gradient(member)) for member in stored.members)
        if stored.name in program.gradients and any(parts):
            totals[stored.name] = parts
    wanted = {outputs[name] for name in program.results}
    wanted.update(node for parts in totals.values() for node in parts if node is not None)
    after = {*schedule.after}
    needed = reached(wanted, lambda node: operands(node) if node in after else ())
    chosen = [node for node in schedule.after if node in needed]
    old = tuple(leaf for leaf in schedule.graph.leaves("state") if leaf in needed)
    members = {
        node: str(name.of)
        for name, node in outputs.items()
        if isinstance(name, Gradient) and name.of in cell.places
    }
    return _Outside(
        products_together(cell, schedule.once),
        products_together(cell, schedule.before),
        products_together(cell, chosen, members),
        old,
        totals,
    )


def unsupported(cell: Cell, program: Program) -> str | None:
    """Why what is outside the loop cannot be computed, or None if it can."""
    outside = _outside(cell, program)
    groups = [*outside.once, *outside.before, *outside.after]
    if any(
        node.operation == "random" for group in groups for each in group for node in operands(each)
    ):
        return "random numbers are drawn outside the loop over time"
    return None


class _Indices:
    """Where rows are, as arrays on a device; made once for the same steps."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def find(self, steps: Steps, what: str, like: Any, device: DeviceArrays) -> Any:
        key = steps, what, str(like.device)
        found = self._kept.get(key)
        if found is None:
            while len(self._kept) >= 256:
                self._kept.pop(next(iter(self._kept)), None)
            found = self._kept[key] = device.moved(getattr(self, f"_{what}")(steps), like)
        return found

    def _offsets(self, steps: Steps) -> np.ndarray:
        """The first row of each step, with two ends."""
        return np.append(steps.offsets, steps.rows).astype(np.int64)

    def _before(self, steps: Steps) -> np.ndarray:
        return steps.before.astype(np.int64)

    def _after(self, steps: Steps) -> np.ndarray:
        return steps.after.astype(np.int64)

    def _last(self, steps: Steps) -> np.ndarray:
        """The last row of each sequence."""
        lengths = np.searchsorted(
            -np.array(steps.batch_sizes), -np.arange(steps.batch), side="left"
        )
        return steps.offsets[lengths - 1] + np.arange(steps.batch)

    def _odd(self, steps: Steps) -> np.ndarray:
        return steps.odd


INDICES = _Indices()


class _Evaluator(Evaluator):
    """An evaluator of what is outside a loop, which has sums over all rows.

    Attributes:
        columns: The values that lie side by side in one array, with their columns.
        joined: That array.
        whole: The gradients that were computed together, as one.
    """

    columns: Mapping[Node, tuple[int, int]]
    joined: Any = None
    join: Any
    whole: dict[tuple[Node, ...], Any]

    def _together(self, group: Sequence[Node], values: Values) -> Sequence[Any]:
        if group[0].operation == "product":
            return super()._together(group, values)
        vectors = [node.arguments[0] for node in group]
        edges = [self.columns.get(vector, (-1, -2)) for vector in vectors]
        if all(left[1] == right[0] for left, right in pairwise(edges)) and edges[0][0] >= 0:
            left = self.joined[:, edges[0][0] : edges[-1][1]]
        else:
            left = self.join([values[vector] for vector in vectors], 1)
        arguments = [values[argument] for argument in group[0].arguments[1:]]
        total = self.whole[tuple(group)] = self.operations[group[0].operation](left, *arguments)
        return total.split(self._numbers(vector.type.size for vector in vectors), 0)


def _outer(left: Any, right: Any) -> Any:
    """The sum over all rows of outer products."""
    rows = max(len(part) if part.dim() > 1 else 0 for part in (left, right))
    if not rows:
        return left[:, None] * right[None, :]
    left, right = (part.expand(rows, part.shape[-1]) for part in (left, right))
    return left.t() @ right


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
        self.outside = _outside(run.cell, program)
        names = (*program.histories, *(leaf.name for leaf in self.outside.old))
        self.histories = frozenset(names)
        self.values: Values = {}

    def width(self, node: Node) -> int:
        """The number of columns of a value."""
        return node.type.size.evaluate(self.sizes)

    def _index(self, what: str) -> Any:
        return INDICES.find(self.steps, what, self.like, self.device)

    def execute(self) -> Outcome:
        """Run."""
        cell, rows = self.run.cell, self.steps.rows
        operations = {**self.device.operations, "outer": _outer}
        evaluator = _Evaluator(cell, self.arrays.parameters, self.sizes, operations)
        evaluator.join, evaluator.whole = self.device.join, {}
        self._leaves()
        evaluator.run(self.outside.once, self.values)
        evaluator.run(self.outside.before, self.values, rows)
        histories, pairs = self._states()
        evaluator.columns, evaluator.joined = self._emitted(histories)
        with self.device.entered(self.like):
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

    def _leaves(self) -> None:
        members = split_parameters(self.run.cell, self.arrays.parameters, self.sizes)
        for leaf in self.schedule.graph.nodes():
            if leaf.operation == "parameter":
                self.values[leaf] = members[leaf.name]
            elif leaf.operation == "constant":
                self.values[leaf] = self.like.new_full((), leaf.attributes["value"])
            elif leaf.operation == "size":
                size = leaf.attributes["size"].evaluate(self.sizes)
                self.values[leaf] = self.like.new_full((), float(size))
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
            loops_over_time(self.schedule, self.sizes),
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
        common = (steps.batch, steps.rows, self._index("offsets"), *seed, *given)
        made = compile.functions(source.text, compile.interpreted())
        count, tile = len(steps.batch_sizes), source.form.rows
        if source.form.over_time:
            made[source.kernels[0].name][(-(-steps.batch // tile),)](
                count, *common, **compile.OPTIONS
            )
            return
        for step in reversed(range(count)) if self.reverse else range(count):
            tiles = -(-steps.batch_sizes[step] // tile)
            for kernel in source.kernels:
                made[kernel.name][(tiles, kernel.tiles)](step, *common, **compile.OPTIONS)

    def _result(self, node: Node) -> Any:
        """A result for each row."""
        shape = self.steps.rows, self.width(node)
        found = self.values[node]
        return found if tuple(found.shape) == shape else found.expand(shape).contiguous()

    def _last(self, history: History | None, pair: Any) -> Any:
        """A last state, in memory of its own."""
        steps = self.steps
        if history is not None:
            if self.reverse:
                return history.new[: steps.batch].clone()
            if steps.constant:
                return history.new[-steps.batch :].clone()
            return history.new.index_select(0, self._index("last"))
        if self.reverse or steps.constant:
            found = pair[0 if self.reverse else len(steps.batch_sizes) % 2]
        else:
            found = self.device.operations["where"](self._index("odd"), pair[1], pair[0])
        return found.to(self.like.dtype).clone()

    def _totals(self, evaluator: _Evaluator) -> dict[str, Any]:
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
