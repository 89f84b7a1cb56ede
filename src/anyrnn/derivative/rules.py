"""One derivative rule for each operation: from the cotangent of its result to those of its
arguments.

A rule gets the node and the cotangent of its value, and returns one cotangent for each argument
(None where there is none). Where an argument was broadcast, `reverse` sums the cotangent back to
its shape.
"""

from __future__ import annotations

from collections.abc import Callable

from anyrnn.graph.nodes import Node, constant, joined, limited, make, where
from anyrnn.graph.operations import LEAVES
from anyrnn.graph.sizes import Size

Cotangents = tuple[Node | None, ...]
Rule = Callable[[Node, Node], Cotangents]


def _none(node: Node, d: Node) -> Cotangents:
    return (None,) * len(node.arguments)


def _divide(node: Node, d: Node) -> Cotangents:
    share = d / node.arguments[1]
    return share, -(share * node)


def _extreme(node: Node, d: Node) -> Cotangents:
    """Of maximum and minimum: all to the chosen side, half to each where both are equal, as in
    PyTorch.
    """
    left, right = node.arguments
    left_larger = where(left > right, d, where(right > left, 0, d / 2))
    right_larger = where(right > left, d, where(left > right, 0, d / 2))
    if node.operation == "minimum":
        return right_larger, left_larger
    return left_larger, right_larger


def _where(node: Node, d: Node) -> Cotangents:
    condition = node.arguments[0]
    return None, where(condition, d, 0), where(condition, 0, d)


def _of_value(rule: Callable[[Node, Node, Node], Node]) -> Rule:
    """The rule of a function of one value, given the value, the result and the cotangent."""
    return lambda node, d: (rule(node.arguments[0], node, d),)


def _mean(value: Node, node: Node, d: Node) -> Node:
    return make("expand", d / make("size", size=value.type.shape[0]), value)


def _product(node: Node, d: Node) -> Cotangents:
    matrix, vector = node.arguments
    return make("outer", d, vector), make("transpose", matrix) @ d


def _concatenate(node: Node, d: Node) -> Cotangents:
    return tuple(make("slice", d, start=start, stop=stop) for _, start, stop in joined(node))


def _slice(node: Node, d: Node) -> Cotangents:
    (value,) = node.arguments
    start, stop, end = node.attributes["start"], node.attributes["stop"], value.type.shape[0]
    parts = [d]
    if start != Size.of(0):
        parts.insert(
            0, make("expand", constant(0), make("slice", value, start=Size.of(0), stop=start))
        )
    if stop != end:
        parts.append(make("expand", constant(0), make("slice", value, start=stop, stop=end)))
    return (make("concatenate", *parts),)


def _outer(node: Node, d: Node) -> Cotangents:
    left, right = node.arguments
    return d @ right, make("transpose", d) @ left


RULES: dict[str, Rule] = {
    **dict.fromkeys(LEAVES, _none),
    "random": _none,
    "add": lambda node, d: (d, d),
    "subtract": lambda node, d: (d, -d),
    "multiply": lambda node, d: (d * node.arguments[1], d * node.arguments[0]),
    "divide": _divide,
    "negative": _of_value(lambda x, y, d: -d),
    "sigmoid": _of_value(lambda x, y, d: d * (y * (1 - y))),
    "tanh": _of_value(lambda x, y, d: d * (1 - y * y)),
    "relu": _of_value(lambda x, y, d: where(y > 0, d, 0)),
    "exp": _of_value(lambda x, y, d: d * y),
    "log": _of_value(lambda x, y, d: d / x),
    "softplus": _of_value(lambda x, y, d: d * make("sigmoid", x)),
    "sqrt": _of_value(lambda x, y, d: d / (2 * y)),
    "abs": _of_value(lambda x, y, d: where(x > 0, d, where(x < 0, -d, 0))),
    "hard_sigmoid": _of_value(lambda x, y, d: where(x > -3, where(x < 3, d / 6, 0), 0)),
    "maximum": _extreme,
    "minimum": _extreme,
    "greater": _none,
    "greater_equal": _none,
    "where": _where,
    "clip_gradient": lambda node, d: (limited(d, node.arguments[1]), None),
    "sum": _of_value(lambda x, y, d: make("expand", d, x)),
    "mean": _of_value(_mean),
    "softmax": _of_value(lambda x, y, d: y * (d - make("sum", d * y))),
    "product": _product,
    "transpose": _of_value(lambda x, y, d: make("transpose", d)),
    "concatenate": _concatenate,
    "slice": _slice,
    "expand": lambda node, d: (d, None),
    "outer": _outer,
    "batch_sum": _of_value(lambda x, y, d: make("expand", d, x)),
}
