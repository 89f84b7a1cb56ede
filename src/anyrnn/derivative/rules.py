"""One derivative rule for each operation: from the cotangent of its result to those of its
arguments.

A rule gets the node and the cotangent of its value, and returns one cotangent for each argument
(None where there is none). Where an argument was broadcast, `reverse` sums the cotangent back to
its shape.
"""

from __future__ import annotations

from collections.abc import Callable

from anyrnn.graph.nodes import Node, constant, limited, make
from anyrnn.graph.operations import LEAVES
from anyrnn.graph.sizes import Size

Cotangents = tuple[Node | None, ...]
Rule = Callable[[Node, Node], Cotangents]

ZERO = constant(0)
ONE = constant(1)


def _times(left: Node, right: Node) -> Node:
    return make("multiply", left, right)


def _negative(value: Node) -> Node:
    return make("negative", value)


def _where_greater(left: Node, right: Node, then: Node, otherwise: Node) -> Node:
    return make("where", make("greater", left, right), then, otherwise)


def _none(node: Node, d: Node) -> Cotangents:
    return (None,) * len(node.arguments)


def _multiply(node: Node, d: Node) -> Cotangents:
    left, right = node.arguments
    return _times(d, right), _times(d, left)


def _divide(node: Node, d: Node) -> Cotangents:
    share = make("divide", d, node.arguments[1])
    return share, _negative(_times(share, node))


def _sigmoid(node: Node, d: Node) -> Cotangents:
    return (_times(d, _times(node, make("subtract", ONE, node))),)


def _tanh(node: Node, d: Node) -> Cotangents:
    return (_times(d, make("subtract", ONE, _times(node, node))),)


def _sqrt(node: Node, d: Node) -> Cotangents:
    return (make("divide", d, _times(constant(2), node)),)


def _abs(node: Node, d: Node) -> Cotangents:
    (value,) = node.arguments
    negative = _where_greater(ZERO, value, _negative(d), ZERO)
    return (_where_greater(value, ZERO, d, negative),)


def _hard_sigmoid(node: Node, d: Node) -> Cotangents:
    (value,) = node.arguments
    inside = _where_greater(constant(3), value, make("divide", d, constant(6)), ZERO)
    return (_where_greater(value, constant(-3), inside, ZERO),)


def _extreme(node: Node, d: Node) -> Cotangents:
    """Of maximum and minimum: all to the chosen side, half to each where both are equal, as in
    PyTorch.
    """
    left, right = node.arguments
    half = make("divide", d, constant(2))
    left_larger = _where_greater(left, right, d, _where_greater(right, left, ZERO, half))
    right_larger = _where_greater(right, left, d, _where_greater(left, right, ZERO, half))
    if node.operation == "minimum":
        return right_larger, left_larger
    return left_larger, right_larger


def _where(node: Node, d: Node) -> Cotangents:
    condition = node.arguments[0]
    return None, make("where", condition, d, ZERO), make("where", condition, ZERO, d)


def _clip_gradient(node: Node, d: Node) -> Cotangents:
    return limited(d, node.arguments[1]), None


def _mean(node: Node, d: Node) -> Cotangents:
    (value,) = node.arguments
    share = make("divide", d, make("size", size=value.type.shape[0]))
    return (make("expand", share, value),)


def _softmax(node: Node, d: Node) -> Cotangents:
    total = make("sum", _times(d, node))
    return (_times(node, make("subtract", d, total)),)


def _product(node: Node, d: Node) -> Cotangents:
    matrix, vector = node.arguments
    return make("outer", d, vector), make("product", make("transpose", matrix), d)


def _concatenate(node: Node, d: Node) -> Cotangents:
    parts, start = [], Size.of(0)
    for argument in node.arguments:
        stop = start + argument.type.shape[0]
        parts.append(make("slice", d, start=start, stop=stop))
        start = stop
    return tuple(parts)


def _slice(node: Node, d: Node) -> Cotangents:
    (value,) = node.arguments
    start, stop, end = node.attributes["start"], node.attributes["stop"], value.type.shape[0]
    parts = [d]
    if start != Size.of(0):
        parts.insert(0, make("expand", ZERO, make("slice", value, start=Size.of(0), stop=start)))
    if stop != end:
        parts.append(make("expand", ZERO, make("slice", value, start=stop, stop=end)))
    return (make("concatenate", *parts),)


def _outer(node: Node, d: Node) -> Cotangents:
    left, right = node.arguments
    return make("product", d, right), make("product", make("transpose", d), left)


RULES: dict[str, Rule] = {
    **dict.fromkeys(LEAVES, _none),
    "add": lambda node, d: (d, d),
    "random": _none,
    "subtract": lambda node, d: (d, _negative(d)),
    "multiply": _multiply,
    "divide": _divide,
    "negative": lambda node, d: (_negative(d),),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": lambda node, d: (_where_greater(node, ZERO, d, ZERO),),
    "exp": lambda node, d: (_times(d, node),),
    "log": lambda node, d: (make("divide", d, node.arguments[0]),),
    "softplus": lambda node, d: (_times(d, make("sigmoid", node.arguments[0])),),
    "sqrt": _sqrt,
    "abs": _abs,
    "hard_sigmoid": _hard_sigmoid,
    "maximum": _extreme,
    "minimum": _extreme,
    "greater": _none,
    "greater_equal": _none,
    "where": _where,
    "clip_gradient": _clip_gradient,
    "sum": lambda node, d: (make("expand", d, node.arguments[0]),),
    "mean": _mean,
    "softmax": _softmax,
    "product": _product,
    "transpose": lambda node, d: (make("transpose", d),),
    "concatenate": _concatenate,
    "slice": _slice,
    "expand": lambda node, d: (d, None),
    "outer": _outer,
    "batch_sum": lambda node, d: (make("expand", d, node.arguments[0]),),
}
