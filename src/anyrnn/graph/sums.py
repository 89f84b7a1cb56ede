"""Nested sums as lists of signed terms, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from anyrnn.graph.nodes import Graph, Node


def uses_of(graph: Graph) -> Counter[Node]:
    """The number of uses of each node, as an argument or a result."""
    return Counter(
        [*graph.outputs.values(), *(a for node in graph.nodes() for a in node.arguments)]
    )


def addends(node: Node, sign: int, uses: Mapping[Node, int], top: bool) -> list[tuple[int, Node]]:
    """The signed terms of nested sums; a sum with further uses stays one term."""
    if not node.traits.signs or (uses[node] > 1 and not top):
        return [(sign, node)]
    terms = zip(node.traits.signs, node.arguments, strict=True)
    return [part for own, term in terms for part in addends(term, own * sign, uses, False)]


def total_of(terms: list[tuple[int, Node]]) -> Node:
    """The sum of signed terms in their order, but starting with a positive one if there is one."""
    start = next((place for place, (sign, _) in enumerate(terms) if sign > 0), 0)
    sign, total = terms[start]
    if sign < 0:
        total = -total
    for sign, term in terms[:start] + terms[start + 1 :]:
        total = total + term if sign > 0 else total - term
    return total
