"""The list of operations in those of Keras, on tensors laid out as the interpreter's arrays: what
Keras' loop computes a cell with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from anyrnn.graph.nodes import Graph, Node
from anyrnn.graph.sizes import Size


def _over_hidden(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda a: function(a, axis=-1, keepdims=len(a.shape) > 1)


def _concatenate(*values: Any) -> Any:
    most = max(values, key=lambda value: len(value.shape))
    rows = ops.zeros_like(most[..., :1])
    return ops.concatenate([value + rows for value in values], axis=-1)


@ops.custom_gradient
def _clip_gradient(value: Any, bound: Any) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
    """The identity, whose derivative is limited."""

    def gradient(*arguments: Any, upstream: Any = None) -> tuple[Any, Any]:
        above = arguments[0] if upstream is None else upstream
        return ops.clip(above, -bound, bound), ops.zeros_like(bound)

    return value + 0, gradient


KERAS: dict[str, Callable[..., Any]] = {
    "add": ops.add,
    "subtract": ops.subtract,
    "multiply": ops.multiply,
    "divide": ops.divide,
    "negative": ops.negative,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "relu": ops.relu,
    "exp": ops.exp,
    "log": ops.log,
    "softplus": ops.softplus,
    "sqrt": ops.sqrt,
    "abs": ops.abs,
    "hard_sigmoid": ops.hard_sigmoid,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
    "greater": ops.greater,
    "greater_equal": ops.greater_equal,
    "where": ops.where,
    "clip_gradient": _clip_gradient,
    "sum": _over_hidden(ops.sum),
    "mean": _over_hidden(ops.mean),
    "softmax": ops.softmax,
    "product": lambda matrix, vector: ops.matmul(vector, ops.transpose(matrix)),
    "transpose": ops.transpose,
    "concatenate": _concatenate,
    "slice": lambda a, start, stop: a[..., start:stop],
    "expand": lambda a, like: a + ops.zeros_like(like),
}
"""What the graph of a cell may hold besides leaves and random numbers."""


def evaluate(
    graph: Graph,
    values: Mapping[str, Any],
    sizes: Mapping[str, int],
    drawn: Mapping[int, Any],
    dtype: str,
) -> list[Any]:
    """The results of a graph.

    Args:
        graph: A step of a cell.
        values: The tensors of the leaves by name.
        sizes: The named sizes as numbers.
        drawn: The random numbers of each stream.
        dtype: The type to compute in.

    Returns:
        The outputs of the graph, in order.
    """
    found: dict[Node, Any] = {}
    for node in graph.nodes():
        if node.operation == "constant":
            found[node] = ops.convert_to_tensor(node.attributes["value"], dtype)
        elif node.operation == "size":
            found[node] = ops.convert_to_tensor(node.attributes["size"].evaluate(sizes), dtype)
        elif node.operation == "random":
            found[node] = drawn[node.attributes["stream"]]
        elif node.is_leaf:
            found[node] = values[node.name]
        else:
            bounds = {
                key: value.evaluate(sizes)
                for key, value in node.attributes.items()
                if isinstance(value, Size)
            }
            arguments = [found[argument] for argument in node.arguments]
            found[node] = KERAS[node.operation](*arguments, **bounds)
    return [found[node] for node in graph.outputs.values()]
