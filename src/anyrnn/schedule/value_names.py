"""Names for the values of a schedule, so that it can be printed as equations: those that the cell's
equations have; `Wx.r` for the product of W.r and x; t1, t2, ... for others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import (
    Before,
    Cotangent,
    Gradient,
    Name,
    NewValue,
    OutputGradient,
    Saved,
    take_name,
)
from anyrnn.graph.nodes import Node
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.phases import operands
from anyrnn.schedule.residuals import StepSchedules
from anyrnn.schedule.sections import Section

Names = dict[Node, str]


def gradient_members(schedule: Schedule) -> Names:
    """The values that are gradients, with the names of the leaves whose gradients they are."""
    found: Names = {}
    for name, node in schedule.graph.outputs.items():
        if isinstance(name, Gradient):
            found.setdefault(node, str(name.of))
    return found


def name_values(
    schedule: Schedule,
    sections: Sequence[Section],
    results: Mapping[Name, str],
    known: Mapping[Node, str],
    taken: set[str],
) -> Names:
    """Names for the results of a schedule, what its sections hand to each other, and what a section
    uses twice.

    Args:
        schedule: The schedule of a step, or of its derivative.
        sections: Its sections.
        results: What the results are called.
        known: The names that values have already: those of leaves and of the other direction.
        taken: The names that are taken; new ones are added.
    """
    graph, names = schedule.graph, dict(known)
    for name, called in results.items():
        if not graph.outputs[name].is_leaf:
            names.setdefault(graph.outputs[name], called)
    taken.update(names.values())
    hints = _hints(schedule, names)
    named = {*graph.names, *schedule.emitted, *graph.outputs.values()}
    for section in sections:
        named |= {a for node in section.nodes for a in operands(node)} - {*section.nodes}
        named.update(section.results)
    for section in sections:
        uses = Counter(argument for node in section.nodes for argument in operands(node))
        for node in section.nodes:
            repeated = uses[node] > 1 and any(not a.is_leaf for a in operands(node))
            if node not in names and (node in named or repeated):
                name = graph.names.get(node) or hints.get(node)
                names[node] = str(take_name(name and str(name), taken))
    return names


def _hints(schedule: Schedule, names: Names) -> Names:
    """Names for products by their factors: that of W.r and x is Wx.r, its cotangent d_Wx.r."""
    found: Names = {}

    def note(node: Node, key: Callable[[str], Name], matrix: str, vector: Node) -> None:
        called = str(names.get(vector, vector.name)) if vector.is_leaf else ""
        if called and not re.fullmatch(r"t\d+", called):
            family, dot, member = matrix.partition(".")
            found.setdefault(node, str(key(f"{family}{called}{dot}{member}")))

    for node, name in gradient_members(schedule).items():
        if node.operation == "outer":
            note(node.arguments[0], Gradient, name, node.arguments[1])
    for node in schedule.graph.nodes():
        if node.operation == "product" and node.arguments[0].operation == "parameter":
            note(node, str, node.arguments[0].name, node.arguments[1])
    return found


def forward_results(cell: Cell, taken: set[str]) -> dict[Name, str]:
    """What the results of a step are called."""
    results: dict[Name, str] = {name: str(NewValue(name)) for name in cell.states}
    if cell.output not in results:
        own = cell.graph.names.get(cell.graph.outputs[cell.output], "")
        results[cell.output] = own if own and own not in taken else "output"
    return results


def reverse_names(cell: Cell, schedules: StepSchedules, forward: Names) -> Names:
    """The names that values of the derivative's step have already.

    What it reads or rematerialises is called as in the forward step; d_h' is the whole gradient of
    a new state, d_h_later what the step after has handed back of it.

    Args:
        cell: The cell.
        schedules: The schedules of its step and of the derivative's.
        forward: The names of the forward step's values.
    """
    graph, names = schedules.reverse.graph, {}
    later, whole = str(Gradient(f"{cell.output}_later")), str(Cotangent(cell.output))
    for leaf in (*graph.leaves("input"), *graph.leaves("state")):
        match leaf.name:
            case Saved():
                names[leaf] = forward[schedules.forward.graph.outputs[leaf.name]]
            case Gradient(of):
                names[leaf] = later if of == cell.output else str(Cotangent(of))
            case OutputGradient(of):
                names[leaf] = str(Gradient(of))
            case Before(of) | of:
                names[leaf] = str(of)
    output = str(Gradient("output"))
    for node in graph.nodes():
        if node.operation == "add" and {*map(names.get, node.arguments)} == {output, later}:
            names[node] = whole
    recomputed = schedules.rematerialised().items()
    return names | {node: forward[original] for node, original in recomputed if original in forward}
