"""What each pass of a schedule makes, as text."""

from __future__ import annotations

from collections.abc import Iterable

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node
from anyrnn.graph.show import listing
from anyrnn.schedule.forms import FUSED, Policy, RowStage, Stage
from anyrnn.schedule.placement import place
from anyrnn.schedule.rewrites import rewrite_loop
from anyrnn.schedule.stages import levels, split

SECTIONS = ("once", "before", "loop_inputs", "loop", "emitted", "after")


def passes(cell: Cell, policy: Policy = FUSED) -> str:
    """The forms of a cell's step on its way to a schedule: the rewritten step, node by node; the
    placement, the levels and the stages, which refer to nodes by number.

    Example:
        >>> import anyrnn
        >>> print(passes(anyrnn.get("rnn")).partition("placement")[2])
        <BLANKLINE>
          once         %0 %1 %4
          loop inputs  %2
          loop         %3 %6 %7 %8 %9
          emitted      %9
        <BLANKLINE>
        levels
          0  %3 %6 %7 %8 %9
          stored  %9
        <BLANKLINE>
        stages
          level 0, hidden units: sum %7 = %1 @ %2 + %4 @ %5; stores %9
    """
    graph = rewrite_loop(cell.graph, cell.states, policy)
    placement = place(graph, cell.states, [cell.output], policy)
    cut = levels(placement)
    numbers = {node: f"%{index}" for index, node in enumerate(placement.graph.nodes())}

    def named(nodes: Iterable[Node]) -> str:
        return " ".join(sorted((numbers[node] for node in nodes), key=lambda text: int(text[1:])))

    sections = {name.replace("_", " "): getattr(placement, name) for name in SECTIONS}
    by_level = {
        number: [node for node in cut.level if cut.level[node] == number]
        for number in sorted(set(cut.level.values()))
    }
    lines = ["rewritten step", *("  " + row for row in listing(placement.graph).splitlines())]
    lines += ["", "placement"]
    lines += [f"  {name:<11}  {named(nodes)}" for name, nodes in sections.items() if nodes]
    lines += ["", "levels", *(f"  {number}  {named(nodes)}" for number, nodes in by_level.items())]
    lines += [f"  stored  {named(cut.stored)}", "", "stages"]
    for stage in split(placement, cut).stages:
        lines.append("  " + _stage(stage, numbers))
    return "\n".join(lines)


def _stage(stage: Stage | RowStage, numbers: dict[Node, str]) -> str:
    if isinstance(stage, RowStage):
        written = " ".join(numbers[node] for node in (*stage.reductions, *stage.scalars))
        return f"level {stage.level}, whole rows: stores {written}"
    sums = [
        f"sum {numbers[accumulator.node]} = "
        + " + ".join(f"{numbers[matrix]} @ {numbers[x]}" for matrix, x in accumulator.terms)
        for accumulator in stage.accumulators
    ]
    stores = "stores " + " ".join(numbers[node] for node in stage.stores)
    return f"level {stage.level}, {stage.size} units: " + "; ".join([*sums, stores])
