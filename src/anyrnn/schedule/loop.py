"""What a step graph computes before, in and after the loop over time, and the stages of a step.

Both the forward step and the reverse step are step graphs: `input` leaves have a row for each
sequence at each time, `state` leaves are what the step before has made, `parameter` leaves are the
same always; a result that is called as a state is its new value. The loop does only what a new
state needs; the rest is done for all steps at a time, before it or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from anyrnn.graph.nodes import Graph, Node, constant, make, topological
from anyrnn.graph.sizes import Size
from anyrnn.schedule.normal import (
    ONCE,
    SEQUENCE,
    STEP,
    delayed,
    is_recurrent,
    normal,
    operands,
    phases,
    without_clips,
)


@dataclass(frozen=True)
class Accumulator:
    """A sum of matrix products, accumulated in registers.

    Attributes:
        node: The sum.
        terms: The matrix and the vector of each product.
    """

    node: Node
    terms: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class Stage:
    """A part of a step: products, and the elementwise work on them, for one size of vectors.

    Attributes:
        level: Stages of one level do not depend on each other.
        size: The size of its vectors.
        accumulators: The sums of products.
        stores: The values that are written to memory.
    """

    level: int
    size: Size
    accumulators: tuple[Accumulator, ...]
    stores: tuple[Node, ...]


@dataclass(frozen=True)
class RowStage:
    """A part of a step that goes over whole rows.

    Attributes:
        level: How many times memory has to be complete before it.
        nodes: Sums and means over the hidden axis, of vectors of one size; or a softmax.
        numbers: The numbers of a row that follow from them, and are needed for its vectors.
    """

    level: int
    nodes: tuple[Node, ...]
    numbers: tuple[Node, ...] = ()

    @property
    def stores(self) -> tuple[Node, ...]:
        """What it writes."""
        return (*self.nodes, *self.numbers)


@dataclass(frozen=True, eq=False)
class Schedule:
    """When each value of a step graph is computed.

    Attributes:
        graph: The step graph in its normal form.
        states: The names of the states.
        once: What depends on parameters only, and is needed by a later phase.
        before: What is computed for all steps before the loop, in order.
        carried: The inputs and the results of `before` that the loop reads.
        stages: The stages of a step, in order.
        emitted: The values that the loop leaves for each step.
        after: What is computed for all steps after the loop, in order.
        joins: The joined vectors that a value is a part of, and where it starts in them.
    """

    graph: Graph
    states: tuple[str, ...]
    once: tuple[Node, ...]
    before: tuple[Node, ...]
    carried: tuple[Node, ...]
    stages: tuple[Stage | RowStage, ...]
    emitted: tuple[Node, ...]
    after: tuple[Node, ...]
    joins: Mapping[Node, tuple[tuple[Node, Size], ...]]

    @property
    def new_states(self) -> dict[str, Node]:
        """The new value of each state."""
        return {name: self.graph.outputs[name] for name in self.states}


def schedule(
    graph: Graph,
    states: Iterable[str],
    wanted: Iterable[str],
    hoist: bool = True,
) -> Schedule:
    """Schedule a step graph.

    Args:
        graph: The step graph.
        states: The names of its states, each the name of a result too.
        wanted: The names of the results that are wanted for each step.
        hoist: Whether to compute outside the loop what can be, for all steps at a time. If not,
            a product with the input and one with a state are one sum, which is better as long as
            the matrices of both stay in the cache.

    Returns:
        The schedule.
    """
    graph, states, wanted = without_clips(graph), tuple(states), tuple(wanted)
    graph = normal(graph, hoist and is_recurrent(graph, states))  # else hoisting changes no bit
    outputs = {  # what the loop would only hand on as a state is computed too
        name: make("multiply", node, constant(1))
        if name in states and (node.is_leaf or (hoist and _is_early_product(node)))
        else node
        for name, node in graph.outputs.items()
    }
    graph = Graph(outputs, graph.names)
    used = _used(graph)
    order = [node for node in graph.nodes() if node in used]
    new_states = [graph.outputs[name] for name in states]
    when = delayed(phases(graph.nodes(), hoist), new_states)
    roots = new_states if hoist else [*new_states, *(graph.outputs[name] for name in wanted)]
    waited = used.intersection(topological(roots))
    needed = {node for node in waited if when[node] == STEP and not node.is_leaf}
    needed |= set(_quick(order, when, needed))
    inside = _sunk([n for n in order if n in needed], new_states, when)
    outside = {n for n in order if n not in inside and when[n] == STEP and not n.is_leaf}
    left = {graph.outputs[name] for name in wanted}
    left |= {argument for node in outside for argument in operands(node)}
    while more := _further(left, graph, when):
        left |= more
    outside |= {node for node in left if node.type.boolean and when[node] == STEP}
    after = [node for node in order if node in outside]
    emitted = tuple(
        n for n in order if n in inside and n in left and n not in outside and when[n] == STEP
    )
    joins = _joins(node for node in order if node in inside)
    reads = {argument for node in inside for argument in operands(node)} | set(new_states)
    reads = (reads | set(joins)) - inside
    carried = tuple(n for n in order if when[n] == SEQUENCE and n in reads)
    before_roots = [n for n in order if when[n] == SEQUENCE and (n in reads or n in left)]
    waited = used.intersection(topological(before_roots))
    before = [n for n in order if n in waited and when[n] == SEQUENCE and not n.is_leaf]
    later = {argument for node in [*before, *after] for argument in operands(node)} | reads
    once = topological(n for n in order if when[n] == ONCE and n in later)
    stages = _stages([n for n in order if n in inside], new_states, emitted, joins)
    return Schedule(
        graph, states, tuple(once), tuple(before), carried, stages, emitted, tuple(after), joins
    )


def _used(graph: Graph) -> set[Node]:
    """The nodes whose values matter, not only their types."""
    found = set(graph.outputs.values())
    left = list(found)
    while left:
        more = set(operands(left.pop())) - found
        found |= more
        left += more
    return found


def _is_early_product(node: Node) -> bool:
    return node.operation == "product" and phases(topological([node]))[node] == SEQUENCE


def _quick(order: Iterable[Node], when: Mapping[Node, int], needed: set[Node]) -> list[Node]:
    """The values of a step that wait for no product after the loop, and need none: the loop
    computes them while what they are made of is in registers.
    """
    found: dict[Node, None] = {}
    for node in order:
        if when[node] == STEP and not node.is_leaf:
            quick = node.traits.pointwise or node.traits.reduction
            if quick and all(
                a in found or a in needed or when[a] < STEP or a.is_leaf for a in operands(node)
            ):
                found[node] = None
    return list(found)


def _further(left: set[Node], graph: Graph, when: Mapping[Node, int]) -> set[Node]:
    """What has to be left for each step besides: for an old state the new one; for a comparison,
    which is not kept, what it compares.
    """
    more = {graph.outputs[node.name] for node in left if node.operation == "state"}
    for node in left:
        if node.type.boolean and when[node] == STEP:
            more |= set(operands(node))
    return more - left


def _joins(inside: Iterable[Node]) -> dict[Node, tuple[tuple[Node, Size], ...]]:
    """Where each part of the joined vectors goes."""
    found: dict[Node, tuple[tuple[Node, Size], ...]] = {}
    for node in inside:
        if node.operation == "concatenate":
            start = Size.of(0)
            for part in node.arguments:
                found[part] = (*found.get(part, ()), (node, start))
                start = start + part.type.shape[0]
    return found


def cheap_support(node: Node, given: Callable[[Node], bool]) -> set[Node]:
    """What cheap work starts from: the values that are given, or that are not cheap to compute."""
    if given(node):
        return {node}
    if node.traits.cheap:
        found: set[Node] = set()
        return found.union(*(cheap_support(argument, given) for argument in operands(node)))
    return {node}


def is_cheap(support: Iterable[Node]) -> bool:
    """Whether cheap work is done again rather than kept: on one vector; numbers cost nothing."""
    return sum(bool(node.type.shape) for node in support) <= 1


def _sunk(needed: list[Node], new_states: list[Node], when: Mapping[Node, int]) -> set[Node]:
    """What the loop computes: what depends on a state, cheap work on one carried value, and some of
    what depends on parameters only.

    Adding a bias in the loop costs nothing; before it, it would cost a pass over the sequence.
    """
    inside = {*needed, *new_states}
    open_nodes = [argument for node in inside for argument in operands(node)]
    while open_nodes:
        node = open_nodes.pop()
        if node in inside or when[node] == STEP:
            continue
        if when[node] == ONCE:
            if is_in_place(node):
                inside.add(node)
                open_nodes += node.arguments
            continue
        support = cheap_support(node, lambda n: n.is_leaf or when[n] == ONCE)
        carried = [n for n in support if when[n] == SEQUENCE]
        if (
            node.traits.cheap
            and node.traits.elementwise
            and (node.type.boolean or is_cheap(carried))
        ):
            inside.add(node)
            open_nodes += node.arguments
    return inside


def is_in_place(node: Node) -> bool:
    """Whether the loop computes what depends on parameters only: the sum of two biases, which costs
    nothing, and a comparison, of which no array is kept.
    """
    arguments = node.arguments
    biases = all(a.is_leaf and len(a.type.shape) == 1 for a in arguments)
    return node.type.boolean or (node.operation == "add" and biases)


def _size(node: Node) -> Size:
    return node.type.shape[0] if node.type.shape else Size.of(1)


class _Levels:
    """The level of each node in the loop: how many times memory has to be complete before it."""

    def __init__(self, inside: list[Node]) -> None:
        self.inside = set(inside)
        self.level: dict[Node, int] = {}
        for node in inside:
            self.level[node] = max([0, *(self._after(node, a) for a in operands(node))])

    def _after(self, node: Node, argument: Node) -> int:
        if argument not in self.inside:
            return 0
        return self.level[argument] + (not node.traits.pointwise)


def _accumulators(inside: list[Node], uses: Mapping[Node, int]) -> dict[Node, Accumulator]:
    """The sums of products, by their node; a sum of sums is one."""
    found: dict[Node, Accumulator] = {}
    for node in inside:
        if node.operation == "product":
            found[node] = Accumulator(node, ((node.arguments[0], node.arguments[1]),))
        elif node.operation == "add" and all(
            argument in found and uses[argument] == 1 for argument in node.arguments
        ):
            left, right = (found.pop(argument) for argument in node.arguments)
            found[node] = Accumulator(node, left.terms + right.terms)
    return found


def _stages(
    inside: list[Node],
    new_states: Iterable[Node],
    emitted: Iterable[Node],
    joins: Mapping[Node, tuple[tuple[Node, Size], ...]],
) -> tuple[Stage | RowStage, ...]:
    members = set(inside)
    results = {*new_states, *emitted}
    uses = dict.fromkeys(inside, 0)
    for node in inside:
        for argument in operands(node):
            if argument in members:
                uses[argument] += 1
    stored = set(results)
    for node in stored:
        uses[node] += 1
    level = _Levels(inside).level
    sums = _accumulators(inside, uses)

    def in_memory(node: Node) -> bool:
        return node not in members or node in stored or node.traits.reduction

    for node in inside:
        for argument in operands(node):
            if in_memory(argument) or not argument.type.shape:
                continue
            if not (node.traits.elementwise or node.traits.reduction):
                stored.add(argument)
            elif level[argument] != level[node]:
                start = cheap_support(argument, lambda n: in_memory(n) or n in sums)
                support = {n for n in start if not in_memory(n)}
                if argument.type.boolean or is_cheap(support):
                    stored |= {n for n in support if n.type.shape}
                else:
                    stored.add(argument)
    covered = {n for s in sums.values() for n in _inner(s.node, members) if n is not s.node}
    stored -= covered - results
    stages: list[Stage | RowStage] = []
    for current in sorted(set(level.values())):
        here = [node for node in inside if level[node] == current]
        over_rows = _row_stages(current, here, level, inside, results)
        stages += over_rows
        written = {node for stage in over_rows for node in stage.stores}
        for size in dict.fromkeys(_size(node) for node in here):
            own = [node for node in here if _size(node) == size]
            stores = tuple(
                n
                for n in own
                if n in stored
                and n not in written
                and not (n.traits.reduction or n.operation == "concatenate")
            )
            accumulators = tuple(sums[node] for node in own if node in sums)
            if stores:
                stages.append(Stage(current, size, accumulators, stores))
    for part in joins:
        if part not in members:
            stages.insert(0, Stage(0, part.type.shape[0], (), (part,)))
    return tuple(stages)


def _row_stages(
    current: int,
    here: Sequence[Node],
    level: Mapping[Node, int],
    inside: Iterable[Node],
    results: set[Node],
) -> list[RowStage]:
    """What goes over rows at a level, together where that is possible."""
    together: dict[object, list[Node]] = {}
    for node in here:
        if node.traits.reduction:
            alone = node if node.operation == "softmax" else None
            together.setdefault((alone, node.arguments[0].type.shape), []).append(node)
    stages = [RowStage(current, tuple(nodes)) for nodes in together.values()]
    if not stages:
        return []
    complete = {node for node in here if node.traits.reduction}

    def is_complete(node: Node) -> bool:
        return node in complete or not node.type.per_row or level.get(node, -1) < current

    for node in here:  # numbers that follow from numbers
        numbers = not any(each.type.shape for each in (node, *node.arguments))
        follows = node.arguments and all(map(is_complete, node.arguments))
        work = node.traits.elementwise and not node.type.boolean
        if numbers and follows and work:
            complete.add(node)
    needed = results.union(a for node in inside if node.type.shape for a in operands(node))
    further = tuple(n for n in here if n in needed & complete and not n.traits.reduction)
    return [*stages[:-1], RowStage(current, stages[-1].nodes, further)]


def _inner(root: Node, members: set[Node]) -> list[Node]:
    """The sums and products inside an accumulator."""
    found = [root]
    if root.operation == "add":
        for argument in root.arguments:
            if argument in members:
                found += _inner(argument, members)
    return found
