"""The passes that split the loop: at which values, and into which stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from anyrnn.graph.nodes import Node, joined
from anyrnn.graph.sizes import Size
from anyrnn.schedule.forms import Accumulator, Levels, Placement, RowStage, Schedule, Stage
from anyrnn.schedule.phases import operands
from anyrnn.schedule.rematerialise import frontier, is_cheap


def levels(placement: Placement) -> Levels:
    """Find where the loop has to be split.

    Products, slices, concatenations and reductions read whole vectors, so these have to be complete
    in memory before; elementwise work continues on what is in registers.
    """
    loop, inside = placement.loop, set(placement.loop)
    level: dict[Node, int] = {}
    for node in loop:
        whole = not node.traits.pointwise
        level[node] = 0
        for argument in operands(node):
            if argument in inside:
                joined = argument.operation == "concatenate"  # complete after its parts' stage
                level[node] = max(level[node], level[argument] + whole, joined)
    results = {*placement.new_states.values(), *placement.emitted}
    uses = Counter([*results, *(argument for node in loop for argument in operands(node))])
    accumulators = _accumulators(loop, uses)
    stored = _stored(loop, results, level, accumulators)
    return Levels(level, accumulators, frozenset(stored))


def _accumulators(loop: Iterable[Node], uses: Mapping[Node, int]) -> dict[Node, Accumulator]:
    """The sums of products, by the value that they compute; a sum of such sums is one."""
    found: dict[Node, Accumulator] = {}
    for node in loop:
        if node.operation == "product":
            found[node] = Accumulator(node, ((node.arguments[0], node.arguments[1]),))
        elif node.operation == "add" and all(
            argument in found and uses[argument] == 1 for argument in node.arguments
        ):
            left, right = (found.pop(argument) for argument in node.arguments)
            found[node] = Accumulator(node, left.terms + right.terms)
    return found


def _stored(
    loop: Iterable[Node],
    results: set[Node],
    level: Mapping[Node, int],
    accumulators: Mapping[Node, Accumulator],
) -> set[Node]:
    """The values that are written to memory: results, whole vectors that are read, and what a later
    level continues with, unless that is cheap to rematerialise from less.
    """
    stored = set(results)

    def in_memory(node: Node) -> bool:
        return node not in level or node in stored or node.traits.reduction

    for node in loop:
        for argument in operands(node):
            if in_memory(argument) or not argument.type.shape:
                continue
            if not (node.traits.elementwise or node.traits.reduction):
                stored.add(argument)
            elif level[argument] != level[node]:
                values = frontier(argument, lambda n: in_memory(n) or n in accumulators)
                values = {n for n in values if not in_memory(n)}
                if argument.type.boolean or is_cheap(values):
                    stored |= {n for n in values if n.type.shape}
                else:
                    stored.add(argument)
    return stored - {n for node in accumulators for n in _partial_sums(node, level)}.difference(
        results
    )


def _partial_sums(node: Node, inside: Mapping[Node, int]) -> Iterator[Node]:
    """The sums and products inside a sum of products, which are in registers only."""
    if node.operation == "add":
        for argument in node.arguments:
            if argument in inside:
                yield argument
                yield from _partial_sums(argument, inside)


def split(placement: Placement, cut: Levels) -> Schedule:
    """Split the loop into stages."""
    joins = _joins(placement.loop)
    copies = (part for part in joins if part not in cut.level)
    stages: list[Stage | RowStage] = [
        Stage(0, part.type.shape[0], (), (part,)) for part in reversed(list(copies))
    ]
    for level in sorted(set(cut.level.values())):
        here = [node for node in placement.loop if cut.level[node] == level]
        rows = _row_stages(level, here, placement, cut)
        written = {node for stage in rows for node in stage.stores}
        stages += [*rows, *_unit_stages(level, here, cut, written)]
    fields = {name: getattr(placement, name) for name in Placement.__dataclass_fields__}
    return Schedule(**fields, stages=tuple(stages), joins=joins)


def _joins(loop: Iterable[Node]) -> dict[Node, tuple[tuple[Node, Size], ...]]:
    """For each part of a concatenation, the joined vectors and its offset in each."""
    found: dict[Node, tuple[tuple[Node, Size], ...]] = {}
    for node in loop:
        if node.operation == "concatenate":
            for vector, offset, _ in joined(node):
                found[vector] = (*found.get(vector, ()), (node, offset))
    return found


def _unit_stages(
    level: int, here: Sequence[Node], cut: Levels, written: set[Node]
) -> Iterator[Stage]:
    """The stages over units at a level: one for each size of vectors."""
    for size in dict.fromkeys(node.type.size for node in here):
        own = [node for node in here if node.type.size == size]
        stores = tuple(
            n
            for n in own
            if n in cut.stored
            and n not in written
            and not (n.traits.reduction or n.operation == "concatenate")
        )
        if stores:
            sums = tuple(cut.accumulators[node] for node in own if node in cut.accumulators)
            yield Stage(level, size, sums, stores)


def _row_stages(
    level: int, here: Sequence[Node], placement: Placement, cut: Levels
) -> list[RowStage]:
    """The stages over rows at a level: reductions of vectors of one size are one stage."""
    together: dict[object, list[Node]] = {}
    for node in here:
        if node.traits.reduction:
            alone = node if node.operation == "softmax" else None
            together.setdefault((alone, node.arguments[0].type.shape), []).append(node)
    stages = [RowStage(level, tuple(nodes)) for nodes in together.values()]
    if not stages:
        return []
    complete = {node for node in here if node.traits.reduction}

    def is_complete(node: Node) -> bool:
        known = node in complete or not node.type.per_row
        return known or cut.level.get(node, -1) < level

    for node in here:  # scalars that follow from scalars
        scalars = not any(each.type.shape for each in (node, *node.arguments))
        follows = node.arguments and all(map(is_complete, node.arguments))
        work = node.traits.elementwise and not node.type.boolean
        if scalars and follows and work:
            complete.add(node)
    needed = {*placement.new_states.values(), *placement.emitted}.union(
        a for node in placement.loop if node.type.shape for a in operands(node)
    )
    further = tuple(n for n in here if n in needed & complete and not n.traits.reduction)
    return [*stages[:-1], RowStage(level, stages[-1].reductions, further)]
