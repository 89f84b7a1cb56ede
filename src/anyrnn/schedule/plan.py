"""What is computed once, what for the whole sequence at a time, what at each step; and which
products are one.

The product of the input with all gates' matrices does not wait for the state: it is one large
product over the whole sequence, before the loop. Inside the loop one product of a stacked matrix
serves all gates that see the same vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from anyrnn.graph.cell import Cell, StoredParameter
from anyrnn.graph.nodes import Graph, Node, make, rebuilt, rewrite, topological

ONCE, SEQUENCE, STEP = 0, 1, 2


@dataclass(frozen=True)
class Instruction:
    """Compute nodes: one operation, or the products of consecutive members of a stacked matrix
    with one vector.

    Attributes:
        nodes: What is computed, in the order of the stacked rows.
        stacked: The stored parameter that holds the matrices; None for a single operation.
        first: The place of the first matrix among the members of the stored parameter.
    """

    nodes: tuple[Node, ...]
    stacked: StoredParameter | None = None
    first: int = 0


@dataclass(frozen=True)
class Plan:
    """The instructions of a cell, by when they run.

    Attributes:
        cell: The cell.
        graph: Its graph, with sums regrouped so that more of them leaves the loop.
        once: What depends on parameters only.
        sequence: What depends on the input, but on no state: computed for all steps at a time.
        step: What depends on a state.
        carried: The results of `sequence` that a step needs, or that are results of the cell.
    """

    cell: Cell
    graph: Graph
    once: tuple[Instruction, ...]
    sequence: tuple[Instruction, ...]
    step: tuple[Instruction, ...]
    carried: tuple[Node, ...]


def phases(nodes: Iterable[Node]) -> dict[Node, int]:
    """When each node can be computed: once, for the whole sequence, or at each step."""
    found: dict[Node, int] = {}
    for node in nodes:
        own = {"state": STEP, "cotangent": STEP, "input": SEQUENCE}.get(node.operation, ONCE)
        found[node] = max([own, *(found[argument] for argument in node.arguments)])
    return found


def _addends(
    node: Node, sign: int, uses: dict[Node, int], top: bool = True
) -> list[tuple[int, Node]]:
    """The terms of a sum, with signs; a sum that is used elsewhere too stays one term."""
    if node.operation not in ("add", "subtract") or (uses[node] > 1 and not top):
        return [(sign, node)]
    left, right = node.arguments
    right_sign = sign if node.operation == "add" else -sign
    return _addends(left, sign, uses, False) + _addends(right, right_sign, uses, False)


def regroup_sums(graph: Graph) -> Graph:
    """Add first what does not depend on a state, so that it can be added before the loop."""
    nodes = graph.nodes()
    uses = dict.fromkeys(nodes, 0)
    for node in nodes:
        for argument in node.arguments:
            uses[argument] += 1
    when = phases(nodes)
    rebuilt_nodes: dict[Node, Node] = {}

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        new = rebuilt(node, arguments)
        if node.operation in ("add", "subtract") and when[node] == STEP:
            terms = _addends(node, 1, uses)
            early = [(sign, term) for sign, term in terms if when[term] < STEP]
            if 0 < len(early) < len(terms):
                late = [(sign, term) for sign, term in terms if when[term] == STEP]
                new = _total([(sign, rebuilt_nodes[term]) for sign, term in [*early, *late]])
        rebuilt_nodes[node] = new
        return new

    return rewrite(Graph(graph.outputs), rule)


def _total(terms: list[tuple[int, Node]]) -> Node:
    """The sum of signed terms in their order, but starting with a positive one where there is
    one.
    """
    start = next((place for place, (sign, _) in enumerate(terms) if sign > 0), 0)
    sign, total = terms[start]
    if sign < 0:
        total = make("negative", total)
    for sign, term in terms[:start] + terms[start + 1 :]:
        total = make("add" if sign > 0 else "subtract", total, term)
    return total


def _instructions(cell: Cell, nodes: list[Node]) -> list[Instruction]:
    """One instruction for each node, but one only for products that a stacked matrix serves
    together.
    """
    places = {
        name: (stored, index)
        for stored in cell.parameters
        for index, name in enumerate(stored.members)
        if stored.is_matrix
    }
    products: dict[tuple[str, Node], dict[int, Node]] = {}
    for node in nodes:
        if node.operation == "product" and node.arguments[0].operation == "parameter":
            stored, index = places[node.arguments[0].name]
            products.setdefault((stored.name, node.arguments[1]), {})[index] = node
    result: list[Instruction] = []
    done: set[Node] = set()
    for node in nodes:
        if node in done or node.is_leaf:
            continue
        instruction = Instruction((node,))
        if node.operation == "product" and node.arguments[0].operation == "parameter":
            stored, index = places[node.arguments[0].name]
            group = products[stored.name, node.arguments[1]]
            first = last = index
            while first - 1 in group:
                first -= 1
            while last + 1 in group:
                last += 1
            together = tuple(group[place] for place in range(first, last + 1))
            instruction = Instruction(together, stored, first)
        result.append(instruction)
        done.update(instruction.nodes)
    return result


@lru_cache(maxsize=256)
def plan(cell: Cell) -> Plan:
    """Plan how a cell runs over a sequence.

    Args:
        cell: The cell.

    Returns:
        The instructions, by when they run.
    """
    graph = regroup_sums(cell.graph)
    nodes = topological(graph.outputs.values())
    when = phases(nodes)
    parts = [
        _instructions(cell, [node for node in nodes if when[node] == phase])
        for phase in (ONCE, SEQUENCE, STEP)
    ]
    needed = {argument for node in nodes if when[node] == STEP for argument in node.arguments}
    needed |= set(graph.outputs.values())
    carried = tuple(node for node in nodes if when[node] == SEQUENCE and node in needed)
    once, sequence, step = map(tuple, parts)
    return Plan(cell, graph, once, sequence, step, carried)
