"""The programs of runs: commands that are written once for all calls of the same sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anyrnn.kernels.cpu.program.commands import ArrayRows
from anyrnn.kernels.cpu.program.prepared_commands import PreparedCommands
from anyrnn.kernels.cpu.program.program_plan import ProgramPlan
from anyrnn.kernels.cpu.program.program_writer import Machine, Outcome, ProgramWriter, Written
from anyrnn.kernels.cpu.program.residual_layout import ResidualLayout
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import NOTHING, ArrayInterface, Arrays, Run

WRITTEN = 64  # commands of a program, for so many sizes, that are kept


class Program:
    """A schedule over sequences, for a cell of given sizes.

    Args:
        plan: What runs.
        layout: Where the residuals lie that it saves or reads, if any.
    """

    def __init__(self, plan: ProgramPlan, layout: ResidualLayout | None = None) -> None:
        self.plan, self.layout = plan, layout
        self._written: dict[Any, Written] = {}
        self._last: PreparedCommands | None = None

    def run(
        self,
        run: Run,
        machine: Machine,
        arrays: Arrays,
        inputs: Mapping[Any, Any],
        into: Mapping[Any, Any] = NOTHING,
    ) -> Outcome:
        """Run over sequences.

        Args:
            run: What is run, or was run and is gone back through.
            machine: What it runs on.
            arrays: The states that the schedule begins with, the parameters and the seed.
            inputs: Its inputs by name: for the rows of all steps, or the array of a history.
            into: Arrays for results, by name: one is there if it is not a part of something else,
                or the same.
        """
        interface, names = arrays.interface, run.cell.parameter_names
        key = self._key(run, machine, interface)
        found = self._written.get(key)
        if found is None:
            writer = ProgramWriter(self.plan, self.layout, run, machine, interface.operations)
            found = writer.write()
            while len(self._written) >= WRITTEN:
                self._written.pop(next(iter(self._written)), None)
            self._written[key] = found
        commands, entering, outcome_rows = found
        given = [*map(inputs.__getitem__, entering), *arrays.states]
        given += map(arrays.parameters.__getitem__, names)
        given += [arrays.seed] if self.plan.draws else []
        made = {}
        for name, array in into.items():
            place, rows = outcome_rows.results[name]
            if rows is None:
                made.setdefault(place, array)
        if commands is not self._last:  # of all sizes the memory of one is kept
            if self._last is not None:
                self._last.forget()
            self._last = commands
        packed = None if self.plan.draws else arrays.packed
        found = commands.run(interface, given, made, packed)
        return Outcome(*(_taken(found, parts) for parts in outcome_rows))

    @staticmethod
    def _key(run: Run, machine: Machine, interface: ArrayInterface) -> Any:
        return run.steps, run.dtype, run.reverse, run.operand, run.transposed, machine, interface

    def entry(
        self,
        run: Run,
        machine: Machine,
        interface: ArrayInterface,
        packed: PackedWeights | None,
        stamp: list[Any],
    ) -> Callable[[Sequence[int]], None] | None:
        """As `anyrnn.kernels.target.Target.entry`."""
        found = self._written.get(self._key(run, machine, interface))
        if found is None or self.plan.draws:
            return None
        commands, entering, outcome = found
        cell, first = run.cell, len(commands.given)
        results = [outcome.results[cell.output], *map(outcome.states.__getitem__, cell.states)]
        places = [place - first if rows is None else None for place, rows in results]
        if len(entering) > 1 or places != [*range(len(commands.results))]:
            return None
        return commands.entry(interface, packed, stamp)


def _taken(arrays: Sequence[Any], parts: Mapping[Any, ArrayRows]) -> dict[Any, Any]:
    """Arrays, or some rows of them, by name."""
    return {
        name: arrays[place] if rows is None else arrays[place][rows]
        for name, (place, rows) in parts.items()
    }
