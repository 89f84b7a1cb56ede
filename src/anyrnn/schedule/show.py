"""A cell's schedule as text: what is computed when, forward and backward, what is saved between
them, and how many operations each section takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Gradient, Name
from anyrnn.graph.nodes import Node
from anyrnn.graph.show import ATOM, Equations
from anyrnn.schedule.cost import SizePolynomial
from anyrnn.schedule.forms import FUSED, Policy, Schedule
from anyrnn.schedule.neighbours import products_together
from anyrnn.schedule.phases import ONCE, STEP
from anyrnn.schedule.residuals import step_schedules
from anyrnn.schedule.sections import Section, destinations, sections
from anyrnn.schedule.value_names import (
    forward_results,
    gradient_members,
    name_values,
    reverse_names,
)


class _ScheduleEquations(Equations):
    """The equations of a schedule, with `expand`, columns of matrices and differences."""

    def _expression(self, node: Node) -> tuple[str, int]:
        if node.operation == "expand":
            parts = [self.name(node.arguments[0]), *map(str, node.type.shape)]
            return f"expand({', '.join(parts)})", ATOM
        if node.operation == "slice" and len(node.type.shape) == 2:
            columns = "{start}:{stop}".format_map(node.attributes)
            return f"{self.name(node.arguments[0], ATOM)}[:, {columns}]", ATOM
        if node.operation == "add" and node.arguments[1].operation == "negative":
            left, right = node.arguments
            if right not in self.lines:
                return super()._expression(left - right.arguments[0])
        return super()._expression(node)


Row = tuple[str, str, tuple[Node, ...]]  # names, expression, values


class ScheduleText:
    """The text of the schedule of a step, or of its derivative's.

    Args:
        cell: The cell.
        schedule: The schedule.
        results: What the results are called.
        taken: The names that are taken; new ones are added.
        known: The names of values that have one already: leaves, values of the other direction.
    """

    def __init__(
        self,
        cell: Cell,
        schedule: Schedule,
        results: Mapping[Name, str],
        taken: set[str],
        known: Mapping[Node, str],
    ) -> None:
        self.cell, self.schedule, self.results = cell, schedule, results
        self.sections, self.gradients = sections(schedule), gradient_members(schedule)
        self.names = name_values(schedule, self.sections, results, known, taken)
        self.equations = _ScheduleEquations(schedule.graph, lines=self.names)

    def lines(self, remarks: Mapping[Node, Sequence[str]]) -> Iterator[str]:
        """The sections, line by line, with remarks on values beside their equations."""
        total, done = SizePolynomial.of(0), set()
        aliases = self._aliases()
        for section in self.sections:
            total += SizePolynomial.of(0) if section.phase == ONCE else section.cost
            rows = [*self._rows(section), *aliases.get(section.title, ())]
            if not rows:
                continue
            yield ""
            yield f"  {section.title} (operations: {section.cost})"
            if section.sums:
                sums = ", ".join(self.equations.right(node) for node in section.sums)
                yield f"    accumulates {sums}"
            widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
            for names, expression, nodes in rows:
                said = dict.fromkeys(remark for node in nodes for remark in remarks.get(node, ()))
                if done.intersection(nodes):
                    said = {"rematerialised": None}
                done.update(nodes)
                line = f"    {names:<{widths[0]}} = {expression:<{widths[1]}}"
                yield (line + (f"  -> {', '.join(said)}" if said else "")).rstrip()
        yield ""
        yield f"  operations of a row in all: {total}"

    def _aliases(self) -> dict[str, list[Row]]:
        """The results that are other results too, by the section that computes them."""
        found: dict[str, list[Row]] = {}
        for name, called in self.results.items():
            node = self.schedule.graph.outputs[name]
            if self.names.get(node) != called:
                titles = [section.title for section in self.sections if node in section.nodes]
                title = titles[-1] if titles else self.sections[-1].title
                found.setdefault(title, []).append((called, self.equations.name(node), ()))
        return found

    def _rows(self, section: Section) -> Iterator[Row]:
        """The equations of a section; outside the loop, what one product computes is one."""
        named = [node for node in section.nodes if node in self.names]
        groups = [(node,) for node in named]
        if section.phase != STEP:
            groups = products_together(self.cell, named, self.gradients)
        for group in groups:
            if len(group) == 1:
                yield self.names[group[0]], self.equations.right(group[0]), group
            else:
                yield self._one_product(group)

    def _one_product(self, group: tuple[Node, ...]) -> Row:
        first, product = group[0], group[0].operation == "product"
        names = ", ".join(self.names[node] for node in group)
        members = [node.arguments[0].name if product else self.gradients[node] for node in group]
        stored, _ = self.cell.places[members[0]]
        whole = len(stored.members) == len(group) and stored.name not in self.cell.places
        further = [self.equations.name(argument) for argument in first.arguments[1:]]
        if product:
            matrix = stored.name if whole else f"[{', '.join(members)}]"
            return names, f"{matrix} @ {further[0]}", group
        joined = f"[{', '.join(self.equations.name(node.arguments[0]) for node in group)}]"
        left = str(Gradient(stored.name)) if whole else names
        return left, f"{first.operation}({', '.join([joined, *further])})", group


def describe(cell: Cell, memory: str = "high", policy: Policy = FUSED) -> str:
    """The schedule of a cell and of its derivative: what is computed once, before the loop over
    time, in each stage of a step and after the loop, with the operations for one row; and what is
    saved between forward and backward.

    Raises:
        InputError: The memory is neither `high` nor `low`.
    """
    both = step_schedules(cell, memory, policy)
    results = both.forward.graph.outputs
    taken = {cell.input, *cell.states, *(name for p in cell.parameters for name in p.members)}
    forward = ScheduleText(cell, both.forward, forward_results(cell, taken), taken, {})
    known = reverse_names(cell, both, forward.names)
    cotangents = {name: str(name) for name in both.reverse.graph.outputs}
    reverse = ScheduleText(cell, both.reverse, cotangents, taken, known)
    handed = ", ".join(known[leaf] for leaf in both.reverse.graph.leaves("state"))
    forward_remarks = destinations(both.forward, "next step")
    forward_remarks.setdefault(results[cell.output], []).append("output")
    residuals = dict.fromkeys(results[name] for name in (*both.histories, *both.saved))
    for node in residuals:
        forward_remarks.setdefault(node, []).append("saved")
    reverse_remarks = destinations(both.reverse, "step before")
    for node in both.rematerialised():
        reverse_remarks.setdefault(node, []).append("rematerialised")
    names = ", ".join(forward.equations.name(node) for node in residuals) or "nothing"
    zero = SizePolynomial.of(0)
    numbers = sum((SizePolynomial.of(*node.type.shape) for node in residuals), zero)
    size = sum((SizePolynomial.of(4, *node.type.shape) for node in residuals), zero)
    lines = [
        f"{cell.name}: what is computed when",
        "",
        "A row is one sequence at one step. Operations are counted for one row, a function as one.",
        "",
        "forward, from the first step to the last",
        *forward.lines(forward_remarks),
        "",
        f"  saved for the backward pass besides the input: {names}",
        f"  (numbers a row: {numbers}; bytes in float32: {size})",
        "",
        "backward, from the last step to the first",
        f"  d_output: the gradient of the output; {handed}: what the step after hands back",
        *reverse.lines(reverse_remarks),
    ]
    return "\n".join(lines)
