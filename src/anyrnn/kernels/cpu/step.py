"""A single step, entered with addresses only: for streams, where every microsecond counts.

What a call needs besides addresses is computed once, for a cell and sizes; weights are read as they
are, so that nothing has to be remembered between calls.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu import memory, team
from anyrnn.kernels.cpu.loop import Layout, Loop, address
from anyrnn.kernels.cpu.target import Target
from anyrnn.schedule.loop import schedule

PARALLEL = 1 << 20  # multiplications from which on several threads pay


@lru_cache(maxsize=256)
def _loop(cell: Cell, dtype: Any, target: Target | None) -> Loop:
    planned = schedule(cell.graph, cell.states, [cell.output], hoist=False)
    return Loop(planned, dtype, target, packed=False)


class Step:
    """One step of a cell with given sizes; it may be called by several threads at a time.

    Args:
        cell: The cell.
        sizes: The named sizes.
        batch: The number of rows.
        dtype: float32 or float64.
        threads: The most threads to use.
        target: The CPU to compile for; this one if not given.

    Attributes:
        possible: Whether a step can be run like this; if not, a parameter has to be computed from
            others first.
        output_size: The size of the output.
    """

    def __init__(
        self,
        cell: Cell,
        sizes: tuple[tuple[str, int], ...],
        batch: int,
        dtype: Any,
        threads: int,
        target: Target | None = None,
    ) -> None:
        self.loop = _loop(cell, np.dtype(dtype), target)
        self.cell, self.sizes, self.batch = cell, dict(sizes), batch
        self.own = threading.local()
        self.keep: list[np.ndarray] = []
        work = sum(
            parameter.type.shape[0].evaluate(self.sizes)
            * parameter.type.shape[1].evaluate(self.sizes)
            for parameter in cell.graph.leaves("parameter")
            if len(parameter.type.shape) == 2
        )
        threads = threads if work * batch >= PARALLEL and team.available() else 1
        self.layout = Layout(self.loop, self.sizes, batch, threads)
        planned = self.loop.schedule
        parameters = [*self.loop.lowered.vectors, *(node for *_, node in self.layout.matrices)]
        simple = all(
            node.is_leaf or (node.operation == "slice" and node.arguments[0].is_leaf)
            for node in parameters
        )
        output = planned.graph.outputs[cell.output]
        self.output_size = self.layout.size(output)
        self.possible = simple and output in planned.emitted and not planned.after
        if self.possible:
            self._find_addresses(output)

    def _find_addresses(self, output: Node) -> None:
        """Which address goes where in the record, and how far behind what the caller gives."""
        cell, layout, loop = self.cell, self.layout, self.loop
        names, itemsize = layout.names, loop.dtype.itemsize
        counts = [1, len(cell.states), len(cell.parameters), 1, len(cell.states)]
        x, state, stored, result, following = (sum(counts[:place]) for place in range(5))
        entries: list[tuple[int, int, int]] = []  # place, which address, how far behind it
        members: dict[str, tuple[int, int, int]] = {}
        for which, part in enumerate(cell.parameters, stored):
            length = 1 if not part.is_matrix else part.shape[1].evaluate(self.sizes)
            for name, (start, _) in zip(part.members, pairwise(part.bounds), strict=True):
                members[name] = which, start.evaluate(self.sizes) * length, length

        def locate(node: Node) -> tuple[int, int, int]:
            """An address, elements behind it, and the step from row to row."""
            if node.operation == "parameter":
                return members[node.name]
            if node.operation == "slice":
                which, start, stride = locate(node.arguments[0])
                return which, start + node.attributes["start"].evaluate(self.sizes), stride
            raise AssertionError(node.operation)

        for node, name in loop.lowered.vectors.items():
            if node.operation == "size":
                number = np.array([node.attributes["size"].evaluate(self.sizes)], loop.dtype)
                self.keep.append(number)
                layout.records[:, names[name]] = address(number)
                continue
            which, start, _ = locate(node)
            entries.append((names[name], which, start * itemsize))
        for place, stride_place, node in layout.matrices:
            which, start, stride = locate(node)
            entries.append((place, which, start * itemsize))
            layout.records[:, stride_place] = stride
        for node, name in loop.lowered.arrays.items():
            entries.append((names[name], result if node is output else x, 0))
            layout.records[:, names[f"{name}.stride"]] = layout.size(node)
        for place, name in enumerate(cell.states):
            entries.append((names[f"state.{name}.current"], state + place, 0))
            entries.append((names[f"state.{name}.next"], following + place, 0))
        steps = np.array([0, self.batch], np.int64)
        self.keep.append(steps)
        layout.records[:, names["steps"]] = layout.records[:, names["direction"]] = 1
        layout.records[:, names["offsets"]] = address(steps)
        self.places, self.which, self.behind = np.array(entries, np.int64).T

    def _enter(self) -> tuple[team.Entry, np.ndarray]:
        """The records and the workspace of this thread."""
        layout = self.layout
        workspace = memory.empty((layout.bytes,), np.uint8)
        records = layout.records.copy()
        records[:, layout.places] = layout.offsets + address(workspace)
        records[0, layout.names["barrier"]] = 0
        self.own.entered = team.Entry(self.loop.code, records), workspace
        return self.own.entered

    def run(self, addresses: Sequence[int]) -> None:
        """Run.

        Args:
            addresses: Of the input, (batch, input); the states, each (batch, size); the stored
                parameters; the output, (batch, output size); the new states. Each is contiguous.
        """
        entry, workspace = getattr(self.own, "entered", None) or self._enter()
        if entry.threads > 1:
            workspace[:8] = 0  # the barrier
        given = np.array(addresses, np.int64)
        entry.records[:, self.places] = given[self.which] + self.behind
        entry.run()


@lru_cache(maxsize=256)
def step(
    cell: Cell,
    sizes: tuple[tuple[str, int], ...],
    batch: int,
    dtype: Any,
    threads: int,
    target: Target | None = None,
) -> Step:
    """The step for a cell and sizes; the arguments are those of `Step`."""
    return Step(cell, sizes, batch, dtype, threads, target)
