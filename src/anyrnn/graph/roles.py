"""The role of each matrix product of a step. Options that mean some of a cell's matrices, such as
dropout, norms, heads and initialisers, say which roles they mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, reached, topological


class Role(StrEnum):
    """What a product does in a step.

    Attributes:
        INPUT: It reads the input, or what follows from it, and no state: W x.
        RECURRENT: It reads a state, or what follows from one, on the way to a new state: U h,
            U (r * h), W [h, x], P s'.
        PROJECTION: It turns what a step has computed into the state that is carried, h' = P m.
        OUTPUT: It reads a state, old or new, on the way to the output only: y = V h'.
    """

    INPUT = "input"
    RECURRENT = "recurrent"
    PROJECTION = "projection"
    OUTPUT = "output"


def roles(graph: Graph, states: Iterable[str]) -> dict[Node, Role]:
    """The role of each product of a matrix with a vector that differs between the batch's rows, in
    the graph's order; products of parameters alone have none.

    A product on the way to a new state is a projection if it reads what another product has made of
    a state, no activation follows it, and all other products reach the new state through it. So P
    in h' = P (o * tanh(c')) is one, zoned out or limited too; U in h' = W x + U (r * h) is
    recurrent, and so are the matrices of a deep transition, h' = tanh(V relu(W x + U h)).
    """
    new_states = [graph.outputs[name] for name in states]
    carried = topological(new_states)
    nodes = graph.nodes()
    on_state = _reading(nodes, {node for node in nodes if node.operation == "state"})
    products = [node for node in nodes if node.operation == "product" and node.type.per_row]
    reads = {node for node in products if node.arguments[1] in on_state}
    found = dict.fromkeys(products, Role.INPUT)
    found |= dict.fromkeys(reads, Role.OUTPUT)
    recurrent = reads.intersection(carried)
    found |= dict.fromkeys(recurrent, Role.RECURRENT)
    second = _reading(nodes, recurrent)
    open_to_state = recurrent - activated(graph, states)
    last = {node for node in open_to_state if node.arguments[1] in second}
    for state in new_states:
        through = reached([state], lambda node: () if node in last else node.arguments)
        if any(node in found and node not in last for node in through):
            last.difference_update(topological([state]))
    return found | dict.fromkeys(last, Role.PROJECTION)


def activated(graph: Graph, states: Iterable[str]) -> set[Node]:
    """The nodes on the way to a new state that a nonlinear operation follows."""
    carried = topological(graph.outputs[name] for name in states)
    return set(topological(node for node in carried if node.traits.nonlinear))


def matrices(cell: Cell, *wanted: Role) -> frozenset[str]:
    """The parameters that the matrices of some roles are made of, by name."""
    found = roles(cell.graph, cell.states).items()
    used = topological(node.arguments[0] for node, role in found if role in wanted)
    return frozenset(node.name for node in used if node.operation == "parameter")


def matrix_leaf(matrix: Node) -> Node:
    """The parameter that a matrix is made of, the first one where there are several."""
    return next(node for node in topological([matrix]) if node.operation == "parameter")


def _reading(nodes: Iterable[Node], sources: set[Node]) -> set[Node]:
    """The forward slice: the sources, and what depends on one of them."""
    found: set[Node] = set()
    for node in nodes:
        if node in sources or not found.isdisjoint(node.arguments):
            found.add(node)
    return found
