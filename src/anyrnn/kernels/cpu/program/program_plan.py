"""What runs before, in and after the loop of a schedule: operations, buffers and segments.

Large arrays between these parts would cost a pass over memory for each. So a run goes through them
segment by segment: a segment has as many steps as let its arrays stay in a cache, and the arrays of
one segment reuse the memory of the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import OutputGradient
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu.program.outside_loop import OperationSelection
from anyrnn.kernels.cpu.program.segment_operations import (
    Multiply,
    Operate,
    SegmentOperation,
    SumOfProducts,
)
from anyrnn.kernels.cpu.program.varying import RecordedSteps
from anyrnn.kernels.run import Steps
from anyrnn.schedule.forms import Schedule

OUTPUT = OutputGradient("output")
SEGMENT_BYTES = 8 << 20  # of the arrays of a segment that are between the parts of a run


class ProgramPlan:
    """What runs before, in and after the loop of a schedule, for a cell of given sizes.

    Args:
        cell: The cell.
        planned: The schedule of its step, or of its derivative's step.
        sizes: The named sizes.
        results: The names of the results that are wanted for each row.
        histories: The names of the states whose histories are wanted.
        gradients: The names of the stored parameters whose gradients are wanted.
        backward: Whether the schedule is that of the derivative, which goes against the run.

    Attributes:
        old: The old states that are read outside the loop.
        places: The results that have an array of their own, and their widths.
        early, late: The values, and the history if it is one, that are copied into results right
            after the loop, and at the end of a segment.
        totals: The gradients: name, shape, and whether every row is written.
    """

    def __init__(
        self,
        cell: Cell,
        planned: Schedule,
        sizes: Mapping[str, int],
        results: Sequence[Any],
        histories: Sequence[str],
        gradients: Sequence[str],
        backward: bool = False,
    ) -> None:
        self.cell, self.planned, self.sizes, self.backward = cell, planned, sizes, backward
        self.results, selection = tuple(results), OperationSelection(cell, planned, sizes)
        nodes, known = [*planned.before, *planned.after], [*histories]
        while True:  # a state that is read after the loop needs its history, and that may need more
            wanted = [planned.graph.outputs[name] for name in (*results, *known)]
            chosen, self.last = selection.operations(
                nodes, [*planned.loop_inputs, *wanted], gradients
            )
            needed = {argument for part in (*chosen, *self.last) for argument in part.arguments}
            leaves = planned.graph.leaves("state")
            self.old = [leaf for leaf in leaves if leaf in needed or leaf in wanted]
            self.histories = tuple(dict.fromkeys([*histories, *(leaf.name for leaf in self.old)]))
            if len(self.histories) == len(known):
                break
            known = [*self.histories]
        before = set(planned.before)
        self.before = [part for part in chosen if part.results[0] in before]
        self.after = [part for part in chosen if part.results[0] not in before]
        self.once = [selection.operation(node) for node in planned.once if not node.is_leaf]
        self.inputs = planned.graph.leaves("input")
        self.parameters = [
            (leaf, selection.rows[leaf.name]) for leaf in planned.graph.leaves("parameter")
        ]
        self.numbers = [n for n in planned.graph.nodes() if n.is_leaf and n.traits.number]
        self._lay_out(selection, chosen)
        self.width = selection.width
        self.draws = planned.graph.draws

    def _lay_out(self, selection: OperationSelection, chosen: Sequence[SegmentOperation]) -> None:
        """Which values are written into results, which are copied there, which need a buffer."""
        outputs = self.planned.graph.outputs
        homes: dict[Node, str] = {}  # the history that a value is written into
        copies: list[tuple[Node, str | None]] = []
        for name in self.histories:
            if homes.setdefault(outputs[name], name) != name:
                copies.append((outputs[name], name))
        results = dict.fromkeys(outputs[name] for name in self.results)
        self.places = [(node, selection.width(node)) for node in results if node not in homes]
        whole = {**homes, **results}
        written = {node for node in self.planned.emitted if node not in selection.columns}
        for part in chosen:
            if not isinstance(part, Operate) and len(part.results) == 1:
                written.update(node for node in part.results if node.type.per_row)
        copies += [(node, None) for node in whole if node not in written]
        late = {*self.planned.after, *self.old}
        self.early = [copy for copy in copies if copy[0] not in late]
        self.late = [copy for copy in copies if copy[0] in late]
        self.columns = selection.columns
        kept = [node for part in chosen for node in part.results if node.type.per_row]
        kept += self.planned.emitted
        self.row_size = sum(selection.width(node) for node in kept if node not in whole)
        self.totals = []
        rows = [rows for part in self.last for equal in part.parts for rows in equal]
        for stored in self.cell.parameters:
            own = [stop - start for name, start, stop in rows if name == stored.name]
            if own:
                shape = stored.shape_for(self.sizes)
                self.totals.append((stored.name, shape, sum(own) == shape[0]))

    @cached_property
    def result(self) -> Node | None:
        """The first result, whose rows may be anywhere in its array: the output, or the gradient of
        the input if that is wanted.
        """
        return self.planned.graph.outputs[self.results[0]] if self.results else None

    @cached_property
    def kept(self) -> bool:
        """Whether that is also a history, or another result: with one row after another."""
        outputs, names = self.planned.graph.outputs, (*self.results[1:], *self.histories)
        return self.result in {outputs[name] for name in names}

    @cached_property
    def twice(self) -> bool:
        """Whether it is needed with one row after another besides."""
        parts = (*self.before, *self.after, *self.last)
        outside = {argument for part in parts for argument in part.arguments}
        copied = {node for node, _ in (*self.early, *self.late)}
        return self.kept or self.result in outside | copied | {*self.columns}

    @cached_property
    def can_place(self) -> bool:
        """Whether the loop or a product can write it where its rows are."""
        if self.result is None or self.result in self.planned.emitted:
            return True
        made = (part for part in (*self.before, *self.after) if part.results == (self.result,))
        product = any(isinstance(part, Multiply | SumOfProducts) for part in made)
        return product and not self.twice

    def divided(self, steps: Steps, itemsize: int) -> RecordedSteps:
        """The steps, divided into segments."""
        most = SEGMENT_BYTES // max(1, self.row_size * steps.batch * itemsize)
        return RecordedSteps(steps, -(-len(steps.batch_sizes) // max(1, most)))
