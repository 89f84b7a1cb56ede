"""The values of one vector of units of one row: loaded from memory, or computed in registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anyrnn.graph.nodes import Node
from anyrnn.graph.randomness import EVERY_STEP
from anyrnn.kernels.cpu.emit import mathematics, philox
from anyrnn.kernels.cpu.emit.assembly import Vectors
from anyrnn.kernels.cpu.emit.context import Context
from anyrnn.kernels.evaluation import Source, Value


class Registers:
    """The values of one vector of units of one row.

    Where `mask` is false there are no units: `otherwise` is loaded there.

    Attributes:
        known: The register of each value that has been evaluated.
    """

    def __init__(
        self,
        context: Context,
        row: str,
        unit: str,
        mask: str | None,
        otherwise: str = "zeroinitializer",
    ) -> None:
        self.context, self.v = context, context.v
        self.row, self.unit, self.mask, self.otherwise = row, unit, mask, otherwise
        self.known: dict[Node, str] = {}
        self._drawn: dict[tuple[int, bool], tuple[str, str]] = {}

    def evaluate(self, root: Node, values: Iterable[Value]) -> str:
        """Evaluate a value, after the others that it needs; its register."""
        for value in values:
            self.known[value.node] = self._write(value)
        return self.known[root]

    def _write(self, value: Value) -> str:
        context, v, node = self.context, self.v, value.node
        if value.source is Source.CONSTANT:
            return v.constant(node.attributes["value"])
        if value.source is Source.PARAMETER:
            address = context.word(context.record.parameters[node])
            if not node.type.shape:
                return v.load_number(address)
            return self._load(context.function.element(address, self.unit, v.scalar))
        if value.source is Source.MEMORY:
            if not node.type.shape:
                return v.load_number(context.address(node, self.row, "0"))
            return self._load(context.address(node, self.row, self.unit))
        if value.source is Source.SLICE:
            start = context.size(node.attributes["start"])
            unit = context.function.integer("add", self.unit, start)
            return self._load(context.address(node.arguments[0], self.row, unit))
        if node.operation == "random":
            return self._random(node)
        arguments = [self.known[argument] for argument in value.arguments]
        return v.fma(*arguments) if value.fused else COMPUTE[node.operation](v, *arguments)

    def _load(self, address: str) -> str:
        return self.v.load(address, self.mask, self.otherwise)

    def _random(self, node: Node) -> str:
        """Random numbers; Philox computes the bits of two streams at once."""
        stream, word = divmod(node.attributes["stream"], 2)
        key = stream, node.attributes["every_step"]
        if key not in self._drawn:
            context = self.context
            step = context.step.clock if node.attributes["every_step"] else str(EVERY_STEP)
            seed = context.word(context.record.seed)
            self._drawn[key] = philox.words(self.v, seed, 2 * stream, step, self.row, self.unit)
        return philox.uniform(self.v, self._drawn[key][word])


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
