"""A stage over whole rows: sums, means and softmax over the hidden axis."""

from __future__ import annotations

from collections.abc import Callable

from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.emit import mathematics
from anyrnn.kernels.cpu.emit.context import Context
from anyrnn.kernels.cpu.emit.elementwise import Registers
from anyrnn.kernels.evaluation import Evaluation
from anyrnn.schedule.forms import RowStage


class ReducingStage:
    """Writes a stage over rows."""

    def __init__(
        self, context: Context, number: int, stage: RowStage, evaluation: Evaluation
    ) -> None:
        self.context, self.stage, self.evaluation = context, stage, evaluation
        self.size = context.word(context.record.stages[number].size)

    def write(self) -> None:
        """Write the loop over the rows."""
        function, v = self.context.function, self.context.v
        with self.context.rows() as row:
            if self.stage.reductions[0].operation == "softmax":
                self._softmax(row)
            else:
                totals = self._reduce(row)
                length = function.value(f"sitofp i64 {self.size} to {v.scalar}", "length")
                for node, total in zip(self.stage.reductions, totals, strict=True):
                    if node.operation == "mean":
                        total = function.value(f"fdiv {v.scalar} {total}, {length}", "mean")
                    self._store_scalar(node, total, row)
            registers = Registers(self.context, row, "0", None)
            for node, values in zip(self.stage.scalars, self.evaluation.scalars, strict=True):
                vector = registers.evaluate(node, values)
                value = function.value(f"extractelement {v.type} {vector}, i64 0")
                self._store_scalar(node, value, row)

    def _store_scalar(self, node: Node, value: str, row: str) -> None:
        for address in self.context.destinations(node, row, "0"):
            self.context.function.emit(f"store {self.context.v.scalar} {value}, ptr {address}")

    def _reduce(
        self,
        row: str,
        change: Callable[[str], str] = lambda value: value,
        largest: bool = False,
    ) -> list[str]:
        """The sum or the maximum of the elements of a row, each changed first: of each vector that
        the stage reduces.
        """
        function, v = self.context.function, self.context.v
        neutral = v.constant(float("-inf")) if largest else "zeroinitializer"
        count = len(self.stage.reductions)
        totals = [self.context.scratch(place * v.lanes) for place in range(count)]
        for total in totals:
            v.store(neutral, total)
        with function.loop("unit", "0", self.size, str(v.lanes)) as unit:
            mask = v.mask(function.integer("sub", self.size, unit))
            registers = Registers(self.context, row, unit, mask, neutral)
            for node, values, total in zip(
                self.stage.reductions, self.evaluation.roots, totals, strict=True
            ):
                value = change(registers.evaluate(node.arguments[0], values))
                value, so_far = v.select(mask, value, neutral), v.load(total)
                if largest:
                    above = v.compare("ogt", value, so_far)
                    v.store(v.select(above, value, so_far), total)
                else:
                    v.store(v.add(value, so_far), total)
        reduced = v.largest if largest else v.total
        return [reduced(v.load(total)) for total in totals]

    def _softmax(self, row: str) -> None:
        function, v, node = self.context.function, self.context.v, self.stage.reductions[0]
        largest = v.splat(self._reduce(row, largest=True)[0])

        def raised(value: str) -> str:
            return mathematics.exponential(v, v.subtract(value, largest))

        total = v.splat(self._reduce(row, raised)[0])
        with function.loop("unit", "0", self.size, str(v.lanes)) as unit:
            mask = v.mask(function.integer("sub", self.size, unit))
            registers = Registers(self.context, row, unit, mask)
            argument = registers.evaluate(node.arguments[0], self.evaluation.roots[0])
            result = v.divide(raised(argument), total)
            for address in self.context.destinations(node, row, unit):
                v.store(result, address, mask)
