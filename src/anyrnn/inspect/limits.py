"""Between which limits a value of a cell stays because of the activation that yields it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from anyrnn.graph.nodes import Node

_ACTIVATIONS = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, inf),
    "random": (0.0, 1.0),
}
_SAME = frozenset(("slice", "expand", "clip_gradient"))


@dataclass(frozen=True)
class Limits:
    """The limits of a value.

    Attributes:
        activation: The operation from which they follow.
        low, high: What the value comes near to where that saturates; infinite where it does not.
    """

    activation: str
    low: float
    high: float

    @property
    def is_gate(self) -> bool:
        """Whether the value is a share, between 0 and 1, that lets something through."""
        return (self.low, self.high) == (0, 1)


def _number(node: Node) -> float | None:
    return node.attributes["value"] if node.operation == "constant" else None


def limits_of(node: Node) -> Limits | None:
    """The limits of a value that is an activation, perhaps with a number added to it or times a
    number; None for any other.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms.outputs import values
        >>> named = values(anyrnn.get("lstm"))
        >>> limits_of(named["f"]), limits_of(named["c"])
        (Limits(activation='sigmoid', low=0.0, high=1.0), None)
    """
    operation = node.operation
    if operation in _ACTIVATIONS:
        return Limits(operation, *_ACTIVATIONS[operation])
    if operation in _SAME:
        return limits_of(node.arguments[0])
    if operation == "negative":
        return _scaled(limits_of(node.arguments[0]), -1.0)
    if operation not in ("add", "subtract", "multiply"):
        return None
    left, right = node.arguments
    numbers = _number(left), _number(right)
    if numbers[0] is not None:
        number, found = numbers[0], limits_of(right)
    elif numbers[1] is not None:
        number, found = numbers[1], limits_of(left)
    else:
        return None
    if operation == "multiply":
        return _scaled(found, number) if number else None
    if operation == "subtract":
        if numbers[0] is not None:
            found = _scaled(found, -1.0)
        else:
            number = -number
    return found and Limits(found.activation, found.low + number, found.high + number)


def _scaled(limits: Limits | None, factor: float) -> Limits | None:
    if limits is None:
        return None
    ends = sorted((limits.low * factor, limits.high * factor))
    return Limits(limits.activation, *ends)
