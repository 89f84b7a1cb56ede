"""What is computed outside the loop of a schedule, by the framework, over the rows of all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Gradient, Name
from anyrnn.graph.nodes import Node, reached
from anyrnn.kernels.evaluator import Evaluator, Values
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.neighbours import products_together
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


class OutsideLoop(NamedTuple):
    """What is computed outside the loop, in groups that are computed together."""

    once: list[tuple[Node, ...]]
    before: list[tuple[Node, ...]]
    after: list[tuple[Node, ...]]
    old: tuple[Node, ...]  # the old states that are read after the loop
    numbers: frozenset[Node]  # the constants and sizes that are read, or are results
    totals: dict[str, tuple[Node | None, ...]]  # of each stored parameter, by its members


@lru_cache(maxsize=512)
def outside_loop(cell: Cell, program: Program) -> OutsideLoop:
    """What of a program is computed outside the loop."""
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
    computed = (*schedule.once, *schedule.before, *chosen)
    read = wanted.union(*map(operands, computed))
    return OutsideLoop(
        products_together(cell, schedule.once),
        products_together(cell, schedule.before),
        products_together(cell, chosen, members),
        old,
        frozenset(node for node in read if node.is_number),
        totals,
    )


def unsupported(cell: Cell, program: Program) -> str | None:
    """Why what is outside the loop cannot be computed, or None if it can."""
    outside = outside_loop(cell, program)
    groups = [*outside.once, *outside.before, *outside.after]
    if any(
        node.operation == "random" for group in groups for each in group for node in operands(each)
    ):
        return "random numbers are drawn outside the loop over time"
    return None


class OutsideEvaluator(Evaluator):
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


def outer(left: Any, right: Any) -> Any:
    """The sum over all rows of outer products."""
    rows = max(len(part) if part.dim() > 1 else 0 for part in (left, right))
    if not rows:
        return left[:, None] * right[None, :]
    left, right = (part.expand(rows, part.shape[-1]) for part in (left, right))
    return left.t() @ right
