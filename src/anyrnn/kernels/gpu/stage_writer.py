"""Writes the stages of a step, over tiles of rows and of units.

The products of a tile are accumulated in registers, with the terms read tile by tile, and
elementwise work goes on with the sums. What stages hand to each other is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from anyrnn.graph.nodes import Node
from anyrnn.kernels.evaluation import Evaluation, Value
from anyrnn.kernels.gpu.form import Form, Loop, Tile, power_of_two, tile
from anyrnn.kernels.gpu.layout import Layout
from anyrnn.kernels.gpu.tile_writer import Lines, TileWriter, Values, address_of
from anyrnn.schedule.forms import Accumulator, RowStage, Stage


class StageWriter(TileWriter):
    """Writes stages.

    Attributes:
        kept: The matrices that stay on the chip, as variables.
    """

    def __init__(self, out: Lines, layout: Layout, form: Form) -> None:
        super().__init__(out, layout, form, form.rows)
        self.kept: dict[Node, str] = {}

    def rows_of_tile(self) -> None:
        """Which sequences a tile has, and how many steps they and the longest of them have."""
        add, rows = self.out.add, self.rows
        add(f"start = tl.program_id(0) * {rows}")
        add(f"here = (start + tl.arange(0, {rows})).to(tl.int64)[:, None]")
        add("length = tl.load(lengths + here, mask=here < batch, other=0)")
        add("longest = tl.load(lengths + start).to(tl.int32)")

    def leave_if(self, condition: str) -> None:
        """Have programs end that have nothing to do."""
        with self.out.block(f"if {condition}:"):
            self.out.add("return")

    def rows_of_step(self) -> None:
        """Which rows of arrays the rows of a tile are at a step."""
        add = self.out.add
        add("live = step < length", "row = tl.load(offsets + step) + here")
        if self.form.reverse:
            add("following = tl.load(offsets + step + 1)")
            add("entering = tl.where(step + 1 < length, following, rows) + here", "leaving = row")
            add("before = (step + 1) % 2 * batch + here", "after = step % 2 * batch + here")
        else:
            add("previous = batch + tl.load(offsets + tl.maximum(step, 1) - 1)")
            add("entering = tl.where(step > 0, previous, 0) + here", "leaving = batch + row")
            add("before = step % 2 * batch + here", "after = (step + 1) % 2 * batch + here")

    def size(self, stage: Stage) -> int:
        """The size of the vectors of a stage."""
        return stage.size.evaluate(self.sizes)

    def cut(self, stage: Stage) -> Tile:
        """The tile of a stage."""
        vectors = [vector for sums in stage.accumulators for _, vector in sums.terms]
        terms = max((v.type.size.evaluate(self.sizes) for v in vectors), default=1)
        if self.form.loop is Loop.RESIDENT:
            return Tile(power_of_two(self.size(stage)), power_of_two(terms))
        if not stage.accumulators:
            return tile(self.size(stage), 0, 0)._replace(terms=0)
        return tile(self.size(stage), len(stage.accumulators), terms, self.form.exact)

    def keep(self, stages: Iterable[Stage | RowStage]) -> None:
        """Read the matrices of stages, for all steps."""
        for stage in stages:
            for accumulator in stage.accumulators:
                for matrix, vector in accumulator.terms:
                    if matrix not in self.kept:
                        size, terms = (each.evaluate(self.sizes) for each in matrix.type.shape)
                        self.set_units("0", power_of_two(size), size)
                        self.out.add(f"term = tl.arange(0, {power_of_two(terms)})")
                        loaded = self._matrix(matrix, vector)
                        variable = self.kept[matrix] = self.variable("matrix")
                        self.out.add(f"{variable} = {loaded}")
                        self.out.add(f"{variable} = {self._operand(variable)}")

    def stage(self, number: int, stage: Stage | RowStage, evaluation: Evaluation) -> None:
        """Write a stage."""
        if isinstance(stage, RowStage):
            self.out.add(f"# stage {number}: whole rows")
            self._row_stage(stage, evaluation)
            return
        size, units = self.size(stage), self.cut(stage).units
        self.out.add(f"# stage {number}: {stage.size} = {size} units")
        if self.form.loop is Loop.STEPS:
            self.set_units(f"tl.program_id(1) * {units}", units, size)
            self._unit_stage(stage, evaluation)
        elif size <= units:
            self.set_units("0", units, size)
            self._unit_stage(stage, evaluation)
        else:
            with self.out.block(f"for start in tl.range(0, {size}, {units}, num_stages=1):"):
                self.set_units("start", units, size)
                self._unit_stage(stage, evaluation)

    def _unit_stage(self, stage: Stage, evaluation: Evaluation) -> None:
        known: dict[Node, str] = {}
        cut = self.cut(stage)
        for accumulator in stage.accumulators:
            total = known[accumulator.node] = self.variable("sum")
            self.out.add(f"{total} = tl.zeros(({self.rows}, {cut.units}), tl.float32)")
        for vector, terms in _by_vector(stage.accumulators).items():
            self._products(vector, [(matrix, known[node]) for matrix, node in terms], cut)
        values = Values(self, known)
        for node, needed in zip(stage.stores, evaluation.roots, strict=True):
            self.store(node, values.evaluate(node, needed), cut.units)

    def _products(self, vector: Node, terms: list[tuple[Node, str]], cut: Tile) -> None:
        """Add the products of some matrices with a vector to sums."""
        size = vector.type.size.evaluate(self.sizes)
        if self.kept:
            self.out.add(f"term = tl.arange(0, {power_of_two(size)})")
            self._left(vector)
            for matrix, total in terms:
                self._dot(self.kept[matrix], total)
            return
        with self.out.block(f"for begin in tl.range(0, {size}, {cut.terms}, num_stages=2):"):
            self.out.add(f"term = begin + tl.arange(0, {cut.terms})")
            self._left(vector)
            for matrix, total in terms:
                self.out.add(f"right = {self._matrix(matrix, vector)}")
                self._dot(self._operand("right"), total)

    def _left(self, vector: Node) -> None:
        """Read the terms of a vector."""
        size, column = vector.type.size.evaluate(self.sizes), "term[None, :]"
        address = address_of(self.layout.read(vector), column)
        mask = f"live & ({column} < {size})"
        self.out.add(f"left = tl.load({address}, mask={mask}, other=0.0)")
        self.out.add(f"left = {self._operand('left')}")

    def _matrix(self, matrix: Node, vector: Node) -> str:
        """What reads the terms of the units of a matrix that multiplies a vector."""
        size, row = vector.type.size.evaluate(self.sizes), "term[:, None]"
        name, (over, along) = self.layout.parameters[matrix]
        index = f"{name} + {self.unit}.to(tl.int64) * {over} + {row}.to(tl.int64) * {along}"
        return f"tl.load({index}, mask={self.there} & ({row} < {size}), other=0.0)"

    def _dot(self, right: str, total: str) -> None:
        precision = f'input_precision="{self.form.precision}"'
        self.out.add(f"{total} = tl.dot(left, {right}, {total}, {precision})")

    def _operand(self, name: str) -> str:
        """What a product multiplies: rounded to the type of the run."""
        rounded = f"{name}.to(tl.{self.form.element})"
        bad = self.form.interpreted and self.form.element == "bfloat16"
        return f"{rounded}.to(tl.float32)" if bad else rounded

    def _row_stage(self, stage: RowStage, evaluation: Evaluation) -> None:
        if stage.reductions[0].operation == "softmax":
            self._softmax(stage.reductions[0], evaluation.roots[0])
            return
        known = {node: self.variable("total") for node in stage.reductions}
        size = stage.reductions[0].arguments[0].type.size.evaluate(self.sizes)
        for total in known.values():
            self.out.add(f"{total} = tl.zeros(({self.rows}, 1), tl.float32)")
        with self._over_units(size):
            values = Values(self, {})
            for node, needed in zip(stage.reductions, evaluation.roots, strict=True):
                value = values.evaluate(node.arguments[0], needed)
                part = f"tl.where({self.there}, {value}, 0.0)"
                self.out.add(f"{known[node]} += tl.sum({part}, axis=1, keep_dims=True)")
        for node, total in known.items():
            if node.operation == "mean":
                self.out.add(f"{total} = {total} / {float(size)}")
            self.store(node, total, 1)
        values = Values(self, dict(known))
        for node, needed in zip(stage.scalars, evaluation.scalars, strict=True):
            self.store(node, values.evaluate(node, needed), 1)

    @contextmanager
    def _over_units(self, size: int) -> Iterator[None]:
        units = tile(size, 1, 1).units
        with self.out.block(f"for start in tl.range(0, {size}, {units}, num_stages=1):"):
            self.set_units("start", units, size)
            yield

    def _softmax(self, node: Node, needed: tuple[Value, ...]) -> None:
        size = node.type.size.evaluate(self.sizes)
        argument, rows = node.arguments[0], self.rows
        largest, total = self.variable("largest"), self.variable("total")
        self.out.add(f'{largest} = tl.full(({rows}, 1), float("-inf"), tl.float32)')
        with self._over_units(size):
            value = Values(self, {}).evaluate(argument, needed)
            part = f'tl.where({self.there}, {value}, float("-inf"))'
            self.out.add(f"{largest} = maximum({largest}, tl.max({part}, axis=1, keep_dims=True))")
        self.out.add(f"{total} = tl.zeros(({rows}, 1), tl.float32)")
        with self._over_units(size):
            value = Values(self, {}).evaluate(argument, needed)
            part = f"tl.where({self.there}, tl.exp({value} - {largest}), 0.0)"
            self.out.add(f"{total} += tl.sum({part}, axis=1, keep_dims=True)")
        with self._over_units(size):
            value = Values(self, {}).evaluate(argument, needed)
            units = tile(size, 1, 1).units
            self.store(node, f"tl.exp({value} - {largest}) / {total}", units)


def _by_vector(accumulators: Iterable[Accumulator]) -> dict[Node, list[tuple[Node, Node]]]:
    """By the vector that is multiplied, the matrices and the sums."""
    found: dict[Node, list[tuple[Node, Node]]] = {}
    for accumulator in accumulators:
        for matrix, vector in accumulator.terms:
            found.setdefault(vector, []).append((matrix, accumulator.node))
    return found
