"""Each operation of a cell's graph as a function of `keras.ops`, for cells that run in Keras' own
loop over time. Tensors have the shapes of the interpreter's arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from anyrnn.graph.operations import OPERATIONS


def _over_hidden(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda a: function(a, axis=-1, keepdims=len(a.shape) > 1)


def _concatenate(*values: Any) -> Any:
    most = max(values, key=lambda value: len(value.shape))
    rows = ops.zeros_like(most[..., :1])
    return ops.concatenate([value + rows for value in values], axis=-1)


def _clip_gradient(value: Any, bound: Any) -> Any:
    """The identity, whose backward pass clips the gradient."""

    @ops.custom_gradient
    def limited(value: Any, bound: Any) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
        def gradient(*arguments: Any, upstream: Any = None) -> tuple[Any, Any]:
            above = arguments[0] if upstream is None else upstream
            return ops.clip(above, -bound, bound), ops.zeros_like(bound)

        return value + 0, gradient

    return limited(value, bound)


_SAME = [name for name, row in OPERATIONS.items() if row.elementwise and hasattr(ops, name)]
"""The elementwise operations, which `keras.ops` has under the same names."""

KERAS: dict[str, Callable[..., Any]] = {
    **{name: getattr(ops, name) for name in _SAME},
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
"""All operations but leaves and random numbers."""
