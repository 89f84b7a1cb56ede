"""Phases: what can be computed once, what for all steps at a time, what at each step only."""

from __future__ import annotations

from collections.abc import Iterable

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Graph, Node, topological

ONCE, SEQUENCE, STEP = 0, 1, 2
PHASE_OF_LEAF = {"state": STEP, "cotangent": STEP, "random": STEP, "input": SEQUENCE}


def operands(node: Node) -> tuple[Node, ...]:
    """The arguments whose values matter; of the second one of `expand` only the type does."""
    return node.arguments[:1] if node.traits.broadcast else node.arguments


def phases(nodes: Iterable[Node], hoist: bool = True) -> dict[Node, int]:
    """The earliest phase of each node, given after its arguments: once, for the whole sequence, or
    at each step.

    Without `hoist`, what depends on the input waits for its step; only the input itself is there
    for the whole sequence.
    """
    found: dict[Node, int] = {}
    for node in nodes:
        own = PHASE_OF_LEAF.get(node.operation, ONCE)
        found[node] = max([own, *(found[argument] for argument in node.arguments)])
        if found[node] == SEQUENCE and not (hoist or node.is_leaf):
            found[node] = STEP
    return found


def sink_elementwise(when: dict[Node, int], new_states: list[Node]) -> dict[Node, int]:
    """Sinks state-independent elementwise work into the loop, and what is computed from it, unless
    a hoisted product consumes it.
    """
    elementwise = {node for node in when if node.traits.elementwise}
    early = topological(
        n for n in topological(new_states) if when[n] == SEQUENCE and n not in elementwise
    )
    late = elementwise.difference(early)
    sunk = {node for node in late if when[node] == SEQUENCE and node.type.per_row}
    found: dict[Node, int] = {}
    for node, phase in when.items():
        waits = node in sunk or any(found[argument] == STEP for argument in operands(node))
        found[node] = STEP if waits else phase
    return found


def multiplies_each_step(graph: Graph, states: Iterable[Name]) -> bool:
    """Whether a new state waits for a product of its own step: with a state, or with what is drawn
    at each step. Roles do not say it: in a derivative, states are cotangents.
    """
    when = phases(graph.nodes())
    needed = topological(graph.outputs[name] for name in states)
    return any(node.operation == "product" and when[node] == STEP for node in needed)
