"""Keras' activations as equations, and cells with them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import keras

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, constant, make, rebuilt, rewrite, where

SELU = 1.0507009873554805, 1.6732632423543772  # scale and alpha, as Klambauer et al. 2017


def _limited(value: Node, lower: float, upper: float) -> Node:
    return make("minimum", make("maximum", value, constant(lower)), constant(upper))


def _elu(value: Node, alpha: float = 1) -> Node:
    return where(value > 0, value, alpha * _below_zero(value))


def _below_zero(value: Node) -> Node:
    """exp(value) - 1 below zero, and zero above."""
    return make("exp", make("minimum", value, constant(0))) - 1


def _sparse_plus(value: Node) -> Node:
    above = value + 1
    upper = where(value >= 1, value, 0.25 * (above * above))
    return where(value > -1, upper, 0)


def _beyond(value: Node, threshold: float, shift: float) -> Node:
    """Zero within +-threshold; outside the value, nearer to zero by the shift."""
    up, down = (value - shift, value + shift) if shift else (value, value)
    return where(value > threshold, up, where(-threshold > value, down, 0))


ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "tanh": partial(make, "tanh"),
    "sigmoid": partial(make, "sigmoid"),
    "relu": partial(make, "relu"),
    "softplus": partial(make, "softplus"),
    "hard_sigmoid": partial(make, "hard_sigmoid"),
    "softmax": partial(make, "softmax"),
    "linear": lambda value: value,
    "exponential": partial(make, "exp"),
    "elu": _elu,
    "celu": lambda value: make("relu", value) + _below_zero(value),
    "selu": lambda value: SELU[0] * _elu(value, SELU[1]),
    "relu6": lambda value: _limited(value, 0, 6),
    "hard_tanh": lambda value: _limited(value, -1, 1),
    "leaky_relu": lambda value: where(value > 0, value, 0.2 * value),
    "silu": lambda value: value * make("sigmoid", value),
    "hard_silu": lambda value: value * make("hard_sigmoid", value),
    "softsign": lambda value: value / (1 + make("abs", value)),
    "mish": lambda value: value * make("tanh", make("softplus", value)),
    "squareplus": lambda value: 0.5 * (value + make("sqrt", value * value + 4)),
    "log_sigmoid": lambda value: -make("softplus", -value),
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": lambda value: _limited(0.5 * (value + 1), 0, 1),
    "tanh_shrink": lambda value: value - make("tanh", value),
    "soft_shrink": lambda value: _beyond(value, 0.5, 0.5),
    "hard_shrink": lambda value: _beyond(value, 0.5, 0),
}
"""The activations of Keras that the language of cells can express, by their names there."""

_NAMES = {
    getattr(module, name): name
    for module in (keras.ops, keras.activations)
    for name in ACTIVATIONS
    if hasattr(module, name)
}


def name_of(activation: Any) -> str | None:
    """The name of an activation in `ACTIVATIONS`.

    Args:
        activation: A function, as a layer of Keras has it, or None for none.

    Returns:
        The name; None for one that is not there.
    """
    if activation is None:
        return "linear"
    try:
        return _NAMES.get(activation)
    except TypeError:  # it has no hash
        return None


def check(option: str, activation: Any) -> None:
    """Check the name of an activation.

    Args:
        option: The option of a layer that it is given for.
        activation: What is given.

    Raises:
        InputError: It is a name that Keras does not know.
    """
    if not isinstance(activation, str) or hasattr(keras.activations, activation):
        return
    if keras.saving.get_registered_object(activation) is None:
        near = difflib.get_close_matches(activation, dir(keras.activations), 1)
        hint = f"did you mean '{near[0]}'?" if near else "give a name or a function"
        raise InputError(f"{option}='{activation}' is no activation of Keras; {hint}")


@lru_cache(maxsize=256)
def with_keras_activations(cell: Cell, activation: str, recurrent_activation: str) -> Cell:
    """A cell with other activations in the place of tanh and sigmoid.

    Args:
        cell: One of the cells that Keras has too.
        activation: What takes the place of tanh, from `ACTIVATIONS`.
        recurrent_activation: What takes the place of sigmoid.

    Returns:
        The cell; its parameters are the same. The cell given where its functions are these.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.keras.activations import with_keras_activations
        >>> print(equations(with_keras_activations(anyrnn.get("rnn"), "silu", "sigmoid").graph))
        t1 = W @ x + U @ h + b
        h' = t1 * sigmoid(t1)
    """
    chosen = {"tanh": activation, "sigmoid": recurrent_activation}

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation in chosen:
            return ACTIVATIONS[chosen[node.operation]](arguments[0])
        return rebuilt(node, arguments)

    graph = rewrite(cell.graph, rule)
    if graph.outputs == cell.graph.outputs:
        return cell
    return cell.with_graph(graph, with_keras_activations, activation, recurrent_activation)
