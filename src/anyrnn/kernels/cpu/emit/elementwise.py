"""The values of one vector of units of one row: read from memory, or computed in registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from anyrnn.graph.nodes import Node
from anyrnn.graph.randomness import EVERY_STEP
from anyrnn.kernels.cpu.emit import mathematics, philox
from anyrnn.kernels.cpu.emit.assembly import Vectors
from anyrnn.kernels.cpu.emit.tiles import Group, Tile
from anyrnn.schedule.forms import Stage
from anyrnn.schedule.phases import ONCE, operands

if TYPE_CHECKING:
    from anyrnn.kernels.cpu.emit.time_loop import Kernel


class Block:
    """The values of one vector of units of one row: computed when they are asked for."""

    def __init__(
        self,
        kernel: Kernel,
        stage: Stage | None,
        row: str,
        unit: str,
        mask: str | None,
        otherwise: str = "zeroinitializer",
    ) -> None:
        self.kernel, self.stage = kernel, stage
        self.row, self.unit, self.mask, self.otherwise = row, unit, mask, otherwise
        self.v = kernel.v
        self.known: dict[Node, str] = {}
        self.drawn: dict[tuple[int, bool], tuple[str, str]] = {}
        self.own = set(stage.stores) if stage else set()

    def sums(self, start: int, group: Group, cut: Tile, inner: str, lane: str) -> None:
        """Read what a tile has accumulated."""
        function, v = self.kernel.function, self.v
        width = len(group.accumulators) * cut.blocks
        row = function.integer("mul", inner, width * v.lanes)
        place = function.integer("add", row, function.integer("mul", lane, v.lanes))
        for index, accumulator in enumerate(group.accumulators):
            offset = function.integer("add", place, start + index * cut.blocks * v.lanes)
            at = function.element(self.kernel.given["scratch"], offset, v.scalar)
            self.known[accumulator.node] = v.load(at)

    def value(self, node: Node) -> str:
        """A node's value."""
        if node not in self.known:
            self.known[node] = self._read(node) or self._compute(node)
        return self.known[node]

    def _read(self, node: Node) -> str | None:
        kernel = self.kernel
        if node.operation == "constant":
            return self.v.constant(node.attributes["value"])
        if kernel.lowering.when[node] == ONCE and not kernel.lowering.in_place(node):
            pointer = kernel.vector(node)
            if not node.type.shape:
                return self.v.load_number(pointer)
            at = kernel.function.element(pointer, self.unit, self.v.scalar)
            return self.v.load(at, self.mask, self.otherwise)
        if node in self.own and not node.is_leaf and node not in kernel.schedule.loop_inputs:
            return None
        if not node.type.shape:
            # another thread may be about to write it, unless it is complete before the stages
            ready = node in kernel.schedule.loop_inputs or node in kernel.ready
            at = kernel.address(node, self.row, "0") if ready else None
            return self.v.load_number(at) if at else None
        at = kernel.address(node, self.row, self.unit)
        return self.v.load(at, self.mask, self.otherwise) if at else None

    def _compute(self, node: Node) -> str:
        v = self.v
        if node.operation == "slice":
            return self._slice(node)
        if node.operation == "random":
            return self._random(node)
        if not node.traits.pointwise:
            raise NotImplementedError(node.operation)
        if node.operation == "add":
            for product, other in (node.arguments, node.arguments[::-1]):
                if (
                    product.operation == "multiply"
                    and product not in self.known
                    and not self._stays(product)
                ):
                    left, right = map(self.value, product.arguments)
                    return v.fma(left, right, self.value(other))
        values = [self.value(argument) for argument in operands(node)]
        return COMPUTE[node.operation](v, *values)

    def _random(self, node: Node) -> str:
        """Random numbers; two streams have their bits from one computation."""
        kernel, (stream, word) = self.kernel, divmod(node.attributes["stream"], 2)
        key = stream, node.attributes["every_step"]
        if key not in self.drawn:
            step = kernel.clock if node.attributes["every_step"] else str(EVERY_STEP)
            self.drawn[key] = philox.words(
                self.v, kernel.given["seed"], 2 * stream, step, self.row, self.unit
            )
        return philox.uniform(self.v, self.drawn[key][word])

    def _stays(self, node: Node) -> bool:
        """Whether a value is needed by itself too."""
        return node in self.own or self.kernel.address(node, self.row, self.unit) is not None

    def _slice(self, node: Node) -> str:
        """A part of a vector in memory."""
        start = self.kernel.number(node.attributes["start"])
        unit = self.kernel.function.integer("add", self.unit, start)
        at = self.kernel.address(node.arguments[0], self.row, unit)
        if at is None:
            raise NotImplementedError("a slice of what is not in memory")
        return self.v.load(at, self.mask, self.otherwise)


def _extreme(relation: str) -> Callable[[Vectors, str, str], str]:
    def compute(v: Vectors, left: str, right: str) -> str:
        chosen = v.select(v.compare(relation, left, right), left, right)
        unordered = v.compare("uno", left, left)  # NaN on either side gives NaN
        return v.select(unordered, left, chosen)

    return compute


COMPUTE = {
    "add": Vectors.add,
    "subtract": Vectors.subtract,
    "multiply": Vectors.multiply,
    "divide": Vectors.divide,
    "negative": Vectors.negative,
    "sigmoid": mathematics.sigmoid,
    "tanh": mathematics.tanh,
    "exp": mathematics.exponential,
    "log": mathematics.logarithm,
    "softplus": mathematics.softplus,
    "relu": lambda v, x: v.most(x, 0.0),
    "sqrt": lambda v, x: v.call("sqrt", x),
    "abs": lambda v, x: v.call("fabs", x),
    "hard_sigmoid": lambda v, x: v.most(
        v.least(v.add(v.divide(x, v.constant(6.0)), v.constant(0.5)), 1.0), 0.0
    ),
    "maximum": _extreme("ogt"),
    "minimum": _extreme("olt"),
    "greater": lambda v, left, right: v.compare("ogt", left, right),
    "greater_equal": lambda v, left, right: v.compare("oge", left, right),
    "where": Vectors.select,
    "expand": lambda v, value: value,
}
