"""The derivative of a step as another step, which runs from the last step to the first, and the
residuals that the forward step saves for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anyrnn.derivative.reverse import derivative
from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Before, Gradient, OutputGradient, Saved
from anyrnn.graph.nodes import Graph, Node, constant, make, rebuilt, rewrite
from anyrnn.graph.simplify import simplify
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import FUSED, Policy, Schedule
from anyrnn.schedule.phases import operands
from anyrnn.schedule.rematerialise import frontier, is_cheap
from anyrnn.schedule.rewrites import by_reciprocals, without_centred_sums, without_clips

MEMORY = ("high", "low")


def check_memory(memory: object) -> str:
    """Check how much memory a forward pass may take for its derivative.

    Raises:
        InputError: It is neither `high` nor `low`.
    """
    if memory not in MEMORY:
        raise InputError(
            f"memory={memory!r}; expected 'high', or 'low' to rematerialise instead of saving"
        )
    return str(memory)


@dataclass(frozen=True)
class StepSchedules:
    """The schedules of a cell's forward and reverse step.

    Attributes:
        forward: The forward step; its results are the output and the residuals.
        reverse: The reverse step. Its states are the cotangents of the states. Its inputs are the
            cell's input, states before the step (`Before`), residuals (`Saved`) and the gradient
            of the output (`OutputGradient`).
        saved: The forward values that are residuals, by the names of the reverse step's inputs.
        histories: The states of which the reverse step reads the values before each step.
    """

    forward: Schedule
    reverse: Schedule
    saved: dict[Saved, Node]
    histories: tuple[str, ...]

    @property
    def shared(self) -> dict[Saved, str]:
        """The residuals that are new states whose history is read anyway, with these states."""
        outputs = self.forward.graph.outputs
        states = {outputs[name]: name for name in self.histories}
        return {name: states[outputs[name]] for name in self.saved if outputs[name] in states}

    def rematerialised(self) -> dict[Node, Node]:
        """The values that the reverse step rematerialises, with those of the forward step."""
        forward, found = self.forward.graph, {}
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

        rewrite(self.reverse.graph, rule)
        for node, name in self.reverse.graph.names.items():
            alike = called.get(name, ())  # perhaps summed in another order
            if not node.is_leaf and len(alike) == 1:
                found.setdefault(node, alike[0])
        return found


def _saved(reverse: Graph, forward: set[Node]) -> set[Node]:
    """The residuals: the forward values that the reverse step reads, but where one is cheap to
    rematerialise, the values from which it is.
    """
    needed: dict[Node, None] = {}  # in the graph's order: what is saved must not differ by process
    for node in reverse.nodes():
        if node not in forward:
            needed.update(dict.fromkeys(a for a in operands(node) if a in forward))

    saved: set[Node] = set()

    def given(node: Node) -> bool:
        drawn = node.operation == "random"  # follows from a counter
        return node.is_leaf or drawn or node in saved or not node.type.per_row

    for node in needed:
        support = {n for n in frontier(node, given) if not given(n)}
        saved |= support if node.type.boolean or is_cheap(support) else {node}
    return saved


def step_schedules(cell: Cell, memory: str = "high", policy: Policy = FUSED) -> StepSchedules:
    """Schedule a cell's forward and reverse step.

    Args:
        cell: The cell.
        memory: `high` saves what the reverse step reads, unless it is cheap to rematerialise; `low`
        saves the states only, and the reverse step rematerialises the rest.
        policy: What the target wants outside the forward loop, and what inside.

    Raises:
        InputError: Neither `high` nor `low`.
    """
    low = check_memory(memory) == "low"
    graph = by_reciprocals(cell.graph)
    reverse = without_centred_sums(without_clips(derivative(graph)))
    graph = without_clips(graph)
    if low:
        new_states = (graph.outputs[name] for name in cell.states)
        chosen = {node for node in new_states if not node.is_leaf}
    else:
        chosen = _saved(reverse, set(graph.nodes()))
    names = {
        node: Saved(index) for index, node in enumerate(n for n in graph.nodes() if n in chosen)
    }
    found = _named(cell, graph, reverse, names, policy)
    first: dict[Node, Saved] = {}
    equal = {
        name: first.setdefault(found.forward.graph.outputs[name], name) for name in found.saved
    }
    if len(first) < len(equal):  # residuals that only rewrites of the forward step found equal
        names = {node: equal.get(name, name) for node, name in names.items()}
        found = _named(cell, graph, reverse, names, policy)
    return found


def _named(
    cell: Cell, graph: Graph, reverse: Graph, names: Mapping[Node, Saved], policy: Policy
) -> StepSchedules:
    """Schedule a forward and a reverse step, given the names of the forward values that are
    residuals if the reverse step reads them.
    """

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node in names:
            return make("input", name=names[node], type=node.type)
        if node.operation == "state":
            return make("input", name=Before(node.name), type=node.type)
        if node.operation == "cotangent":
            result = node.name.of
            gradient = make("input", name=OutputGradient("output"), type=node.type)
            if result not in cell.states:
                return gradient
            later = make("state", name=Gradient(result), type=node.type)
            return later + gradient if result == cell.output else later
        return rebuilt(node, arguments)

    step = simplify(rewrite(reverse, rule))
    outputs, states = dict(step.outputs), [*map(Gradient, cell.states)]
    for name in states:
        if name not in outputs:  # the state has no influence on the next one
            type_ = graph.outputs[name.of].type
            leaf = make("input", name=Before(name.of), type=type_)
            outputs[name] = make("expand", constant(0.0), leaf)
    read = [leaf.name for leaf in Graph(outputs).leaves("input")]
    saved = {name: node for node, name in names.items() if name in read}
    histories = tuple(name.of for name in read if isinstance(name, Before))
    forward = Graph({**graph.outputs, **saved}, graph.names)
    wanted = list(dict.fromkeys([cell.output, *histories, *saved]))
    gradients = [name for name in outputs if name not in states]
    return StepSchedules(
        schedule(forward, cell.states, wanted, policy),
        schedule(Graph(outputs, step.names), states, gradients),
        saved,
        histories,
    )
