"""The interpreter of graphs, in NumPy: slow and obvious, it is the meaning of every operation, and
other ways to compute a graph are compared with it.

A value with a row for each sequence of the batch is an array (batch, size), or (batch, 1) where it
is one number a row; a parameter is (size,) or (rows, columns).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyrnn.errors import InputError
from anyrnn.graph.nodes import Node, topological
from anyrnn.graph.randomness import EVERY_STEP, uniform

Array = NDArray[Any]


def _sigmoid(value: Array) -> Array:
    small = np.exp(-np.abs(value))
    return np.where(value >= 0, 1 / (1 + small), small / (1 + small))


def _softmax(value: Array) -> Array:
    raised = np.exp(value - value.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _concatenate(*values: Array) -> Array:
    rows = np.broadcast_shapes(*(value.shape[:-1] for value in values))
    return np.concatenate([np.broadcast_to(v, (*rows, v.shape[-1])) for v in values], axis=-1)


def _outer(left: Array, right: Array) -> Array:
    left, right = np.broadcast_arrays(left[..., :, None], right[..., None, :])
    product = left * right
    return product.sum(axis=0) if product.ndim == 3 else product


NUMPY: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, a.dtype.type(0)),
    "exp": np.exp,
    "log": np.log,
    "softplus": lambda a: np.logaddexp(a, a.dtype.type(0)),
    "sqrt": np.sqrt,
    "abs": np.abs,
    "hard_sigmoid": lambda a: np.clip(a / 6 + a.dtype.type(0.5), 0, 1),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "where": np.where,
    "clip_gradient": lambda a, bound: a,
    "sum": lambda a: a.sum(axis=-1, keepdims=a.ndim > 1),
    "mean": lambda a: a.mean(axis=-1, keepdims=a.ndim > 1),
    "softmax": _softmax,
    "product": lambda matrix, vector: vector @ matrix.T,
    "transpose": np.transpose,
    "concatenate": _concatenate,
    "slice": lambda a, start, stop: a[..., start:stop],
    "expand": lambda a, like: np.broadcast_to(a, like.shape),
    "outer": _outer,
    "batch_sum": lambda a: a.sum(axis=0),
}


DRAW = "random numbers"  # no name of a leaf


def drawing(
    seed: Any, step: int, rows: int, sizes: Mapping[str, int], numbers: Any = uniform
) -> Callable[[Node], Any]:
    """What draws the numbers of a `random` node at a step: a function from a node to its numbers,
    (rows, size).

    Args:
        seed: The seed, if there is one.
        step: The step.
        rows: The number of rows of the batch.
        sizes: The named sizes as numbers.
        numbers: What makes them, as `anyrnn.graph.randomness.uniform` does.

    Raises:
        InputError: When it is called, and there is no seed.
    """

    def draw(node: Node) -> Any:
        if seed is None:
            raise InputError("the cell draws random numbers; give a seed")
        when = step if node.attributes["every_step"] else EVERY_STEP
        units = node.type.shape[0].evaluate(sizes)
        return numbers(seed, node.attributes["stream"], when, rows, units)

    return draw


def evaluate(
    roots: Iterable[Node],
    values: Mapping[Any, Any],
    sizes: Mapping[str, int],
    dtype: Any,
    operations: Mapping[str, Callable[..., Any]] = NUMPY,
    as_array: Callable[[Any, Any], Any] = np.asarray,
) -> dict[Node, Any]:
    """The values of all nodes that the roots depend on.

    Args:
        roots: The nodes wanted.
        values: The arrays of the leaves, by name; for a graph that draws random numbers besides
            what `drawing` returns, as `DRAW`.
        sizes: The named sizes as numbers.
        dtype: The floating-point type to compute in.
        operations: What computes each operation.
        as_array: What makes an array, of what the operations take, of a number and a type.

    Returns:
        An array for every node.
    """
    found: dict[Node, Any] = {}
    for node in topological(roots):
        if node.is_number:
            with np.errstate(over="ignore"):  # beyond the type it is an infinity
                found[node] = as_array(node.number(sizes), dtype)
        elif node.operation == "random":
            found[node] = as_array(values[DRAW](node), dtype)
        elif node.is_leaf:
            found[node] = values[node.name]
        else:
            arguments = [found[argument] for argument in node.arguments]
            found[node] = operations[node.operation](*arguments, **node.bounds(sizes))
    return found


def __getattr__(name: str) -> Any:
    """The names that have moved."""
    moved = {"split_parameters": "parameters", "interpret": "unroll", "SequenceResult": "unroll"}
    if name not in moved:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = f"anyrnn.graph.{moved[name]}"
    message = f"{__name__}.{name} is now {module}.{name}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(module), name)
