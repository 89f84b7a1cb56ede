"""Writes a linear loop as a scan over time.

A program has one sequence and a tile of units. It goes over chunks of steps: what each step does to
a state, new = scale * old + shift, is evaluated for all steps of a chunk at a time, and the steps
are composed by `tl.associative_scan`. The old states that follow are in registers, and the rest of
the step is evaluated from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Node
from anyrnn.kernels.evaluation import Evaluation, Planner, Value
from anyrnn.kernels.gpu import form as forms
from anyrnn.kernels.gpu.form import Form, Tile, power_of_two
from anyrnn.kernels.gpu.layout import Layout, Place
from anyrnn.kernels.gpu.tile_writer import Lines, TileWriter, Values, address_of
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.linear import Recurrence, recurrences


class ScanPlan(NamedTuple):
    """What is evaluated in a scan: of each recurrence what gives its scale and its shift, and then
    what gives each value that the loop stores.
    """

    recurrences: tuple[tuple[Recurrence, tuple[tuple[Value, ...], ...]], ...]
    stores: tuple[tuple[Node, tuple[Value, ...]], ...]


@lru_cache(maxsize=256)
def scan_plan(schedule: Schedule) -> ScanPlan:
    """Plan the scan of a linear loop."""
    found, stores = recurrences(schedule), schedule.stages[0].stores
    assert found is not None, "a loop is linear where a scan is chosen"
    further = [part for each in found for part in (each.scale, each.shift)]
    planner, known = Planner(schedule, packed=True, further=further), set[Node]()
    parts = []
    for each in found:
        values = planner.plan((each.scale, each.shift), known, stores)
        parts.append((each, values))
        known.update(value.node for value in chain(*values))
        known |= {each.new} if each.old is None else {each.old, each.new}
    planned = zip(stores, planner.plan(stores, known, stores), strict=True)
    return ScanPlan(tuple(parts), tuple(planned))


def scan_evaluation(schedule: Schedule) -> Evaluation:
    """All that the scan of a linear loop evaluates."""
    plan = scan_plan(schedule)
    values = chain.from_iterable(each for _, each in plan.recurrences)
    return Evaluation((*values, *(needed for _, needed in plan.stores)))


class ScanWriter(TileWriter):
    """Writes a scan."""

    def __init__(self, out: Lines, layout: Layout, form: Form) -> None:
        self.steps = forms.CHUNK
        super().__init__(out, layout, form, self.steps)
        self.plan = scan_plan(layout.schedule)
        self.size = layout.schedule.stages[0].stores[0].type.size.evaluate(self.sizes)
        self.cut = Tile(min(forms.UNITS, power_of_two(self.size, 1)), self.steps)

    def write(self) -> None:
        """Write the body of the kernel."""
        add, units = self.out.add, self.cut.units
        add("here = tl.program_id(0).to(tl.int64)")
        add("length = tl.load(lengths + here).to(tl.int32)")
        self.set_units(f"tl.program_id(1) * {units}", units, self.size)
        add(f"place = tl.arange(0, {self.steps})[:, None]")
        add(f"before_it = tl.maximum(place - 1, 0) + tl.zeros(({self.steps}, {units}), tl.int32)")
        carried = {each.state: self.out.variable("carried") for each, _ in self.plan.recurrences}
        for name, variable in carried.items():
            address = address_of(self._initial(name), self.unit)
            loaded = f"tl.load({address}, mask={self.there}, other=0.0)"
            add(f"{variable} = {loaded}.to(tl.float32)")
        with self.out.block(f"for begin in tl.range(0, length, {self.steps}, num_stages=1):"):
            self._rows_of_chunk()
            values = Values(self, {})
            for each, needed in self.plan.recurrences:
                self._recurrence(each, needed, values, carried[each.state])
            for node, needed in self.plan.stores:
                self.store(node, values.evaluate(node, needed), units)
        for name, variable in carried.items():
            for place in self._last(name):
                address = address_of(place, self.unit)
                add(f"tl.store({address}, {variable}, mask={self.there})")

    def _rows_of_chunk(self) -> None:
        """Which rows of arrays the sequence has at the steps of a chunk."""
        add = self.out.add
        add("index = begin + place", "live = index < length")
        add("step = " + ("length - 1 - index" if self.form.reverse else "index"))
        add("row = tl.load(offsets + step, mask=live, other=0) + here")
        add("leaving = " + ("row" if self.form.reverse else "batch + row"))

    def _recurrence(
        self,
        each: Recurrence,
        needed: tuple[tuple[Value, ...], ...],
        values: Values,
        carried: str,
    ) -> None:
        """Compute the states of a chunk: a step after the last one leaves a state as it is."""
        add, units = self.out.add, self.cut.units
        scale, shift = (
            values.evaluate(node, part)
            for node, part in zip((each.scale, each.shift), needed, strict=True)
        )
        a, b, new = (self.variable(name) for name in ("scale", "shift", "state"))
        add(f"{a} = tl.where(live, {self.whole(scale, units)}, 1.0)")
        add(f"{b} = tl.where(live, {self.whole(shift, units)}, 0.0)")
        add(f"{a}, {b} = tl.associative_scan(({a}, {b}), 0, compose)")
        add(f"{new} = advance({a}, {b}, {carried})")
        if each.old is not None:
            old = self.variable("old")
            add(f"{old} = tl.where(place == 0, {carried}, tl.gather({new}, before_it, 0))")
            values.known[each.old] = old
        last = f"tl.where(place == {self.steps - 1}, {new}, 0.0)"
        add(f"{carried} = tl.sum({last}, axis=0, keep_dims=True)")
        values.known[each.new] = new

    def written(self, node: Node) -> list[Place]:
        """As `TileWriter.written`; a state without a history is stored after the last step only."""
        return [place for place in super().written(node) if place.row != "after"]

    def _initial(self, name: Name) -> Place:
        history = name in self.layout.histories
        row = "(rows + here)" if history and self.form.reverse else "here"
        return Place(self.layout.states[name], row)

    def _last(self, name: Name) -> Iterator[Place]:
        """Where the last value of a state is stored: both buffers, whatever the number of steps."""
        if name not in self.layout.histories:
            for row in ("here", "(batch + here)"):
                yield Place(self.layout.states[name], row)
