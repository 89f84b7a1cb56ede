"""Where the residuals of a run lie: in one array, but for those that the caller gets as results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Before
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.varying import RecordedSteps
from anyrnn.kernels.run import PackedResiduals, Residual
from anyrnn.schedule.residuals import StepSchedules

PACKED = "packed"  # the name of the array of the others


@dataclass(frozen=True, eq=False)
class ResidualLayout:
    """Where the residuals of a run lie.

    Attributes:
        alone: Those with an array of their own: a result that shared their array would keep all of
            them in memory.
        packed: Those that lie one after another in one array.
        shared: By name, the history of which a residual is a part, so that it has no memory.
    """

    alone: Mapping[Any, Residual]
    packed: Mapping[Any, Residual]
    shared: Mapping[Any, Before]

    @cached_property
    def arrays(self) -> dict[Any, Residual | PackedResiduals]:
        """The arrays, by name."""
        parts = tuple(self.packed.values())
        return {**self.alone, PACKED: PackedResiduals(parts)} if parts else {**self.alone}

    def views(self, array: BufferView, steps: RecordedSteps) -> dict[Any, BufferView]:
        """The residuals in the array of many."""
        found, offset = {}, array.offset
        for name, part in self.packed.items():
            shape, size = part.shape(steps.rows, steps.batch), array.dtype.itemsize
            strides = shape[1] * size, size
            found[name] = BufferView(array.block, offset, shape, strides, array.dtype)
            offset += prod(shape) * size
        return found


def residual_layout(cell: Cell, planned: StepSchedules, sizes: Mapping[str, int]) -> ResidualLayout:
    """Decide where residuals lie.

    Args:
        cell: The cell.
        planned: The schedules of its step and of the derivative's.
        sizes: The named sizes.
    """
    outputs = cell.graph.outputs
    result = planned.forward.graph.outputs[cell.output]
    alone, packed = {}, {}
    for name, node in planned.saved.items():
        if name not in planned.shared:
            own = planned.forward.graph.outputs[name] == result
            part = Residual(node.type.size.evaluate(sizes), history=False)
            (alone if own else packed)[name] = part
    for name in planned.histories:
        own = planned.forward.graph.outputs[name] == result
        part = Residual(outputs[name].type.size.evaluate(sizes), history=True)
        (alone if own else packed)[Before(name)] = part
    shared = {name: Before(state) for name, state in planned.shared.items()}
    return ResidualLayout(alone, packed, shared)
