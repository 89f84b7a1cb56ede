"""The arrays of a loop: which there are, what a kernel calls them, and where a value is in them."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from anyrnn.graph.keys import Key, Name
from anyrnn.graph.nodes import Node
from anyrnn.graph.operations import OPERATIONS
from anyrnn.kernels.evaluation import Evaluation, Source, between_stages
from anyrnn.schedule.forms import Schedule

# what kernels call their own variables, and functions, which have the names of operations
TAKEN = frozenset(
    (
        *("batch", "rows", "offsets", "lengths", "seed", "tl", "triton", "index", "step", "live"),
        *("row", "here", "length", "longest", "previous", "following", "entering", "leaving"),
        *("before", "after", "begin", "start", "term", "left", "right", "range", "float"),
        *("place", "before_it", "advance", "compose", "uniform"),
    )
).union(OPERATIONS)


class ArrayArgument(NamedTuple):
    """An array that a kernel is given, and the strides that it is given besides: of a matrix two,
    of rows one, of a vector or a number none.
    """

    name: str
    strides: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """It among the parameters of a kernel."""
        return ", ".join((self.name, *self.strides))


class Place(NamedTuple):
    """Where a value of a row is: in which array, in which of its rows, from which column on."""

    array: ArrayArgument
    row: str
    column: int = 0


class Layout:
    """The arrays of a loop.

    A state is in a history, which has it after each step, or in a pair of buffers, which steps
    write by turns.

    Args:
        schedule: The schedule of the loop.
        planned: How each of its stages is evaluated.
        histories: The states with histories.
        sizes: The named sizes as numbers.

    Attributes:
        parameters: What depends on parameters only, and is computed before: vectors, numbers and
            matrices.
        states: The arrays of the states by name.
        rows: The arrays of all steps, by value: what the loop is given, and what it hands on.
        scratch: The arrays of one step: what its stages hand to each other.
    """

    def __init__(
        self,
        schedule: Schedule,
        planned: list[Evaluation],
        histories: frozenset[Name],
        sizes: Mapping[str, int],
    ) -> None:
        self.schedule, self.histories, self.sizes = schedule, histories, sizes
        self._taken = set(TAKEN)
        self.new: dict[Node, list[Name]] = {}
        for name, node in schedule.new_states.items():
            self.new.setdefault(node, []).append(name)
        self.states = {name: self._rows(name) for name in schedule.states}
        self.leaves = {leaf: leaf.name for leaf in schedule.graph.leaves("state")}
        in_history = {n for n, names in self.new.items() if histories.intersection(names)}
        emitted = [node for node in schedule.emitted if node not in in_history]
        every = dict.fromkeys([*schedule.loop_inputs, *emitted])
        self.rows = {node: self._rows(self._name(node)) for node in every}
        between = (node for node in between_stages(schedule) if node not in self.leaves)
        self.scratch = {node: self._rows(self._name(node)) for node in between}
        self.parameters = self._parameters(planned)

    def _parameters(self, planned: list[Evaluation]) -> dict[Node, ArrayArgument]:
        found: dict[Node, ArrayArgument] = {}
        for stage, evaluation in zip(self.schedule.stages, planned, strict=True):
            for accumulator in stage.accumulators:
                for matrix, _ in accumulator.terms:
                    if matrix not in found:
                        name = self._take(self._name(matrix))
                        strides = f"{name}_row", f"{name}_column"
                        found[matrix] = ArrayArgument(name, strides)
            for value in evaluation.values:
                node = value.node
                read = value.source is Source.PARAMETER and node.operation != "size"
                if read and node not in found:
                    found[node] = ArrayArgument(self._take(self._name(node)))
        return found

    def _rows(self, name: Any) -> ArrayArgument:
        taken = self._take(name)
        return ArrayArgument(taken, (f"{taken}_row",))

    def _name(self, node: Node) -> Any:
        names = self.schedule.graph.names
        if node.operation == "product" and node.arguments[0].operation == "parameter":
            return f"{node.arguments[0].name}_{self._name(node.arguments[1])}"
        if OPERATIONS[node.operation].view:
            return f"{self._name(node.arguments[0])}_{node.operation}"
        return node.attributes.get("name") or names.get(node) or node.operation

    def _take(self, name: Any) -> str:
        """A name that no other array has, made of letters, digits and underscores."""
        text = str(name).replace("'", "_new") if isinstance(name, Key) else str(name)
        text = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "value"
        if text[0].isdigit() or keyword.iskeyword(text) or re.search(r"_\d+$", text):
            text = f"a_{text}_"  # variables of a kernel end with a number
        own, number = text, 1
        while own in self._taken:
            number += 1
            own = f"{text}{number}"
        self._taken |= {own, f"{own}_row", f"{own}_column"}
        return own

    @property
    def arguments(self) -> list[ArrayArgument]:
        """All arrays, in the order in which a kernel takes them."""
        parts = self.states, self.rows, self.scratch, self.parameters
        return [array for part in parts for array in part.values()]

    @property
    def wide(self) -> list[ArrayArgument]:
        """The arrays of float32 in a run of any type: what nobody sees besides the kernels."""
        pairs = [array for name, array in self.states.items() if name not in self.histories]
        return [*pairs, *self.scratch.values()]

    @property
    def matrices(self) -> list[ArrayArgument]:
        """The arrays that have two strides."""
        return [array for array in self.parameters.values() if array.strides]

    def _state(self, name: Name, new: bool) -> Place:
        history = name in self.histories
        row = ("leaving" if history else "after") if new else ("entering" if history else "before")
        return Place(self.states[name], row)

    def read(self, node: Node) -> Place:
        """Where a value of memory is read."""
        if node in self.leaves:
            return self._state(self.leaves[node], new=False)
        if node in self.rows:
            return Place(self.rows[node], "row")
        if node in self.new:
            return self._state(self.new[node][0], new=True)
        return Place(self.scratch[node], "here")

    def written(self, node: Node, column: int = 0) -> list[Place]:
        """Everywhere that a computed value is written."""
        found: list[Place] = []
        if node not in self.leaves and node not in self.schedule.loop_inputs:
            if node in self.scratch:
                found.append(Place(self.scratch[node], "here", column))
            if node in self.rows:
                found.append(Place(self.rows[node], "row", column))
            states = (self._state(name, new=True) for name in self.new.get(node, ()))
            found += [place._replace(column=column) for place in states]
        for joined, start in self.schedule.joins.get(node, ()):
            found += self.written(joined, column + start.evaluate(self.sizes))
        return found
