"""Where the values of a stage come from, and in which order they are evaluated.

This is decided before any instruction is written, so that the record of a kernel is complete then,
and what a kernel cannot compute is refused with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from anyrnn.graph.nodes import Node, topological
from anyrnn.graph.sizes import Size
from anyrnn.schedule.forms import RowStage, Schedule
from anyrnn.schedule.phases import ONCE, operands, phases
from anyrnn.schedule.rematerialise import is_in_place


class Source(Enum):
    """Where a value comes from."""

    CONSTANT = auto()  # a number of the equations
    PARAMETER = auto()  # memory: it depends on parameters only
    MEMORY = auto()  # memory: each row has its own
    SLICE = auto()  # the same, from an offset on
    COMPUTED = auto()


@dataclass(frozen=True)
class Value:
    """A value to evaluate."""

    node: Node  # what it is
    source: Source  # where it comes from
    arguments: tuple[Node, ...] = ()  # what it is computed from
    fused: bool = False  # whether it is a product and a sum in one, of three arguments


@dataclass(frozen=True)
class Evaluation:
    """The order of evaluation of a stage.

    Roots are the values that it stores, or reduces over the hidden axis; scalars are the per-row
    scalars that follow from its reductions. Each has with it what no one before has evaluated,
    itself last.
    """

    roots: tuple[tuple[Value, ...], ...]
    scalars: tuple[tuple[Value, ...], ...] = ()

    @property
    def values(self) -> Iterator[Value]:
        """All values."""
        for values in (*self.roots, *self.scalars):
            yield from values


def between_stages(schedule: Schedule) -> tuple[Node, ...]:
    """The values that one stage of a step leaves in memory for another."""
    stored = [node for stage in schedule.stages for node in stage.stores]
    stored += [joined for joins in schedule.joins.values() for joined, _ in joins]
    elsewhere = {*schedule.loop_inputs, *schedule.emitted, *schedule.new_states.values()}
    return tuple(node for node in dict.fromkeys(stored) if node not in elsewhere)


def evaluations(schedule: Schedule, packed: bool) -> list[Evaluation]:
    """The order of evaluation of each stage. Where matrices are not packed, nothing is computed
    before the loop either.
    """
    planner, found = Planner(schedule, packed), []
    for stage in schedule.stages:
        if isinstance(stage, RowStage):
            roots = planner.plan([node.arguments[0] for node in stage.reductions])
            planner.complete.update(stage.reductions)
            found.append(Evaluation(roots, planner.plan(stage.scalars)))
            planner.complete.update(stage.stores)
        else:
            known = {accumulator.node for accumulator in stage.accumulators}
            found.append(Evaluation(planner.plan(stage.stores, known, stage.stores)))
    return found


def uncomputed(
    planned: Iterable[Evaluation], computed: Collection[str], machine: str
) -> str | None:
    """Why a target cannot compute what its stages evaluate; None if it can.

    Args:
        planned: The order of evaluation of each stage.
        computed: The elementwise operations that its kernels compute, apart from random numbers.
        machine: What it is called: `CPU`.
    """
    for evaluation in planned:
        for value in evaluation.values:
            operation = value.node.operation
            if value.source is Source.COMPUTED and operation not in (*computed, "random"):
                return (
                    f"the {machine}'s kernels cannot compute this {operation} inside the loop over "
                    "time"
                )
    return None


class Planner:
    """Plans one stage after another.

    Args:
        schedule: The schedule.
        packed: Whether matrices are packed, so that something is computed before the loop.
        further: Values that are planned too, and are not in the schedule's graph.

    Attributes:
        complete: The per-row scalars that the stages so far have written.
    """

    def __init__(self, schedule: Schedule, packed: bool, further: Iterable[Node] = ()) -> None:
        self.packed = packed
        own = schedule.graph.nodes()
        self.phases = phases(topological([*own, *further]))
        self.further = self.phases.keys() - own
        self.loop_inputs = {*schedule.loop_inputs}
        self.in_memory = {*self.loop_inputs, *schedule.emitted, *between_stages(schedule)}
        self.in_memory.update(schedule.graph.leaves("state"))
        self.in_memory.update(n for n in schedule.new_states.values() if not n.is_leaf)
        self.complete: set[Node] = set()

    def plan(
        self, roots: Sequence[Node], known: Collection[Node] = (), stores: Collection[Node] = ()
    ) -> tuple[tuple[Value, ...], ...]:
        """What to evaluate for each root, when some values are in registers already, and a stage
        stores others itself.
        """
        known, stores, values = set(known), set(stores), list[Value]()

        def is_kept(node: Node) -> bool:
            return node in known or node in stores or node in self.in_memory

        def evaluate(node: Node) -> None:
            if node in known:
                return
            known.add(node)
            value = Value(node, self._source(node, stores))
            if value.source is Source.COMPUTED and node.traits.pointwise:
                value = _operation(node, is_kept)
                for argument in value.arguments:
                    evaluate(argument)
            values.append(value)

        found = []
        for root in roots:
            evaluate(root)
            found.append(tuple(values))
            values.clear()
        return tuple(found)

    def _source(self, node: Node, stores: Collection[Node]) -> Source:
        if node.operation == "constant":
            return Source.CONSTANT
        if self.phases[node] == ONCE and not (node in self.further or self._is_in_place(node)):
            return Source.PARAMETER
        stored_here = node in stores and not node.is_leaf and node not in self.loop_inputs
        # another thread may be about to write a scalar that is not complete
        complete = node.type.shape or node in self.loop_inputs or node in self.complete
        if node in self.in_memory and complete and not stored_here:
            return Source.MEMORY
        if node.operation == "slice" and node.arguments[0] in self.in_memory:
            return Source.SLICE
        return Source.COMPUTED

    def _is_in_place(self, node: Node) -> bool:
        """Whether what depends on parameters only is computed where it is needed, not before."""
        if self.packed:
            return is_in_place(node)
        return node.traits.pointwise and not node.is_leaf


def _operation(node: Node, is_kept: Callable[[Node], bool]) -> Value:
    """How to compute a value; a product that nobody else needs is fused with the sum."""
    arguments = operands(node)
    if node.operation == "add":
        for product, other in (arguments, arguments[::-1]):
            if product.operation == "multiply" and not is_kept(product):
                return Value(node, Source.COMPUTED, (*product.arguments, other), fused=True)
    return Value(node, Source.COMPUTED, arguments)


def constants(schedule: Schedule, planned: Sequence[Evaluation]) -> Iterator[Node | Size]:
    """What a kernel reads that is the same in every step: what depends on parameters only, and the
    sizes that slices and joined vectors need.
    """
    for stage, evaluation in zip(schedule.stages, planned, strict=True):
        for value in evaluation.values:
            if value.source is Source.PARAMETER:
                yield value.node
            elif value.source is Source.SLICE:
                yield from _named(value.node.attributes["start"])
        for node in stage.stores:
            yield from _starts(schedule, node)


def _starts(schedule: Schedule, node: Node) -> Iterator[Size]:
    """Where a value begins in the joined vectors that it is a part of, directly or in another."""
    for joined, start in schedule.joins.get(node, ()):
        yield from _named(start)
        yield from _starts(schedule, joined)


def _named(size: Size) -> Iterator[Size]:
    if size.terms:
        yield size
