"""Which products are one: those of a vector with neighbouring members of a stored parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Gradient
from anyrnn.graph.nodes import Node
from anyrnn.schedule.forms import Schedule

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


def products_together(
    cell: Cell, nodes: Iterable[Node], gradients: Mapping[Node, str] | None = None
) -> list[tuple[Node, ...]]:
    """Group nodes by what is computed together: a node by itself, or the products of a vector with
    neighbouring members of a stored parameter, in the order of its rows.

    Args:
        cell: The cell.
        nodes: The nodes, each after its arguments; leaves are left out.
        gradients: The sums over the batch that are gradients of members, with the members' names:
            those of neighbouring members with the same vector are computed together too.

    Returns:
        The groups, each after its arguments.
    """
    order = {node: place for place, node in enumerate(nodes) if not node.is_leaf}
    members = {node: name for node, name in (gradients or {}).items() if node.traits.batch_sum}
    sharing: dict[object, dict[int, Node]] = {}
    for node in order:
        product = node.operation == "product" and node.arguments[0].operation == "parameter"
        name = node.arguments[0].name if product else members.get(node)
        if name in cell.places:
            stored, place = cell.places[name]
            sharing.setdefault((node.operation, stored.name, node.arguments[1:]), {})[place] = node
    together: dict[Node, tuple[Node, ...]] = {}
    for by_place in sharing.values():
        for run in runs(sorted(by_place), lambda one, other: other == one + 1):
            group = tuple(by_place[place] for place in run)
            together.update(dict.fromkeys(group, group))

    def place_of(group: tuple[Node, ...]) -> int:
        """Products of one vector can be computed at the first's place, sums not before the last."""
        return (max if group[0].traits.batch_sum else min)(order[node] for node in group)

    return sorted({together.get(node, (node,)) for node in order}, key=place_of)


def side_by_side(cell: Cell, planned: Schedule) -> tuple[Node, ...]:
    """The emitted values that are columns of one array, in order."""
    outputs = planned.graph.outputs
    order: dict[Node, None] = {}
    for stored in cell.parameters:
        nodes = [outputs.get(Gradient(name)) for name in stored.members]
        if all(node is not None and node.traits.batch_sum for node in nodes):
            vectors = [node.arguments[0] for node in nodes if node is not None]
            order.update(dict.fromkeys(vector for vector in vectors if vector in planned.emitted))
    return tuple(order)
