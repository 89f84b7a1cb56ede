"""What a schedule computes together: before the loop, in each stage of a step, after the loop; and
where the values go that the loop writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from anyrnn.graph.nodes import Node, reached
from anyrnn.graph.sizes import Size
from anyrnn.schedule.cost import SizePolynomial, operations
from anyrnn.schedule.forms import RowStage, Schedule, Stage
from anyrnn.schedule.phases import ONCE, SEQUENCE, STEP, operands


@dataclass(frozen=True)
class Section:
    """What is computed together.

    Attributes:
        phase: Whether once, for the whole sequence at a time, or at each step (`phases.py`).
        title: When, and for what, in words.
        nodes: The values that are computed, each after its arguments.
        sums: The sums of products among them: accumulated, so that adding costs nothing.
        results: The values that a stage writes to memory.
    """

    phase: int
    title: str
    nodes: tuple[Node, ...]
    sums: tuple[Node, ...] = ()
    results: tuple[Node, ...] = ()

    @property
    def cost(self) -> SizePolynomial:
        """The operations for one row, or for all rows where that is one value."""

        def additions(nodes: Iterable[Node]) -> Iterator[Node]:
            return (node for node in nodes if node.operation == "add")

        free = reached(additions(self.sums), lambda node: additions(node.arguments))
        for node in self.nodes if self.phase != ONCE else ():
            if not any(value.type.per_row for value in (node, *node.arguments)):
                free.add(node)
        counts = (operations(node) for node in self.nodes if node not in free)
        return sum(counts, SizePolynomial.of(0))


def sections(schedule: Schedule) -> list[Section]:
    """What a schedule computes, in the order in which it does."""
    once = (n for n in schedule.once if not (n.is_leaf or n.traits.view))
    return [
        Section(ONCE, "once, of parameters only", tuple(once)),
        Section(SEQUENCE, "before the loop, for all steps at a time", schedule.before),
        *_loop(schedule),
        Section(SEQUENCE, "after the loop, for all steps at a time", schedule.after),
    ]


def _loop(schedule: Schedule) -> Iterator[Section]:
    """The stages of a step: each computes what it writes from what is in memory."""
    order, outside = schedule.graph.nodes(), {*schedule.once, *schedule.loop_inputs}
    # of joined vectors, those that are not written yet
    missing = {n: {*n.arguments} for n in schedule.loop if n.operation == "concatenate"}
    memory = outside.union(missing, *(stage.stores for stage in schedule.stages))
    of_rows = {n for s in schedule.stages if isinstance(s, RowStage) for n in s.stores}

    def there(node: Node) -> bool:
        """Whether a stage reads a value; scalars that no row stage stores are rematerialised."""
        recomputed = not node.type.shape and node not in outside and node not in of_rows
        return node.is_leaf or (node in memory and not recomputed)

    number = 0
    for stage in schedule.stages:
        title, written = "whole rows", stage.stores
        if isinstance(stage, Stage):
            title = f"{stage.size} {'unit' if stage.size == Size.of(1) else 'units'}"
        sums = tuple(accumulator.node for accumulator in stage.accumulators)
        computed = reached(
            (node for node in written if node not in outside and not node.is_leaf),
            lambda node: (a for a in operands(node) if not there(a)),
        )
        complete = {node for node, waiting in missing.items() if waiting and waiting <= {*written}}
        for waiting in missing.values():
            waiting.difference_update(written)
        results = tuple(n for n in order if n in complete or (n in written and n in computed))
        if results:
            number += 1
            nodes = tuple(node for node in order if node in computed or node in complete)
            yield Section(STEP, f"each step, stage {number}, {title}", nodes, sums, results)


def destinations(schedule: Schedule, step: str) -> dict[Node, list[str]]:
    """Where the values go that the loop writes: to another step, which `step` names, to what is
    computed after the loop, or to later stages of the same step.
    """
    found: dict[Node, list[str]] = {}
    deferred = {argument for node in schedule.after for argument in operands(node)}
    for node in schedule.new_states.values():
        found[node] = [step]
    for node in schedule.emitted:
        if node in deferred:
            found.setdefault(node, []).append("after the loop")
    for stage in schedule.stages:
        for node in stage.stores:
            if node not in found and node not in schedule.emitted:
                found[node] = ["next stages"]
    return found
