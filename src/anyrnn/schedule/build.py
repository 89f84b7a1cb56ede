"""The passes from a step graph to its schedule."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Graph
from anyrnn.graph.verify import VERIFY
from anyrnn.schedule.forms import Placement, Policy, Schedule
from anyrnn.schedule.placement import place
from anyrnn.schedule.rewrites import rewrite_loop, rewrite_step
from anyrnn.schedule.stages import levels, split
from anyrnn.schedule.verify import verify_placement, verify_schedule

KERNELS, OPERATIONS = Policy(), Policy(defer=False, sink=False)


def schedule(
    graph: Graph,
    states: Iterable[Name],
    wanted: Iterable[Name],
    policy: Policy = KERNELS,
) -> Schedule:
    """Schedule a step graph for a kernel that is a loop over time.

    Args:
        graph: The step graph.
        states: The names of its states, each the name of a result too.
        wanted: The names of the results that are wanted for each step.
        policy: What the target wants outside the loop, and what inside.
    """
    states = tuple(states)
    placement = place(rewrite_loop(graph, states, policy), states, wanted, policy)
    if VERIFY:
        verify_placement(placement)
    made = split(placement, levels(placement))
    if VERIFY:
        verify_schedule(made)
    return made


@lru_cache(maxsize=256)
def place_operations(cell: Cell) -> Placement:
    """Place a cell's step for a framework's operations, which are called one by one.

    A call costs more than the pass over memory that it makes, so all that needs no state is
    computed for the whole sequence at once, and the loop is not split.
    """
    placement = place(rewrite_step(cell.graph), cell.states, [cell.output], OPERATIONS)
    if VERIFY:
        verify_placement(placement)
    return placement
