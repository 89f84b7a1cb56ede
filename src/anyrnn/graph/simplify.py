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


def _arithmetic(node: Node, arguments: tuple[Node, ...]) -> Node | None:
    """What x + 0, x - 0, 1 * x, x / 1, x + -y and the like are; None where nothing is simpler.

    0 * x stays: it is not 0 where x is infinite.
    """
    left, right = arguments
    match node.operation:
        case "add":
            if _is(left, 0.0):
                return right
            if _is(right, 0.0):
                return left
            if right.operation == "negative":
                return left - right.arguments[0]
            if left.operation == "negative":
                return right - left.arguments[0]
        case "subtract":
            if _is(right, 0.0):
                return left
            if _is(left, 0.0):
                return -right
            if right.operation == "negative":
                return left + right.arguments[0]
        case "multiply":
            if _is(left, 1.0):
                return right
            if _is(right, 1.0):
                return left
        case "divide":
            if _is(right, 1.0):
                return left
    return None


def _structure(node: Node, arguments: tuple[Node, ...]) -> Node | None:
    (argument, *_) = arguments
    match node.operation:
        case "negative" | "transpose" if argument.operation == node.operation:
            return argument.arguments[0]
        case "expand" if argument.type == arguments[1].type:
            return argument
        case "batch_sum" if not argument.type.per_row:
            return argument
        case "concatenate" if len(arguments) == 1:
            return argument
        case "slice":
            return _slice(argument, node.attributes["start"], node.attributes["stop"])
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
    simpler = (_arithmetic if len(arguments) == 2 else _structure)(node, arguments)
    if simpler is None and len(arguments) == 2:
        simpler = _structure(node, arguments)
    if simpler is None or simpler.type != same.type:
        return same
    return simpler


def simplify(graph: Graph) -> Graph:
    """Fold constants, drop neutral operations, and keep names only of what is still used; no
    element of a result changes.
    """
    while True:
        new = rewrite(graph, _simpler)
        if new.outputs == graph.outputs:
            break
        graph = new
    alive = set(new.nodes())
    result = Graph(new.outputs, {node: name for node, name in new.names.items() if node in alive})
    if VERIFY:
        verify(result)
    return result
