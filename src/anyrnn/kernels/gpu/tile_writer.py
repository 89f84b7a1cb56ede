"""What every writer of a kernel does: lines, variables, addresses, elementwise work on a tile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from anyrnn.graph.nodes import Node
from anyrnn.graph.randomness import EVERY_STEP, stream_key
from anyrnn.kernels.evaluation import Source, Value
from anyrnn.kernels.gpu.elementwise import COMPUTE, number
from anyrnn.kernels.gpu.form import Form
from anyrnn.kernels.gpu.layout import Layout, Place


class Lines:
    """Lines of text, with a depth, and the variables that they define."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self._variables = 0

    def variable(self, name: str) -> str:
        """A variable that no other line defines."""
        self._variables += 1
        return f"{name}_{self._variables}"

    def add(self, *lines: str) -> None:
        """Add lines."""
        self.lines += ["    " * self.depth + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Lines below a head, one step in."""
        self.add(head)
        self.depth += 1
        yield
        self.depth -= 1


class TileWriter:
    """Writes work on tiles, as lines of Triton's language.

    Args:
        out: Where to.
        layout: The arrays of the loop.
        form: The form of the kernels.
        rows: The rows of a tile.

    Attributes:
        unit, there: The variables of the units of a tile, and which of them there are.
    """

    def __init__(self, out: Lines, layout: Layout, form: Form, rows: int) -> None:
        self.out, self.layout, self.form, self.rows = out, layout, form, rows
        self.sizes = layout.sizes
        self.variable = out.variable
        self.unit = self.there = ""

    def set_units(self, start: str, units: int, size: int) -> None:
        """Go over some units: `units` from `start` on, of `size`."""
        self.unit, self.there = self.variable("unit"), self.variable("there")
        self.out.add(f"{self.unit} = ({start} + tl.arange(0, {units}))[None, :]")
        self.out.add(f"{self.there} = {self.unit} < {size}")

    def whole(self, value: str, units: int) -> str:
        """A value as a tile of float32; numbers are repeated."""
        return f"tl.zeros(({self.rows}, {units}), tl.float32) + {value}"

    def store(self, node: Node, value: str, units: int) -> None:
        """Store a value of a tile everywhere that it is read."""
        vector = bool(node.type.shape)
        whole = self.whole(value, units if vector else 1)
        for place in self.written(node):
            address, mask = self.place(place, vector)
            self.out.add(f"tl.store({address}, {whole}, mask={mask})")

    def written(self, node: Node) -> list[Place]:
        """Everywhere that a value is stored."""
        return self.layout.written(node)

    def place(self, place: Place, vector: bool) -> tuple[str, str]:
        """The addresses of a tile, and its mask; of a number of each row if it is no vector."""
        if vector:
            return address_of(place, self.unit), f"live & {self.there}"
        return address_of(place, "0"), "live"


class Values:
    """The values of a tile of a stage, which are variables."""

    def __init__(self, writer: TileWriter, known: dict[Node, str]) -> None:
        self.writer, self.known = writer, known

    def evaluate(self, root: Node, values: Iterable[Value]) -> str:
        """Evaluate a value, after the others that it needs; its variable."""
        for value in values:
            expression = self._expression(value)
            if value.source is Source.CONSTANT:
                self.known[value.node] = expression
                continue
            called = re.sub(
                r"\W", "", str(self.writer.layout.schedule.graph.names.get(value.node, "v"))
            )
            variable = self.writer.variable(called)
            self.writer.out.add(f"{variable} = {expression}")
            self.known[value.node] = variable
        return self.known[root]

    def _expression(self, value: Value) -> str:
        node, layout, sizes = value.node, self.writer.layout, self.writer.sizes
        vector = bool(node.type.shape)
        if node.is_number:
            return number(node.number(sizes))
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


def address_of(place: Place, column: str) -> str:
    """The addresses of columns of a row of an array."""
    parts = [place.array.name, f"{place.row} * {place.array.strides[0]}"]
    parts += [str(place.column)] if place.column else []
    parts += [column] if column != "0" else []
    return " + ".join(parts)
