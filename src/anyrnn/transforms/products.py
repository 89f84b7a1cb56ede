"""Which products of a step are its input part, and which its recurrent part."""

from __future__ import annotations

from collections.abc import Iterable

from anyrnn.graph.nodes import Graph, Node, topological

INPUT, RECURRENT = "input", "recurrent"


def parts(graph: Graph, states: Iterable[str]) -> dict[Node, str]:
    """The part that each product belongs to: the recurrent part where its vector depends on a
    state, as [h, x] does, the input part where it depends on the input only.

    Products that no activation follows before the new states, such as a projection or an output
    layer, belong to neither; nor do products of parameters alone.

    Args:
        graph: A step.
        states: The names of its states.

    Returns:
        `INPUT` or `RECURRENT` for each product of one of the parts, in the graph's order.
    """
    new_states = topological(graph.outputs[name] for name in states)
    order = topological(node for node in new_states if node.traits.nonlinear)
    on_states: set[Node] = set()
    for node in order:
        if node.operation == "state" or not on_states.isdisjoint(node.arguments):
            on_states.add(node)
    return {
        node: RECURRENT if node in on_states else INPUT
        for node in order
        if node.operation == "product" and node.type.per_row
    }


def matrix_leaf(matrix: Node) -> Node:
    """The parameter that a matrix is made of, the first one where there are several."""
    return next(node for node in topological([matrix]) if node.operation == "parameter")
