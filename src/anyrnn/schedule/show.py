"""A cell's schedule as text: what is computed when, forward and backward, what is kept between
them, and how many operations each part takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import (
    Before,
    Cotangent,
    Gradient,
    Name,
    NewValue,
    OutputGradient,
    Saved,
)
from anyrnn.graph.nodes import Node, make, rebuilt, rewrite
from anyrnn.graph.show import ATOM, Equations
from anyrnn.schedule.cost import Cost
from anyrnn.schedule.forms import FUSED, Policy, Schedule
from anyrnn.schedule.neighbours import neighbours
from anyrnn.schedule.phases import operands
from anyrnn.schedule.residuals import Training, training
from anyrnn.schedule.sections import LOOP, ONCE, Section, sections


class _Lines(Equations):
    """Equations in which every value that has a name is called by it."""

    def __init__(self, planned: Schedule, names: dict[Node, str]) -> None:
        self.names = names
        super().__init__(planned.graph)

    def _choose_lines(self) -> dict[Node, str]:
        return self.names

    def name(self, node: Node) -> str:
        """What a value is called; its expression where it has no name."""
        return self._argument(node, 0)

    def right(self, node: Node) -> str:
        """A value's expression."""
        return self._right(node)

    def _expression(self, node: Node) -> tuple[str, int]:
        if node.operation == "expand":
            parts = [self.name(node.arguments[0]), *map(str, node.type.shape)]
            return f"expand({', '.join(parts)})", ATOM
        if node.operation == "slice" and len(node.type.shape) == 2:
            columns = "{start}:{stop}".format_map(node.attributes)
            return f"{self._argument(node.arguments[0], ATOM)}[:, {columns}]", ATOM
        if node.operation == "add" and node.arguments[1].operation == "negative":
            left, right = node.arguments
            if right not in self.names:
                return super()._expression(make("subtract", left, right.arguments[0]))
        return super()._expression(node)


Row = tuple[str, str, tuple[Node, ...]]  # names, expression, values


class Direction:
    """A direction of a schedule, with names for its values.

    Args:
        cell: The cell.
        planned: The schedule of its step, or of its derivative's.
        results: What the results are called.
        taken: The names that are taken; new ones are added.
        names: The names of values that have one already: leaves, values of the other direction.
    """

    def __init__(
        self,
        cell: Cell,
        planned: Schedule,
        results: Mapping[Name, str],
        taken: set[str],
        names: Mapping[Node, str],
    ) -> None:
        self.cell, self.planned, self.results, self.taken = cell, planned, results, taken
        self.sections, self.names = sections(planned), dict(names)
        self.gradients: dict[Node, str] = {}  # of which parameter a value is the gradient
        for name, node in planned.graph.outputs.items():
            if isinstance(name, Gradient):
                self.gradients.setdefault(node, str(name.of))
        for name, called in results.items():
            if not planned.graph.outputs[name].is_leaf:
                self.names.setdefault(planned.graph.outputs[name], called)
        taken.update(self.names.values())
        self._choose_names()
        self.lines = _Lines(planned, self.names)

    def _choose_names(self) -> None:
        """Names for what one part hands to another, and for what a part needs twice."""
        graph, hints = self.planned.graph, self._hints()
        named = {*graph.names, *self.planned.emitted, *graph.outputs.values()}
        for part in self.sections:
            named |= {a for node in part.nodes for a in operands(node)} - {*part.nodes}
            named.update(part.results)
        for part in self.sections:
            uses = Counter(argument for node in part.nodes for argument in operands(node))
            for node in part.nodes:
                repeated = uses[node] > 1 and any(not a.is_leaf for a in operands(node))
                if node not in self.names and (node in named or repeated):
                    name = graph.names.get(node) or hints.get(node)
                    self.names[node] = self._free(name and str(name))

    def _hints(self) -> dict[Node, str]:
        """The product of W.r and x is called Wx.r, its cotangent d_Wx.r."""
        found: dict[Node, str] = {}

        def note(node: Node, key: Callable[[str], Name], matrix: str, vector: Node) -> None:
            called = str(self.names.get(vector, vector.name)) if vector.is_leaf else ""
            if called and not re.fullmatch(r"t\d+", called):
                family, dot, member = matrix.partition(".")
                found.setdefault(node, str(key(f"{family}{called}{dot}{member}")))

        for node, name in self.gradients.items():
            if node.operation == "outer":
                note(node.arguments[0], Gradient, name, node.arguments[1])
        for node in self.planned.graph.nodes():
            if node.operation == "product" and node.arguments[0].operation == "parameter":
                note(node, str, node.arguments[0].name, node.arguments[1])
        return found

    def _free(self, name: str | None) -> str:
        number = 0 if name else 1
        while (candidate := f"{name or 't'}{number or ''}") in self.taken:
            number += 1
        self.taken.add(candidate)
        return candidate

    def text(self, marks: Mapping[Node, Sequence[str]]) -> Iterator[str]:
        """The sections, line by line, with what marks say about values besides their equations."""
        total, done = Cost.of(0), set()
        aliases = self._aliases()
        for part in self.sections:
            total += Cost.of(0) if part.title == ONCE else part.cost
            rows = [*self._rows(part), *aliases.get(part.title, ())]
            if not rows:
                continue
            yield ""
            yield f"  {part.title} (operations: {part.cost})"
            if part.sums:
                yield f"    accumulates {', '.join(self.lines.right(node) for node in part.sums)}"
            widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
            for names, expression, nodes in rows:
                said = dict.fromkeys(mark for node in nodes for mark in marks.get(node, ()))
                if done.intersection(nodes):
                    said = {"again": None}
                done.update(nodes)
                line = f"    {names:<{widths[0]}} = {expression:<{widths[1]}}"
                yield (line + (f"  -> {', '.join(said)}" if said else "")).rstrip()
        yield ""
        yield f"  operations of a row in all: {total}"

    def _aliases(self) -> dict[str, list[Row]]:
        """The results that are other results too, by the part that computes them."""
        found: dict[str, list[Row]] = {}
        for name, called in self.results.items():
            node = self.planned.graph.outputs[name]
            if self.names.get(node) != called:
                titles = [part.title for part in self.sections if node in part.nodes]
                title = titles[-1] if titles else self.sections[-1].title
                found.setdefault(title, []).append((called, self.lines.name(node), ()))
        return found

    def _rows(self, part: Section) -> Iterator[Row]:
        """The equations of a part; outside the loop, what one product computes is one equation."""
        runs = {} if part.title.startswith(LOOP) else self._together(part)
        inside = {node for run in runs.values() for node in run}
        for node in part.nodes:
            if node in runs:
                yield self._one_product(runs[node])
            elif node in self.names and node not in inside:
                yield self.names[node], self.lines.right(node), (node,)

    def _together(self, part: Section) -> dict[Node, list[Node]]:
        """The values that one product computes, because the matrices are neighbours in a stored
        parameter; by the one in whose place they are computed.
        """
        groups: dict[tuple[str, str, Node | None], dict[int, Node]] = {}
        for node in part.nodes:
            name = self.gradients.get(node, "")
            vector = next(iter(node.arguments[1:]), None)
            if node.operation == "product" and node.arguments[0].operation == "parameter":
                name = node.arguments[0].name
            elif not node.traits.batch_sum:
                continue
            if name in self.cell.places and node in self.names:
                stored, place = self.cell.places[name]
                groups.setdefault((node.operation, stored.name, vector), {})[place] = node
        order = part.nodes.index
        return {
            (min if run[0].operation == "product" else max)(run, key=order): run
            for group in groups.values()
            for run in neighbours(group)
            if len(run) > 1
        }

    def _one_product(self, run: list[Node]) -> Row:
        first, names = run[0], [self.names[node] for node in run]
        matrices = [node.arguments[0].attributes.get("name", "") for node in run]
        if first.operation != "product":
            matrices = [self.gradients[node] for node in run]
        stored, _ = self.cell.places[matrices[0]]
        whole = len(stored.members) == len(run) and stored.name not in self.cell.places
        if first.operation == "product":
            matrix = stored.name if whole else f"[{', '.join(matrices)}]"
            return ", ".join(names), f"{matrix} @ {self.lines.name(first.arguments[1])}", (*run,)
        joined = f"[{', '.join(self.lines.name(node.arguments[0]) for node in run)}]"
        arguments = [joined, *(self.lines.name(a) for a in first.arguments[1:])]
        left = str(Gradient(stored.name)) if whole else ", ".join(names)
        return left, f"{first.operation}({', '.join(arguments)})", (*run,)


def _forward_results(cell: Cell, taken: set[str]) -> dict[Name, str]:
    """What the results of a step are called."""
    results: dict[Name, str] = {name: str(NewValue(name)) for name in cell.states}
    if cell.output not in results:
        own = cell.graph.names.get(cell.graph.outputs[cell.output], "")
        results[cell.output] = own if own and own not in taken else "output"
    return results


def _reverse_leaves(cell: Cell, planned: Training, forward: Direction) -> dict[Node, str]:
    """What the derivative's step reads is called as in the forward step; d_h' is the whole
    gradient of a new state, d_h_later what the step after has handed back of it.
    """
    graph, names = planned.reverse.graph, {}
    later, whole = str(Gradient(f"{cell.output}_later")), str(Cotangent(cell.output))
    for leaf in (*graph.leaves("input"), *graph.leaves("state")):
        match leaf.name:
            case Saved():
                names[leaf] = forward.names[planned.forward.graph.outputs[leaf.name]]
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
    return names


def _again(planned: Training) -> dict[Node, Node]:
    """The values of the forward step that the derivative's step computes again."""
    forward, found = planned.forward.graph, {}
    values = {node for node in forward.nodes() if not node.is_leaf}
    called: dict[str, list[Node]] = {}
    for node in values.intersection(forward.names):
        called.setdefault(forward.names[node], []).append(node)

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        name = node.attributes.get("name")
        if isinstance(name, Saved):
            return forward.outputs[name]
        if isinstance(name, Before):
            return make("state", name=name.of, type=node.type)
        original = rebuilt(node, arguments)
        if original in values:
            found[node] = original
        return original

    rewrite(planned.reverse.graph, rule)
    for node, name in planned.reverse.graph.names.items():
        if not node.is_leaf and len(called.get(name, ())) == 1:  # perhaps summed in another order
            found.setdefault(node, called[name][0])
    return found


def _marks(planned: Schedule, step: str) -> dict[Node, list[str]]:
    """Where the values go that the loop writes."""
    marks: dict[Node, list[str]] = {}
    later = {argument for node in planned.after for argument in operands(node)}
    for node in planned.new_states.values():
        marks[node] = [step]
    for node in planned.emitted:
        if node in later:
            marks.setdefault(node, []).append("after the loop")
    for stage in planned.stages:
        for node in stage.stores:
            if node not in marks and node not in planned.emitted:
                marks[node] = ["next stages"]
    return marks


def describe(cell: Cell, memory: str = "high", policy: Policy = FUSED) -> str:
    """The schedule of a cell and of its derivative: what is computed once, before the loop over
    time, in each stage of a step and after the loop, with the operations for one row; and what is
    saved between forward and backward.

    Raises:
        InputError: The memory is neither `high` nor `low`.
    """
    planned = training(cell, memory, policy)
    taken = {cell.input, *cell.states, *(name for p in cell.parameters for name in p.members)}
    forward = Direction(cell, planned.forward, _forward_results(cell, taken), taken, {})
    again = _again(planned)
    known = _reverse_leaves(cell, planned, forward)
    for node, original in again.items():
        if original in forward.names:
            known[node] = forward.names[original]
    results = {name: str(name) for name in planned.reverse.graph.outputs}
    reverse = Direction(cell, planned.reverse, results, taken, known)
    handed = ", ".join(known[leaf] for leaf in planned.reverse.graph.leaves("state"))
    forward_marks = _marks(planned.forward, "next step")
    forward_marks.setdefault(planned.forward.graph.outputs[cell.output], []).append("output")
    kept = dict.fromkeys(planned.forward.graph.outputs[n] for n in planned.histories)
    kept |= dict.fromkeys(planned.forward.graph.outputs[n] for n in planned.saved)
    for node in kept:
        forward_marks.setdefault(node, []).append("kept")
    reverse_marks = _marks(planned.reverse, "step before")
    for node in again:
        reverse_marks.setdefault(node, []).append("again")
    names = ", ".join(forward.lines.name(node) for node in kept) or "nothing"
    numbers = sum((Cost.of(*node.type.shape) for node in kept), Cost.of(0))
    size = sum((Cost.of(4, *node.type.shape) for node in kept), Cost.of(0))
    lines = [
        f"{cell.name}: what is computed when",
        "",
        "A row is one sequence at one step. Operations are counted for one row, a function as one.",
        "",
        "forward, from the first step to the last",
        *forward.text(forward_marks),
        "",
        f"  kept for the derivative besides the input: {names}",
        f"  (numbers a row: {numbers}; bytes in float32: {size})",
        "",
        "backward, from the last step to the first",
        f"  d_output: the gradient of the output; {handed}: what the step after hands back",
        *reverse.text(reverse_marks),
    ]
    return "\n".join(lines)
