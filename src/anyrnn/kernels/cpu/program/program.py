"""The programs of runs: commands that are written once for all calls of the same sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyrnn.kernels.cpu.program.commands import Bindings, CommandBuffer
from anyrnn.kernels.cpu.program.program_plan import ProgramPlan
from anyrnn.kernels.cpu.program.program_writer import Machine, Outcome, ProgramWriter
from anyrnn.kernels.run import NOTHING, Arrays, Run

WRITTEN = 64  # command buffers of a program that are kept
KEPT = 1 << 20  # bytes of a workspace that is kept from one call to the next


class Program:
    """A schedule over sequences, for a cell of given sizes."""

    def __init__(self, plan: ProgramPlan) -> None:
        self.plan = plan
        self._inputs = [leaf.name for leaf in plan.inputs]
        self._written: dict[Any, tuple[CommandBuffer, Outcome]] = {}
        self._idle: dict[CommandBuffer, Bindings] = {}  # the memory of the last run, if small

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
        key = run.steps, run.dtype, run.reverse, run.operand, machine, interface
        found = self._written.get(key)
        if found is None:
            found = ProgramWriter(self.plan, run, machine, interface.operations).write()
            while len(self._written) >= WRITTEN:
                self._written.pop(next(iter(self._written)), None)
            self._written[key] = found
        commands, outcome_rows = found
        given = [*map(inputs.__getitem__, self._inputs), *arrays.states]
        given += map(arrays.parameters.__getitem__, names)
        given += [arrays.seed] if self.plan.draws else []
        small = commands.room <= KEPT
        bindings = self._idle.pop(commands, None) if small else None
        made = {}
        for name, array in into.items():
            block, rows = outcome_rows.results[name]
            if rows is None:
                made.setdefault(block, array)
        bindings = commands.run(interface, given, bindings, made)
        outcome = Outcome(*map(bindings.rows, outcome_rows))
        if small:
            commands.forget(bindings)
            self._idle = {commands: bindings}
        return outcome
