"""The programs of runs: commands that are written once for all calls of the same sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from anyrnn.kernels.cpu.program.commands import ArrayRows
from anyrnn.kernels.cpu.program.prepared_commands import PreparedCommands
from anyrnn.kernels.cpu.program.program_plan import ProgramPlan
from anyrnn.kernels.cpu.program.program_writer import Machine, Outcome, ProgramWriter, Written
from anyrnn.kernels.cpu.program.residual_layout import ResidualLayout
from anyrnn.kernels.cpu.program.varying import RecordedSteps, value_of
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import NOTHING, ArrayInterface, Arrays, Run, Slot

Places = list[tuple[Any, int, slice | None]]  # a name, an array, some of its rows; None for all
Found = tuple[Written, list[Places], RecordedSteps]
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
        self._asked: tuple[Any, Found] | None = None  # in the last run
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
        found = self._find(run, machine, interface, True)
        assert found is not None
        (commands, entering, outcome), places, recorded = found
        given = [*map(inputs.__getitem__, entering), *arrays.states]
        given += map(arrays.parameters.__getitem__, names)
        given += [arrays.seed] if self.plan.draws else []
        made = {}
        for name, array in into.items():
            place, rows = outcome.results[name]
            if rows is None:
                made.setdefault(place, array)
        if commands is not self._last:  # of all sizes the memory of one is kept
            if self._last is not None:
                self._last.forget()
            self._last = commands
        packed = None if self.plan.draws else arrays.packed
        computed = commands.run(interface, given, made, packed, recorded)
        return Outcome(
            *(
                {n: computed[at] if rows is None else computed[at][rows] for n, at, rows in part}
                for part in places
            )
        )

    def _find(
        self, run: Run, machine: Machine, interface: ArrayInterface, write: bool
    ) -> Found | None:
        """What is written for a run, perhaps now, where its results are, and its steps."""
        kind = run.dtype, run.reverse, run.operand, run.transposed
        asked = run.steps, *kind, machine, interface
        if self._asked is not None and self._asked[0] == asked:
            return self._asked[1]
        recorded = self.plan.divided(run.steps, run.dtype.itemsize)
        key = recorded.kind(machine.threads), *asked[1:]
        found = self._written.pop(key, None)
        if found is None and write:
            given = self.plan, self.layout, run, recorded, machine, interface.operations
            found = ProgramWriter(*given).write()
            while len(self._written) >= WRITTEN:
                self._written.pop(next(iter(self._written)), None)
        if found is None:
            return None
        self._written[key] = found  # the last of those that were used
        places = [_places(parts, recorded.numbers) for parts in found[2]]
        self._asked = asked, (found, places, recorded)
        return self._asked[1]

    def entry(
        self,
        run: Run,
        machine: Machine,
        interface: ArrayInterface,
        inputs: Sequence[Any],
        packed: PackedWeights | None,
        stamp: Sequence[Any],
    ) -> tuple[Callable[[Sequence[int]], None], Sequence[Slot], Outcome] | None:
        """As `anyrnn.kernels.target.Target.entry`.

        Args:
            run, machine, interface, packed, stamp: As there.
            inputs: The names of the inputs, in the order of the addresses.

        Returns:
            What runs it, what its results are to be, and by name the place and the rows in them of
            what it has computed; None if there is no such way.
        """
        found = self._find(run, machine, interface, False)
        if found is None or self.plan.draws:
            return None
        (commands, entering, _), places, _ = found
        enter, first = commands.entry(interface, packed, stamp), len(commands.given)
        if enter is None:
            return None

        if any(place < first for part in places for _, place, _ in part):
            return None  # an array that was given

        def within(place: int, rows: slice | None) -> tuple[int, tuple[int, int]]:
            start, stop, _ = (rows or slice(None)).indices(commands.results[place].shape[0])
            return place, (start, stop)

        parts = [
            {name: within(place - first, rows) for name, place, rows in part} for part in places
        ]
        order = [*map(inputs.index, entering)]
        if order == [*range(len(inputs))]:
            return enter, commands.results, Outcome(*parts)
        order += range(len(inputs), len(inputs) + first - len(entering) + len(commands.results))
        pick = itemgetter(*order)
        return lambda addresses: enter(pick(addresses)), commands.results, Outcome(*parts)


def _places(parts: Mapping[Any, ArrayRows], numbers: Sequence[int]) -> Places:
    """By name, which arrays these are, and which of their rows."""
    found = []
    for name, (place, rows) in parts.items():
        known = None if rows is None else slice(*(value_of(count, numbers) for count in rows))
        found.append((name, place, known))
    return found
