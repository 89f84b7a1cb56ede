"""What is cheap enough to be rematerialised where it is needed, instead of being stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anyrnn.graph.nodes import Node
from anyrnn.schedule.phases import operands


def frontier(node: Node, is_given: Callable[[Node], bool]) -> set[Node]:
    """The values from which cheap operations can rematerialise a node: those that are given, and
    those that are not cheap to compute.
    """
    if is_given(node) or not node.traits.cheap:
        return {node}
    return set[Node]().union(*(frontier(argument, is_given) for argument in operands(node)))


def is_cheap(values: Iterable[Node]) -> bool:
    """Whether rematerialising from some values reads one vector at most; scalars cost nothing."""
    return sum(bool(node.type.shape) for node in values) <= 1


def is_in_place(node: Node) -> bool:
    """Whether the loop rematerialises a value that depends on parameters only: the sum of two
    biases, which costs nothing, or a comparison, which is never stored.
    """
    arguments = node.arguments
    biases = all(a.is_leaf and len(a.type.shape) == 1 for a in arguments)
    return node.type.boolean or (node.operation == "add" and biases)
