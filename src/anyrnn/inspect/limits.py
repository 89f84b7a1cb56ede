"""Between which limits a value of a cell stays because of the activation that yields it."""

from __future__ import annotations

from dataclasses import dataclass

from anyrnn.graph.nodes import Node
from anyrnn.graph.operations import OPERATIONS


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
    operation = OPERATIONS[node.operation]
    if operation.limits:
        return Limits(operation.name, *operation.limits)
    if operation.view or operation.name == "clip_gradient":
        return limits_of(node.arguments[0])
    if operation.name == "negative":
        found = limits_of(node.arguments[0])
        return found and _scaled(found, -1.0)
    if len(operation.signs) == 2:
        return _sum(node, *operation.signs)
    if operation.name == "multiply":
        for number, other in (node.arguments, node.arguments[::-1]):
            if (factor := _number(number)) and (found := limits_of(other)):
                return _scaled(found, factor)
    return None


def _sum(node: Node, *signs: int) -> Limits | None:
    """The limits of a sum or a difference of a number and another value."""
    terms = [*zip(signs, node.arguments, strict=True)]
    for (sign, number), (other_sign, other) in (terms, terms[::-1]):
        shift, found = _number(number), limits_of(other)
        if shift is not None and found is not None:
            found = _scaled(found, other_sign)
            return Limits(found.activation, found.low + sign * shift, found.high + sign * shift)
    return None


def _scaled(limits: Limits, factor: float) -> Limits:
    ends = sorted((limits.low * factor, limits.high * factor))
    return Limits(limits.activation, *ends)
