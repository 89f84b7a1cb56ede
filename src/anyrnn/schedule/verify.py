"""Check that a placement and a schedule keep the rules; in the tests each pass ends with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from anyrnn.errors import VerificationError
from anyrnn.graph import verify as of_graphs
from anyrnn.graph.nodes import Node, reached
from anyrnn.schedule.forms import Placement, RowStage, Schedule, Stage
from anyrnn.schedule.phases import ONCE, SEQUENCE, STEP, operands, phases


def _require(kept: bool, rule: str, node: Node) -> None:
    if not kept:
        name = f" '{node.name}'" if "name" in node.attributes else ""
        raise VerificationError(f"{node.operation}{name}, {node.type}: {rule}")


def verify_placement(placement: Placement) -> None:
    """Check that each value is computed once, in a phase that can compute it, after its operands.

    Raises:
        VerificationError: It is not.
    """
    of_graphs.verify(placement.graph)
    when = phases(placement.graph.nodes())
    for section, latest in (
        (placement.once, ONCE),
        (placement.before, SEQUENCE),
        (placement.loop, STEP),
        (placement.after, STEP),
    ):
        counts = Counter(section)
        for node in section:
            _require(counts[node] == 1, "computed twice", node)
            _require(node in when, "not in the graph", node)
            _require(when[node] <= latest, "placed in too early a phase", node)
            _require(latest == ONCE or not node.is_leaf, "a leaf is not computed", node)
    _verify_order(placement)
    _verify_ends(placement, when)


def _verify_order(placement: Placement) -> None:
    """Each section has its operands from those before it, or from its own nodes before."""
    inputs = {*placement.graph.leaves("input")}
    states = {leaf for leaf in placement.graph.leaves("state") if leaf.name in placement.states}
    there = {*placement.emitted, *placement.before} | (
        {*placement.graph.nodes()} - {*placement.loop}
    )
    kept = {leaf for leaf in states if placement.new_states[leaf.name] in there}
    computed = [*placement.before, *placement.emitted]
    for section, given in (
        (placement.once, ()),
        (placement.before, inputs),
        (placement.loop, states.union(placement.loop_inputs)),
        (placement.after, inputs.union(kept, computed)),
    ):
        known = {*placement.once, *given} if section is not placement.once else set()
        for node in section:
            for operand in operands(node):
                _require(operand in known, f"read before it is there, by {node.operation}", operand)
            known.add(node)


def _verify_ends(placement: Placement, when: dict[Node, int]) -> None:
    """The loop reads no input that is not there, and all that is read after it is emitted."""
    before, loop = {*placement.before}, {*placement.loop}
    reads = {operand for node in loop for operand in operands(node)}
    reads.update(placement.new_states.values())
    for node in placement.loop_inputs:
        there = node.operation == "input" or node in before
        _require(there, "a loop input that is not computed before the loop", node)
        _require(node in reads, "a loop input that the loop does not read", node)
    for node in placement.emitted:
        _require(node in loop, "emitted, but not computed in the loop", node)
        _require(not node.type.boolean, "a comparison is not stored", node)
    states = loop.union(placement.loop_inputs, placement.once)
    for node in placement.new_states.values():
        there = node in states or node.is_leaf
        _require(there, "a new state that is not computed", node)
    results = before.union(placement.emitted, placement.after)
    for name in placement.wanted:
        node = placement.graph.outputs[name]
        there = node in results or node.is_leaf or when[node] == ONCE
        _require(there, f"the result '{name}', which is not there after the loop", node)
    sections = (placement.once, placement.before, placement.loop, placement.after)
    done: set[Node] = set()
    carried = {*placement.new_states.values()}  # the loop stores them, known before it or not
    for node in (node for section in sections for node in section):
        cheap = node.traits.cheap or node.type.boolean or node.operation == "random"
        cheap |= node in carried
        _require(node not in done or cheap, "not cheap, but computed in two sections", node)
        done.add(node)


def verify_schedule(schedule: Schedule) -> None:
    """Check that each stage computes what it stores from what is complete in memory by then; that
    the placement keeps its rules is checked before.

    Raises:
        VerificationError: It does not.
    """
    loop = {*schedule.loop}
    written: dict[Node, int] = {}
    for stage in schedule.stages:
        for node in stage.stores:
            _require(node not in written, "stored by two stages", node)
            _require(node in loop or node in schedule.joins, "not in the loop", node)
            written[node] = stage.level
    joined: dict[Node, list[Node]] = {}
    for part, places in schedule.joins.items():
        for node, _ in places:
            joined.setdefault(node, []).append(part)
    for node, parts in joined.items():
        for part in parts:
            _require(part in written, "a part of joined vectors that no stage stores", part)
        written[node] = max(written[part] for part in parts)
    for node in (*schedule.new_states.values(), *schedule.emitted):
        _require(node in written, "a state or result that no stage stores", node)
    _verify_stages(schedule, written)


def _verify_stages(schedule: Schedule, written: dict[Node, int]) -> None:
    """The stages are in order, and each follows from what is complete in memory by then."""
    memory = {*schedule.once, *schedule.loop_inputs, *schedule.graph.leaves("state")}
    order = [(stage.level, isinstance(stage, Stage)) for stage in schedule.stages]
    once, loop = {*schedule.once}, {*schedule.loop}
    terms: Counter[tuple[Node, ...]] = Counter()
    for place, stage in enumerate(schedule.stages):
        ordered = order[place] == max(order[: place + 1])
        _require(ordered, "in a stage that comes too late", stage.stores[0])
        complete = memory | {node for node in written if written[node] < stage.level}
        if isinstance(stage, RowStage):
            for node in stage.reductions:
                _require(node.traits.reduction, "no reduction, in a stage of rows", node)
                _verify_work(operands(node), complete)
            _verify_work(stage.scalars, complete.union(stage.reductions))
            memory.update(stage.stores)
        else:
            _verify_units(stage, once, loop, complete)
            terms.update(term for sums in stage.accumulators for term in sums.terms)
    for node in schedule.loop:
        if node.operation == "product":
            count = terms[node.arguments]
            _require(count == 1, f"a product that is computed by {count} accumulators", node)


def _verify_units(stage: Stage, once: set[Node], loop: set[Node], complete: set[Node]) -> None:
    for accumulator in stage.accumulators:
        summed = _terms(accumulator.node) == [*accumulator.terms]
        _require(summed, "not the sum of the terms of its accumulator", accumulator.node)
        for matrix, vector in accumulator.terms:
            shape = (stage.size, vector.type.shape[0])
            _require(matrix.type.shape == shape, "a matrix of another shape than needed", matrix)
            _require(matrix in once, "a matrix that is not computed once", matrix)
            _require(vector in complete, "multiplied before it is complete in memory", vector)
    for node in stage.stores:
        same = node.type.size == stage.size
        _require(same, f"of another size than its stage, {stage.size}", node)
    sums = {accumulator.node for accumulator in stage.accumulators}
    _verify_work(loop.intersection(stage.stores), complete | sums)


def _terms(node: Node) -> list[tuple[Node, ...]]:
    """The matrices and vectors of a sum of products."""
    if node.operation != "add":
        return [node.arguments]
    return [term for argument in node.arguments for term in _terms(argument)]


def _verify_work(nodes: Iterable[Node], given: set[Node]) -> None:
    """Values follow by pointwise work from what is given, or are slices of it."""

    def follow(node: Node) -> Iterable[Node]:
        if node in given:
            return ()
        sliced = node.operation == "slice" and node.arguments[0] in given
        pointwise = node.traits.pointwise and not node.is_leaf
        _require(pointwise or sliced, "read by a stage before it is complete in memory", node)
        return operands(node)

    reached(nodes, follow)
