"""Reverse-mode differentiation of a graph: cotangents of its leaves from those of its results."""

from __future__ import annotations

from anyrnn.derivative.rules import RULES
from anyrnn.graph.keys import Cotangent, Gradient, Name, NewValue
from anyrnn.graph.nodes import Graph, Node, make
from anyrnn.graph.simplify import simplify


def _sum_to(cotangent: Node, value: Node) -> Node:
    """The adjoint of broadcasting: sum a cotangent over the hidden axis, or over the batch."""
    if cotangent.type.shape and not value.type.shape:
        cotangent = make("sum", cotangent)
    if cotangent.type.per_row and not value.type.per_row:
        cotangent = make("batch_sum", cotangent)
    if cotangent.type != value.type:
        cotangent = make("expand", cotangent, value)
    return cotangent


def derivative(graph: Graph) -> Graph:
    """The derivative of a step in reverse mode.

    Args:
        graph: A step: results as expressions of the input, the states and the parameters.

    Returns:
        A graph with one result for each leaf that has influence, its `Gradient`. Its leaves are
        those of the step, and a `Cotangent` for each result of the step. Cotangents of parameters
        are summed over the rows of the batch.
    """
    nodes = graph.nodes()
    cotangents: dict[Node, Node] = {}
    for name, node in graph.outputs.items():
        leaf = make("cotangent", name=Cotangent(name), type=node.type)
        cotangents[node] = cotangents[node] + leaf if node in cotangents else leaf
    for node in reversed(nodes):
        cotangent = cotangents.get(node)
        if cotangent is None:
            continue
        for argument, part in zip(
            node.arguments, RULES[node.operation](node, cotangent), strict=True
        ):
            if part is None or (argument.is_leaf and not argument.traits.named):
                continue
            part = _sum_to(part, argument)
            known = cotangents.get(argument)
            cotangents[argument] = part if known is None else known + part
    outputs = {
        Gradient(node.name): cotangents[node]
        for node in nodes
        if node.traits.named and node in cotangents
    }
    results: dict[Node, Name] = {
        node: NewValue(name) for name, node in graph.outputs.items() if name != "output"
    }
    names = {node: results.get(node, name) for node, name in graph.names.items()}
    for node, name in graph.names.items():
        if node in cotangents and node not in results:
            names.setdefault(cotangents[node], Gradient(name))
    return simplify(Graph(outputs, names))
