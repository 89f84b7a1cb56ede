"""The pass that places each value once, before, in or after the loop over time.

In the forward step and in the reverse step alike, `input` leaves have a row for each sequence at
each step, `state` leaves are what the previous step has computed, and `parameter` leaves are the
same at all steps. The loop has to compute the new states only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Graph, Node, reached, topological
from anyrnn.schedule.forms import Placement, Policy
from anyrnn.schedule.phases import ONCE, SEQUENCE, STEP, operands, phases, sink_elementwise
from anyrnn.schedule.rematerialise import frontier, is_cheap, is_in_place


def place(
    graph: Graph, states: Iterable[Name], wanted: Iterable[Name], policy: Policy
) -> Placement:
    """Place the values of a step graph; arguments as of `schedule`."""
    states, wanted = tuple(states), tuple(wanted)
    new_states = [graph.outputs[name] for name in states]
    results = [graph.outputs[name] for name in wanted]
    when = phases(graph.nodes(), policy.hoist)
    if policy.sink:
        when = sink_elementwise(when, new_states)
    live = _live(graph)
    roots = new_states if policy.defer else [*new_states, *results]
    loop = _loop(live, roots, new_states, when, policy.sink)
    deferred = {n for n in live if n not in loop and when[n] == STEP and not n.is_leaf}
    kept = _kept(results, deferred, graph, when)
    deferred |= {n for n in kept if n.type.boolean and when[n] == STEP}
    reads = {argument for node in loop for argument in operands(node)}.union(new_states) - loop
    hoisted = [n for n in live if when[n] == SEQUENCE and (n in reads or n in kept)]
    needed = set(topological(hoisted))
    before = [n for n in live if n in needed and when[n] == SEQUENCE and not n.is_leaf]
    after = [n for n in live if n in deferred]
    reads_of_parameters = reads.union(*map(operands, [*before, *after]))
    return Placement(
        graph,
        states,
        wanted,
        once=tuple(topological(n for n in live if when[n] == ONCE and n in reads_of_parameters)),
        before=tuple(before),
        loop_inputs=tuple(n for n in live if when[n] == SEQUENCE and n in reads),
        loop=tuple(n for n in live if n in loop),
        emitted=tuple(
            n for n in live if n in loop and n in kept and n not in deferred and when[n] == STEP
        ),
        after=tuple(after),
    )


def _live(graph: Graph) -> list[Node]:
    """The nodes whose values matter, not only their types, each after its arguments."""
    found = reached(graph.outputs.values(), operands)
    return [node for node in graph.nodes() if node in found]


def _loop(
    live: Sequence[Node],
    roots: Iterable[Node],
    new_states: Iterable[Node],
    when: Mapping[Node, int],
    sink: bool,
) -> set[Node]:
    """The nodes computed in the loop: those that depend on a state, and cheap work sunk into it."""
    reached = set(topological(roots))
    needed = {n for n in live if n in reached and when[n] == STEP and not n.is_leaf}
    if not sink:
        return needed
    needed |= _fused(live, when, needed)
    return needed.union(new_states, _sunk([*needed, *new_states], when))


def _fused(live: Iterable[Node], when: Mapping[Node, int], needed: set[Node]) -> set[Node]:
    """Values of a step that no state waits for, and that the loop computes all the same, while
    their operands are in registers: without products, and not from products after the loop.
    """
    found: set[Node] = set()
    for node in live:
        if when[node] == STEP and not node.is_leaf:
            fusible = node.traits.pointwise or node.traits.reduction
            if fusible and all(
                a in found or a in needed or when[a] < STEP or a.is_leaf for a in operands(node)
            ):
                found.add(node)
    return found


def _sunk(needed: Iterable[Node], when: Mapping[Node, int]) -> set[Node]:
    """Earlier work that the loop rematerialises: cheap work on one loop input, and some of what
    depends on parameters only.

    Adding a bias in the loop costs nothing; before it, it would cost a pass over the sequence.
    """

    def is_sunk(node: Node) -> bool:
        if when[node] == ONCE:
            return is_in_place(node)
        values = frontier(node, lambda n: n.is_leaf or when[n] == ONCE)
        cheap = node.type.boolean or is_cheap(n for n in values if when[n] == SEQUENCE)
        return when[node] == SEQUENCE and cheap and node.traits.cheap and node.traits.elementwise

    def follow(node: Node) -> Iterator[Node]:
        return filter(is_sunk, node.arguments)

    read = {argument for node in needed for argument in operands(node)}
    return reached(filter(is_sunk, read), follow)


def _kept(
    results: Iterable[Node], deferred: Iterable[Node], graph: Graph, when: Mapping[Node, int]
) -> set[Node]:
    """What is read for all steps after the loop: results, and the operands of deferred work.

    For an old state, that is the new one of the step before; for a comparison, which is never
    stored, it is what is compared.
    """

    def follow(node: Node) -> Iterator[Node]:
        if node.operation == "state":
            yield graph.outputs[node.name]
        if node.type.boolean and when[node] == STEP:
            yield from operands(node)

    return reached({*results}.union(*map(operands, deferred)), follow)
