"""Which loops are linear: every new state is, unit by unit, a multiple of the old one and a value
that does not depend on it. Such a loop need not go step by step: it can be a scan over time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Node, constant, reached, topological, where
from anyrnn.schedule.forms import Schedule, Stage
from anyrnn.schedule.phases import operands

ZERO, ONE = constant(0.0), constant(1.0)


class Recurrence(NamedTuple):
    """A state as new = scale * old + shift.

    Attributes:
        state: The name of the state.
        old: Its leaf, the state before the step; None if nothing reads it.
        new: Its new value.
        scale: What the old one is multiplied with.
        shift: What is added.
    """

    state: Name
    old: Node | None
    new: Node
    scale: Node
    shift: Node


def _times(left: Node, right: Node) -> Node:
    if ZERO in (left, right):
        return ZERO
    if left is ONE:
        return right
    return left if right is ONE else left * right


def _plus(left: Node, right: Node, sign: int) -> Node:
    if right is ZERO:
        return left
    if left is ZERO:
        return right if sign > 0 else -right
    return left + right if sign > 0 else left - right


def _affine(root: Node, state: Node) -> tuple[Node, Node] | None:
    """The scale and the shift of a value as an expression of a state; None if it has none."""
    found: dict[Node, tuple[Node, Node]] = {state: (ONE, ZERO)}
    for node in topological([root]):
        if node is state:
            continue
        if not any(found[part][0] is not ZERO for part in operands(node)):
            found[node] = ZERO, node
            continue
        made = _combined(node, [found[part] for part in node.arguments])
        if made is None:
            return None
        found[node] = made
    return found[root]


def _combined(node: Node, parts: Sequence[tuple[Node, Node]]) -> tuple[Node, Node] | None:
    """The scale and the shift of a value from those of its arguments."""
    if node.traits.signs:
        (a, b), (c, d) = parts
        sign = node.traits.signs[1]
        return _plus(a, c, sign), _plus(b, d, sign)
    match node.operation, *(scale is ZERO for scale, _ in parts):
        case "negative", _:
            return _plus(ZERO, parts[0][0], -1), _plus(ZERO, parts[0][1], -1)
        case "multiply", True, _:
            return _times(parts[0][1], parts[1][0]), _times(parts[0][1], parts[1][1])
        case "multiply", _, True:
            return _times(parts[0][0], parts[1][1]), _times(parts[0][1], parts[1][1])
        case "divide", _, True:
            (scale, shift), (_, below) = parts
            return scale / below, ZERO if shift is ZERO else shift / below
        case "where", True, _, _:
            (_, chosen), (a, b), (c, d) = parts
            return where(chosen, a, c), where(chosen, b, d)
    return None


def _states(roots: Iterable[Node]) -> set[Node]:
    return {node for node in reached(roots, operands) if node.operation == "state"}


@lru_cache(maxsize=256)
def recurrences(schedule: Schedule) -> tuple[Recurrence, ...] | None:
    """The states of a loop as linear recurrences, in an order in which each scale and shift reads
    only states that come before; None if the loop is not linear, or is not elementwise work of one
    size.

    Example:
        >>> import anyrnn
        >>> from anyrnn.schedule.build import schedule
        >>> cell = anyrnn.get("mingru")
        >>> found = recurrences(schedule(cell.graph, cell.states, [cell.output]))
        >>> [each.state for each in found]
        ['h']
    """
    if len(schedule.stages) != 1 or schedule.joins:
        return None
    (stage,) = schedule.stages
    if not isinstance(stage, Stage) or stage.accumulators:
        return None
    leaves = {leaf.name: leaf for leaf in schedule.graph.leaves("state")}
    if any(leaf.type.shape != (stage.size,) for leaf in leaves.values()):
        return None
    left = dict(schedule.new_states)
    if any(node.type.shape != (stage.size,) for node in left.values()):
        return None
    found: list[Recurrence] = []
    solved = {leaf for name, leaf in leaves.items() if name not in left}
    while left:
        for name, new in left.items():
            made = _solved(name, new, leaves.get(name), solved)
            if made is not None:
                break
        else:
            return None
        found.append(made)
        if made.old is not None:
            solved.add(made.old)
        del left[name]
    return tuple(found)


def _solved(name: Name, new: Node, old: Node | None, solved: set[Node]) -> Recurrence | None:
    """A state as a recurrence that reads only what is solved, itself not; None if it is none."""
    parts = (ZERO, new) if old is None else _affine(new, old)
    if parts is None or not _states(parts) <= solved:
        return None
    return Recurrence(name, old, new, *parts)
