"""What a schedule computes together: before the loop, in each stage of a step, after the loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.schedule.cost import Cost, operations
from anyrnn.schedule.forms import RowStage, Schedule
from anyrnn.schedule.phases import operands

ONCE = "once, of parameters only"
LOOP = "each step, stage"


@dataclass(frozen=True)
class Section:
    """What is computed together."""

    title: str  # when, and for what
    nodes: tuple[Node, ...]  # what is computed, each after its arguments
    sums: tuple[Node, ...] = ()  # of products: accumulated, so that adding costs nothing
    results: tuple[Node, ...] = ()  # what is written

    @property
    def cost(self) -> Cost:
        """The operations for one row, or for all rows where that is one value."""
        free: set[Node] = set()
        left = [node for node in self.sums if node.operation == "add"]
        while left:
            node = left.pop()
            free.add(node)
            left += [argument for argument in node.arguments if argument.operation == "add"]
        for node in self.nodes if self.title != ONCE else ():
            if not any(value.type.per_row for value in (node, *node.arguments)):
                free.add(node)
        return sum((operations(node) for node in self.nodes if node not in free), Cost.of(0))


def sections(planned: Schedule) -> list[Section]:
    """What a schedule computes, in the order in which it does."""
    once = (n for n in planned.once if not (n.is_leaf or n.traits.view))
    return [
        Section(ONCE, tuple(once)),
        Section("before the loop, for all steps at a time", planned.before),
        *_loop(planned),
        Section("after the loop, for all steps at a time", planned.after),
    ]


def _loop(planned: Schedule) -> Iterator[Section]:
    """The stages of a step: each computes what it writes from what is in memory."""
    order, outside = planned.graph.nodes(), {*planned.once, *planned.loop_inputs}
    missing: dict[Node, set[Node]] = {}  # the parts of joined vectors that are not written yet
    for piece, joins in planned.joins.items():
        for joined, _ in joins:
            missing.setdefault(joined, set()).add(piece)
    memory = {*outside, *missing}
    for stage in planned.stages:
        memory.update(stage.stores)
    of_rows = {n for s in planned.stages if isinstance(s, RowStage) for n in s.stores}

    def there(node: Node) -> bool:
        """Whether a stage reads a value: what is one number of a row is computed again instead."""
        again = not node.type.shape and node not in outside and node not in of_rows
        return node.is_leaf or (node in memory and not again)

    number = 0
    for stage in planned.stages:
        if isinstance(stage, RowStage):
            title, written, sums = "whole rows", stage.stores, ()
        else:
            unit = "unit" if stage.size == Size.of(1) else "units"
            title, written = f"{stage.size} {unit}", stage.stores
            sums = tuple(accumulator.node for accumulator in stage.accumulators)
        computed = {node for node in written if node not in outside and not node.is_leaf}
        left = list(computed)
        while left:
            more = {a for a in operands(left.pop()) if not there(a)} - computed
            computed |= more
            left += more
        complete = {node for node, pieces in missing.items() if pieces and pieces <= {*written}}
        for pieces in missing.values():
            pieces.difference_update(written)
        results = tuple(n for n in order if n in complete or (n in written and n in computed))
        if results:
            number += 1
            nodes = tuple(node for node in order if node in computed or node in complete)
            yield Section(f"{LOOP} {number}, {title}", nodes, sums, results)
