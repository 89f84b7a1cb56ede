"""Which products are one: those of a vector with neighbouring members of a stored parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node

T = TypeVar("T")


def runs(items: Iterable[T], follows: Callable[[T, T], bool]) -> list[list[T]]:
    """Split a sequence wherever an item does not follow the one before it."""
    found: list[list[T]] = []
    for item in items:
        if found and follows(found[-1][-1], item):
            found[-1].append(item)
        else:
            found.append([item])
    return found


def neighbours(by_place: Mapping[int, T]) -> list[list[T]]:
    """What belongs to neighbouring members of a stored parameter, by their places in it."""
    places = runs(sorted(by_place), lambda one, other: other == one + 1)
    return [[by_place[place] for place in run] for run in places]


def products_together(cell: Cell, nodes: Iterable[Node]) -> list[tuple[Node, ...]]:
    """Group nodes, each after its arguments, by what is computed together: a node by itself, or the
    products of a vector with neighbouring members of a stored parameter, in the order of its rows.
    Leaves are left out.
    """
    nodes = [node for node in nodes if not node.is_leaf]
    products: dict[tuple[str, Node], dict[int, Node]] = {}
    for node in nodes:
        if node.operation == "product" and node.arguments[0].operation == "parameter":
            matrix, vector = node.arguments
            stored, place = cell.places[matrix.name]
            products.setdefault((stored.name, vector), {})[place] = node
    together = {
        node: tuple(group)
        for by_place in products.values()
        for group in neighbours(by_place)
        for node in group
    }
    return list(dict.fromkeys(together.get(node, (node,)) for node in nodes))
