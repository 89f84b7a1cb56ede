"""Algebraic simplification and constant folding, without any change of values. Nodes are
hash-consed, so that common subexpressions need no pass, and a dead node is in no graph.
"""

from __future__ import annotations

from anyrnn.graph.nodes import Graph, Node, constant, joined, make, rebuilt, rewrite
from anyrnn.graph.sizes import Size
from anyrnn.graph.verify import VERIFY, verify

_FOLDED = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negative": lambda a: -a,
    "maximum": max,
    "minimum": min,
    "abs": abs,
    "relu": lambda a: max(a, 0.0),
}


def _is(node: Node, value: float) -> bool:
    return node.operation == "constant" and node.attributes["value"] == value


def _identity(node: Node, arguments: tuple[Node, ...]) -> Node | None:
    """What x + 0, x - 0, 1 * x, x / 1, x + -y, a slice of all and the like are; None where nothing
    is simpler.

    0 * x stays: it is not 0 where x is infinite.
    """
    left, right = arguments[0], arguments[-1]
    match node.operation:
        case "add" if _is(left, 0.0):
            return right
        case "add" | "subtract" if _is(right, 0.0):
            return left
        case "add" if right.operation == "negative":
            return left - right.arguments[0]
        case "add" if left.operation == "negative":
            return right - left.arguments[0]
        case "subtract" if _is(left, 0.0):
            return -right
        case "subtract" if right.operation == "negative":
            return left + right.arguments[0]
        case "multiply" if _is(left, 1.0):
            return right
        case "multiply" | "divide" if _is(right, 1.0):
            return left
        case "negative" | "transpose" if left.operation == node.operation:
            return left.arguments[0]
        case "expand" if left.type == right.type:
            return left
        case "batch_sum" if not left.type.per_row:
            return left
        case "concatenate" if len(arguments) == 1:
            return left
        case "slice":
            return _slice(left, node.attributes["start"], node.attributes["stop"])
    return None


def _slice(argument: Node, start: Size, stop: Size) -> Node | None:
    if start == Size.of(0) and stop == argument.type.shape[-1]:
        return argument
    if argument.operation == "slice":
        offset = argument.attributes["start"]
        return make("slice", argument.arguments[0], start=offset + start, stop=offset + stop)
    if argument.operation == "concatenate":
        for vector, *ends in joined(argument):
            if ends == [start, stop] and vector.type.per_row == argument.type.per_row:
                return vector
    return None


def _simpler(node: Node, arguments: tuple[Node, ...]) -> Node:
    same = rebuilt(node, arguments)
    if not arguments:
        return same
    folded = _FOLDED.get(node.operation)
    if folded and all(argument.operation == "constant" for argument in arguments):
        return constant(folded(*(argument.attributes["value"] for argument in arguments)))
    simpler = _identity(node, arguments)
    return same if simpler is None or simpler.type != same.type else simpler


def simplify(graph: Graph) -> Graph:
    """Fold constants, drop neutral operations, and keep names only of what is still used; no
    element of a result changes.
    """
    while (new := rewrite(graph, _simpler)).outputs != graph.outputs:
        graph = new
    alive = set(new.nodes())
    result = Graph(new.outputs, {node: name for node, name in new.names.items() if node in alive})
    if VERIFY:
        verify(result)
    return result
