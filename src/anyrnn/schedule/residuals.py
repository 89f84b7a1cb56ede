"""The step of the derivative as a step graph, and what the forward step has to save for it."""

from __future__ import annotations

from dataclasses import dataclass

from anyrnn.derivative.reverse import derivative
from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Before, Gradient, OutputGradient, Saved
from anyrnn.graph.nodes import Graph, Node, make, rebuilt, rewrite
from anyrnn.graph.simplify import simplify
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import FUSED, Policy, Schedule
from anyrnn.schedule.normal import by_reciprocals, without_centred_sums, without_clips
from anyrnn.schedule.phases import operands
from anyrnn.schedule.rematerialise import frontier, is_cheap

MEMORY = ("high", "low")


def check_memory(memory: object) -> str:
    """Check how much memory a forward pass may take for its derivative.

    Raises:
        InputError: It is neither `high` nor `low`.
    """
    if memory not in MEMORY:
        raise InputError(
            f"memory={memory!r}; expected 'high', or 'low' to compute again instead of keeping"
        )
    return str(memory)


@dataclass(frozen=True)
class Training:
    """The schedules of a cell's forward and reverse step.

    Attributes:
        forward: The forward step; besides the output it leaves what is saved.
        reverse: The reverse step. Its states are the cotangents of the states; its inputs are the
            cell's input, `before:h` (a state before the step), `saved:...` (what the forward step
            has left) and `gradient:output` (the gradient of the output).
        saved: The forward nodes that are saved, by the names of the reverse step's inputs.
        histories: The states whose values before each step the reverse step reads.
    """

    forward: Schedule
    reverse: Schedule
    saved: dict[Saved, Node]
    histories: tuple[str, ...]


def _saved(reverse: Graph, forward: set[Node]) -> set[Node]:
    """The forward values that the reverse step reads: what is cheap is computed again instead."""
    needed: dict[Node, None] = {}  # in the graph's order: what is saved must not differ by process
    for node in reverse.nodes():
        if node not in forward:
            needed.update(dict.fromkeys(a for a in operands(node) if a in forward))

    saved: set[Node] = set()

    def given(node: Node) -> bool:
        again = node.is_leaf or node.operation == "random"  # drawn again
        return again or node in saved or not node.type.per_row

    for node in needed:
        support = {n for n in frontier(node, given) if not given(n)}
        saved |= support if node.type.boolean or is_cheap(support) else {node}
    return saved


def training(cell: Cell, memory: str = "high", policy: Policy = FUSED) -> Training:
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
            return make("add", later, gradient) if result == cell.output else later
        return rebuilt(node, arguments)

    step = simplify(rewrite(reverse, rule))
    outputs = dict(step.outputs)
    states = []
    for name in cell.states:
        if Gradient(name) not in outputs:  # the state has no influence on the next one
            zero = make("constant", value=0.0)
            type_ = graph.outputs[name].type
            leaf = make("input", name=Before(name), type=type_)
            outputs[Gradient(name)] = make("expand", zero, leaf)
        states.append(Gradient(name))
    read = [leaf.name for leaf in Graph(outputs).leaves("input")]
    saved = {name: node for node, name in names.items() if name in read}
    histories = tuple(name.of for name in read if isinstance(name, Before))
    forward = Graph({**graph.outputs, **saved}, graph.names)
    wanted = list(dict.fromkeys([cell.output, *histories, *saved]))
    gradients = [name for name in outputs if name not in states]
    return Training(
        schedule(forward, cell.states, wanted, policy),
        schedule(Graph(outputs, step.names), states, gradients),
        saved,
        histories,
    )
