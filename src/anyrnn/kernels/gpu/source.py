"""Writes the kernels of a loop as source text in Triton's language.

A stage of a step goes over tiles of units of a tile of rows: the products of a tile are accumulated
in registers, with the terms read tile by tile, and elementwise work goes on with the sums. What
stages hand to each other is in memory. So the same text serves two forms: a kernel that loops over
time, with a barrier after each stage, and kernels of one stage of one step each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Node
from anyrnn.graph.randomness import EVERY_STEP, stream_key
from anyrnn.kernels.evaluation import Evaluation, Source, Value, evaluations, uncomputed
from anyrnn.kernels.gpu.elementwise import COMPUTE, number
from anyrnn.kernels.gpu.form import Form, Tile, tile
from anyrnn.kernels.gpu.layout import Layout, Place
from anyrnn.schedule.forms import Accumulator, RowStage, Schedule, Stage

WARPS = 8
STAGES = 1  # of loops that do not say it: one over time must not read ahead


@lru_cache(maxsize=256)
def unsupported(schedule: Schedule) -> str | None:
    """Why a schedule's loop cannot be written, or None if it can."""
    return uncomputed(evaluations(schedule, packed=True), COMPUTE, "GPU")


@dataclass(frozen=True)
class Kernel:
    """A kernel of a loop.

    Attributes:
        name: The function.
        tiles: The number of tiles of units that a launch is over.
    """

    name: str
    tiles: int = 1


@dataclass(frozen=True)
class LoopSource:
    """The source of a loop.

    Attributes:
        text: The text of the kernels.
        kernels: Each kernel, in the order in which they are launched.
        layout: The arrays that each of them takes.
        draws: Whether they take a seed.
        form: The form.
    """

    text: str
    kernels: tuple[Kernel, ...]
    layout: Layout
    draws: bool
    form: Form


class _Lines:
    """Lines of text, with a depth."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def add(self, *lines: str) -> None:
        self.lines += ["    " * self.depth + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.add(head)
        self.depth += 1
        yield
        self.depth -= 1


class _Writer:
    def __init__(
        self,
        name: str,
        schedule: Schedule,
        sizes: Mapping[str, int],
        histories: frozenset[Name],
        form: Form,
    ) -> None:
        self.name, self.schedule, self.sizes, self.form = name, schedule, sizes, form
        self.planned = evaluations(schedule, packed=True)
        self.layout = Layout(schedule, self.planned, histories, sizes)
        self.out = _Lines()
        self.unit = self.there = ""  # the variables of the units of a tile, and which there are
        self._variables = 0

    def variable(self, name: str) -> str:
        """A variable that no other line of the kernels defines."""
        self._variables += 1
        return f"{name}_{self._variables}"

    def write(self) -> LoopSource:
        kernels: list[Kernel] = []
        if self.form.over_time:
            with self._kernel(self.name, "steps"):
                step = "steps - 1 - index" if self.form.reverse else "index"
                with self.out.block("for index in range(steps):"):
                    self.out.add(f"step = {step}")
                    self._rows_of_step()
                    for place, stage in enumerate(self.schedule.stages):
                        self._stage(place, stage)
                        self.out.add("tl.debug_barrier()")
            kernels.append(Kernel(self.name))
        else:
            for place, stage in enumerate(self.schedule.stages):
                name = f"{self.name}_stage_{place + 1}"
                with self._kernel(name, "step"):
                    self._rows_of_step()
                    self._stage(place, stage)
                tiles = 1
                if isinstance(stage, Stage):
                    tiles = -(-self._size(stage) // self._tile(stage).units)
                kernels.append(Kernel(name, tiles))
        text = "\n".join(self.out.lines).strip() + "\n"
        return LoopSource(text, tuple(kernels), self.layout, self.schedule.graph.draws, self.form)

    @contextmanager
    def _kernel(self, name: str, clock: str) -> Iterator[None]:
        seed = ["seed"] if self.schedule.graph.draws else []
        same = [clock, "batch", "rows"]
        arrays = [array.text for array in self.layout.arguments]
        self.out.add("", "", f"@triton.jit(do_not_specialize={same!r})".replace("'", '"'))
        with self.out.block(f"def {name}("):
            for each in (*same, "offsets", *seed, *arrays):
                self.out.add(f"{each},")
        with self.out.block("):"):
            self.out.add(
                f"here = tl.program_id(0) * {self.form.rows} + tl.arange(0, {self.form.rows})"
            )
            self.out.add("here = here.to(tl.int64)[:, None]")
            yield

    def _rows_of_step(self) -> None:
        """Which rows of arrays the rows of a tile are at a step."""
        add = self.out.add
        add("first = tl.load(offsets + step)", "last = tl.load(offsets + step + 1)")
        add("live = here < last - first", "row = first + here")
        if self.form.reverse:
            add("goes_on = here < tl.load(offsets + step + 2) - last")
            add("entering = tl.where(goes_on, last, rows) + here", "leaving = row")
            add("before = (step + 1) % 2 * batch + here", "after = step % 2 * batch + here")
        else:
            add("previous = batch + tl.load(offsets + tl.maximum(step, 1) - 1)")
            add("entering = tl.where(step > 0, previous, 0) + here", "leaving = batch + row")
            add("before = step % 2 * batch + here", "after = (step + 1) % 2 * batch + here")

    def _size(self, stage: Stage) -> int:
        return stage.size.evaluate(self.sizes)

    def _tile(self, stage: Stage) -> Tile:
        vectors = [vector for sums in stage.accumulators for _, vector in sums.terms]
        terms = max((v.type.size.evaluate(self.sizes) for v in vectors), default=1)
        return tile(self._size(stage), len(stage.accumulators), terms)

    def _stage(self, place: int, stage: Stage | RowStage) -> None:
        evaluation = self.planned[place]
        if isinstance(stage, RowStage):
            self.out.add(f"# stage {place + 1}: whole rows")
            self._row_stage(stage, evaluation)
            return
        size, units = self._size(stage), self._tile(stage).units
        self.out.add(f"# stage {place + 1}: {stage.size} = {size} units")
        if not self.form.over_time:
            self._units(f"tl.program_id(1) * {units}", units, size)
            self._unit_stage(stage, evaluation)
        elif size <= units:
            self._units("0", units, size)
            self._unit_stage(stage, evaluation)
        else:
            with self.out.block(f"for start in tl.range(0, {size}, {units}, num_stages=1):"):
                self._units("start", units, size)
                self._unit_stage(stage, evaluation)

    def _units(self, start: str, units: int, size: int) -> None:
        self.unit, self.there = self.variable("unit"), self.variable("there")
        self.out.add(f"{self.unit} = ({start} + tl.arange(0, {units}))[None, :]")
        self.out.add(f"{self.there} = {self.unit} < {size}")

    def _unit_stage(self, stage: Stage, evaluation: Evaluation) -> None:
        known: dict[Node, str] = {}
        cut = self._tile(stage)
        for accumulator in stage.accumulators:
            total = known[accumulator.node] = self.variable("sum")
            self.out.add(f"{total} = tl.zeros(({self.form.rows}, {cut.units}), tl.float32)")
        for vector, terms in _by_vector(stage.accumulators).items():
            self._products(vector, [(matrix, known[node]) for matrix, node in terms], cut)
        values = _Values(self, known)
        for node, needed in zip(stage.stores, evaluation.roots, strict=True):
            self._store(node, values.evaluate(node, needed), cut.units)

    def _products(self, vector: Node, terms: list[tuple[Node, str]], cut: Tile) -> None:
        """Add the products of some matrices with a vector to sums."""
        size, count = vector.type.size.evaluate(self.sizes), cut.terms
        place = self.layout.read(vector)
        with self.out.block(f"for begin in tl.range(0, {size}, {count}, num_stages=2):"):
            self.out.add(f"term = begin + tl.arange(0, {count})")
            column, row = "term[None, :]", "term[:, None]"
            mask = f"live & ({column} < {size})"
            self.out.add(f"left = tl.load({_address(place, column)}, mask={mask}, other=0.0)")
            self.out.add(f"left = {self._operand('left')}")
            for matrix, total in terms:
                name, (over, along) = self.layout.parameters[matrix]
                index = f"{name} + {self.unit}.to(tl.int64) * {over} + {row} * {along}"
                self.out.add(
                    f"right = tl.load({index}, mask={self.there} & ({row} < {size}), other=0.0)"
                )
                self.out.add(
                    f"{total} = tl.dot(left, {self._operand('right')}, {total}, "
                    f'input_precision="{self.form.precision}")'
                )

    def _operand(self, name: str) -> str:
        """What a product multiplies: rounded to the type of the run."""
        rounded = f"{name}.to(tl.{self.form.element})"
        bad = self.form.interpreted and self.form.element == "bfloat16"
        return f"{rounded}.to(tl.float32)" if bad else rounded

    def _store(self, node: Node, value: str, units: int) -> None:
        vector = bool(node.type.shape)
        shape = f"({self.form.rows}, {units if vector else 1})"
        whole = f"tl.zeros({shape}, tl.float32) + {value}"
        for place in self.layout.written(node):
            address, mask = self.place(place, vector)
            self.out.add(f"tl.store({address}, {whole}, mask={mask})")

    def place(self, place: Place, vector: bool) -> tuple[str, str]:
        """The addresses of a tile, and its mask; of a number of each row if it is no vector."""
        if vector:
            return _address(place, self.unit), f"live & {self.there}"
        return _address(place, "0"), "live"

    def _row_stage(self, stage: RowStage, evaluation: Evaluation) -> None:
        if stage.reductions[0].operation == "softmax":
            self._softmax(stage.reductions[0], evaluation.roots[0])
            return
        known = {node: self.variable("total") for node in stage.reductions}
        size = stage.reductions[0].arguments[0].type.size.evaluate(self.sizes)
        for total in known.values():
            self.out.add(f"{total} = tl.zeros(({self.form.rows}, 1), tl.float32)")
        with self._over_units(size):
            values = _Values(self, {})
            for node, needed in zip(stage.reductions, evaluation.roots, strict=True):
                value = values.evaluate(node.arguments[0], needed)
                part = f"tl.where({self.there}, {value}, 0.0)"
                self.out.add(f"{known[node]} += tl.sum({part}, axis=1, keep_dims=True)")
        for node, total in known.items():
            if node.operation == "mean":
                self.out.add(f"{total} = {total} / {float(size)}")
            self._store(node, total, 1)
        values = _Values(self, dict(known))
        for node, needed in zip(stage.scalars, evaluation.scalars, strict=True):
            self._store(node, values.evaluate(node, needed), 1)

    @contextmanager
    def _over_units(self, size: int) -> Iterator[None]:
        units = tile(size, 1, 1).units
        with self.out.block(f"for start in tl.range(0, {size}, {units}, num_stages=1):"):
            self._units("start", units, size)
            yield

    def _softmax(self, node: Node, needed: tuple[Value, ...]) -> None:
        size = node.type.size.evaluate(self.sizes)
        argument, rows = node.arguments[0], self.form.rows
        largest, total = self.variable("largest"), self.variable("total")
        self.out.add(f'{largest} = tl.full(({rows}, 1), float("-inf"), tl.float32)')
        with self._over_units(size):
            value = _Values(self, {}).evaluate(argument, needed)
            part = f'tl.where({self.there}, {value}, float("-inf"))'
            self.out.add(f"{largest} = maximum({largest}, tl.max({part}, axis=1, keep_dims=True))")
        self.out.add(f"{total} = tl.zeros(({rows}, 1), tl.float32)")
        with self._over_units(size):
            value = _Values(self, {}).evaluate(argument, needed)
            part = f"tl.where({self.there}, tl.exp({value} - {largest}), 0.0)"
            self.out.add(f"{total} += tl.sum({part}, axis=1, keep_dims=True)")
        with self._over_units(size):
            value = _Values(self, {}).evaluate(argument, needed)
            units = tile(size, 1, 1).units
            self._store(node, f"tl.exp({value} - {largest}) / {total}", units)


class _Values:
    """The values of a tile of a stage, which are variables."""

    def __init__(self, writer: _Writer, known: dict[Node, str]) -> None:
        self.writer, self.known = writer, known

    def evaluate(self, root: Node, values: Iterable[Value]) -> str:
        """Evaluate a value, after the others that it needs; its variable."""
        for value in values:
            expression = self._expression(value)
            if value.source is Source.CONSTANT:
                self.known[value.node] = expression
                continue
            called = re.sub(r"\W", "", str(self.writer.schedule.graph.names.get(value.node, "v")))
            variable = self.writer.variable(called)
            self.writer.out.add(f"{variable} = {expression}")
            self.known[value.node] = variable
        return self.known[root]

    def _expression(self, value: Value) -> str:
        node, layout, sizes = value.node, self.writer.layout, self.writer.sizes
        vector = bool(node.type.shape)
        if value.source is Source.CONSTANT:
            return number(node.attributes["value"])
        if node.operation == "size":
            return number(float(node.attributes["size"].evaluate(sizes)))
        if value.source is Source.PARAMETER:
            name = layout.parameters[node].name
            unit, there = self.writer.unit, self.writer.there
            text = f"{name} + {unit}, mask={there}, other=0.0" if vector else name
            return f"tl.load({text}).to(tl.float32)"
        if value.source in (Source.MEMORY, Source.SLICE):
            start = 0
            if value.source is Source.SLICE:
                start, node = node.attributes["start"].evaluate(sizes), node.arguments[0]
            place = layout.read(node)._replace(column=start)
            address, mask = self.writer.place(place, vector)
            return f"tl.load({address}, mask={mask}, other=0.0).to(tl.float32)"
        if node.operation == "random":
            stream, word = divmod(node.attributes["stream"], 2)
            step = "step" if node.attributes["every_step"] else str(EVERY_STEP)
            return (
                f"uniform(seed, {stream_key(2 * stream)}, {step}, here, {self.writer.unit}, {word})"
            )
        arguments = [self.known[argument] for argument in value.arguments]
        if value.fused:
            return "{} * {} + {}".format(*arguments)
        return COMPUTE[node.operation].format(*arguments)


def _address(place: Place, column: str) -> str:
    parts = [place.array.name, f"{place.row} * {place.array.strides[0]}"]
    parts += [str(place.column)] if place.column else []
    parts += [column] if column != "0" else []
    return " + ".join(parts)


def _by_vector(accumulators: Iterable[Accumulator]) -> dict[Node, list[tuple[Node, Node]]]:
    """By the vector that is multiplied, the matrices and the sums."""
    found: dict[Node, list[tuple[Node, Node]]] = {}
    for accumulator in accumulators:
        for matrix, vector in accumulator.terms:
            found.setdefault(vector, []).append((matrix, accumulator.node))
    return found


@lru_cache(maxsize=512)
def loop_source(
    name: str,
    schedule: Schedule,
    sizes: tuple[tuple[str, int], ...],
    histories: frozenset[Name],
    form: Form,
) -> LoopSource:
    """The source of a loop.

    Args:
        name: What its kernels are called.
        schedule: The schedule of the loop.
        sizes: The named sizes.
        histories: The states of which the value after each step is kept.
        form: The form.
    """
    return _Writer(name, schedule, dict(sizes), histories, form).write()
