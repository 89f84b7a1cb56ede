"""What is cheap enough to be rematerialised where it is needed, instead of being stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anyrnn.graph.nodes import Node, reached
from anyrnn.schedule.phases import operands


def frontier(node: Node, is_given: Callable[[Node], bool]) -> set[Node]:
    """The values from which cheap operations can rematerialise a node: those that are given, and
    those that are not cheap to compute.
    """

    def ends(reached_node: Node) -> bool:
        return is_given(reached_node) or not reached_node.traits.cheap

    found = reached([node], lambda each: () if ends(each) else operands(each))
    return {each for each in found if ends(each)}


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
