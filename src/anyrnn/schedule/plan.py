"""What is computed once, what for the whole sequence at a time, what at each step; and which
products are one.

The product of the input with all gates' matrices does not wait for the state: it is one large
product over the whole sequence, before the loop. Inside the loop one product of a stacked matrix
serves all gates that see the same vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from anyrnn.graph.cell import Cell, StoredParameter
from anyrnn.graph.nodes import Graph, Node, topological
from anyrnn.schedule.normal import ONCE, SEQUENCE, STEP, normal, phases


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
    graph = normal(cell.graph)
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
