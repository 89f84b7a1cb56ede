"""The forms of a step between its graph and a target's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Graph, Node
from anyrnn.graph.sizes import Size


class Policy(NamedTuple):
    """What a target wants to have outside the loop over time, and what inside.

    Attributes:
        hoist: Products with the input are computed before the loop, for all steps at once. If not,
            a product with the input and one with a state are one sum in the loop, which needs no
            array between the two; better as long as the matrices of both stay in the cache.
        defer: What no state waits for is computed after the loop, for all steps at once.
        sink: Cheap elementwise work that needs no state is in the loop, which has its operands in
            registers; outside it would cost a pass over memory.
    """

    hoist: bool = True
    defer: bool = True
    sink: bool = True


FUSED = Policy(hoist=False, defer=False)  # a step at a time, with all products in the loop


@dataclass(frozen=True, eq=False)
class Placement:
    """Which values of a step graph are computed once, before, in and after the loop over time.

    What is cheap may be in several of them: it is rematerialised rather than stored.

    Attributes:
        graph: The step graph after the algebraic rewrites.
        states: The names of the states.
        wanted: The names of the results that are wanted for each step.
        once: Values that depend on parameters only, and the leaves of these.
        before: Values that are computed for all steps before the loop, in order.
        loop_inputs: The inputs and the results of `before` that the loop reads.
        loop: Values that are computed at each step, in order.
        emitted: The values of the loop that are stored for each step: results, and what `after`
            reads.
        after: Values that are computed for all steps after the loop, in order.
    """

    graph: Graph
    states: tuple[Name, ...]
    wanted: tuple[Name, ...]
    once: tuple[Node, ...]
    before: tuple[Node, ...]
    loop_inputs: tuple[Node, ...]
    loop: tuple[Node, ...]
    emitted: tuple[Node, ...]
    after: tuple[Node, ...]

    @property
    def new_states(self) -> dict[Name, Node]:
        """The new value of each state."""
        return {name: self.graph.outputs[name] for name in self.states}


@dataclass(frozen=True)
class Accumulator:
    """A sum of matrix products, accumulated in registers."""

    node: Node  # the sum
    terms: tuple[tuple[Node, Node], ...]  # the matrix and the vector of each product


@dataclass(frozen=True, eq=False)
class Levels:
    """Where a loop is split."""

    level: Mapping[Node, int]  # how many times memory has to be complete before a value
    accumulators: Mapping[Node, Accumulator]  # the sums of products, by the value that they compute
    stored: frozenset[Node]  # the values that are written to memory


@dataclass(frozen=True)
class Stage:
    """A part of a step that goes over units: products, and the elementwise work on them, for
    vectors of one size.
    """

    level: int  # stages of one level do not depend on each other, stages of rows apart
    size: Size  # the size of its vectors
    accumulators: tuple[Accumulator, ...]  # the sums of products
    stores: tuple[Node, ...]  # the values that are written to memory


@dataclass(frozen=True)
class RowStage:
    """A part of a step that goes over whole rows, before the other stages of its level."""

    level: int  # how many times memory has to be complete before it
    reductions: tuple[Node, ...]  # sums and means of vectors of one size; or a softmax
    scalars: tuple[Node, ...] = ()  # those that follow, and that vectors need
    accumulators: ClassVar[tuple[Accumulator, ...]] = ()  # it has no products

    @property
    def stores(self) -> tuple[Node, ...]:
        """The values that are written to memory."""
        return (*self.reductions, *self.scalars)


@dataclass(frozen=True, eq=False)
class Schedule(Placement):
    """A placement whose loop is split into stages.

    Attributes:
        stages: The stages of a step, in order.
        joins: For each part of a concatenation in the loop, the joined vectors and its offset in
            each.
    """

    stages: tuple[Stage | RowStage, ...]
    joins: Mapping[Node, tuple[tuple[Node, Size], ...]]
