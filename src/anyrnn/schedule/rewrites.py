"""Algebraic rewrites of a step before it is scheduled: they distribute products over
concatenations, reassociate sums so that terms without a state can be hoisted, and replace
divisions of a vector by a scalar. Values change by rounding only.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Graph, Node, joined, make, rebuilt, rewrite, topological
from anyrnn.graph.sizes import Size
from anyrnn.graph.sums import addends, total_of, uses_of
from anyrnn.schedule.forms import Policy
from anyrnn.schedule.phases import SEQUENCE, STEP, multiplies_each_step, operands, phases


def _columns(matrix: Node, start: Size, stop: Size) -> Node:
    if start == Size.of(0) and stop == matrix.type.shape[1]:
        return matrix
    return make("slice", matrix, start=start, stop=stop)


def _rows(matrix: Node, start: Size, stop: Size) -> Node:
    if matrix.operation == "transpose":
        return make("transpose", _columns(matrix.arguments[0], start, stop))
    return make("transpose", _columns(make("transpose", matrix), start, stop))


def distribute_products(graph: Graph) -> Graph:
    """W @ [h, x] becomes a sum of two products, each with some columns of W, so that the one with
    the input can be hoisted; a slice of W @ x becomes a product with some rows of W.
    """

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation == "product" and arguments[1].operation == "concatenate":
            matrix, vector = arguments
            terms = [_columns(matrix, *ends) @ own for own, *ends in joined(vector)]
            total = reduce(add, terms)
            if total.type == node.type:
                return total
        if node.operation == "slice":
            return _slice(arguments[0], node.attributes["start"], node.attributes["stop"])
        return rebuilt(node, arguments)

    return rewrite(graph, rule)


def _slice(value: Node, start: Size, stop: Size) -> Node:
    if value.traits.signs and len(value.type.shape) == 1:
        left, right = (
            _slice(part, start, stop) if part.type.shape else part for part in value.arguments
        )
        return make(value.operation, left, right)
    if value.operation == "product":
        matrix, vector = value.arguments
        return _rows(matrix, start, stop) @ vector
    return make("slice", value, start=start, stop=stop)


def reassociate_sums(graph: Graph, hoist: bool = True) -> Graph:
    """Adds the terms of a sum that depend on no state first, so that their sum can be hoisted, and
    the products with a state last, those of a family of parameters together.
    """
    nodes = graph.nodes()
    uses = uses_of(graph)
    when = phases(nodes, hoist)
    new: dict[Node, Node] = {}

    def total(terms: list[tuple[int, Node]]) -> Node:
        return total_of([(sign, new[term]) for sign, term in terms])

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        new[node] = rebuilt(node, arguments)
        if node.traits.signs and when[node] == STEP:
            terms = addends(node, 1, uses, True)
            early = [term for term in terms if when[term[1]] < STEP]
            late = [term for term in terms if when[term[1]] == STEP]
            others: list[tuple[int, Node]] = []
            products: dict[str, list[tuple[int, Node]]] = {}
            for sign, term in late:
                product = sign > 0 and term.operation == "product"
                group = products.setdefault(_family(term), []) if product else others
                group.append((sign, term))
            of_products = [(1, total(group)) for group in products.values()]
            groups = [total(group) for group in (early, others) if group]
            groups += [total_of(of_products)] if of_products else []
            new[node] = total_of([(1, group) for group in groups])
        return new[node]

    names = {node: name for node, name in graph.names.items() if node in uses}
    return rewrite(Graph(graph.outputs, names), rule)


def _family(product: Node) -> str:
    """The family of the first parameter in a product's matrix."""
    leaves = (node for node in topological([product.arguments[0]]) if node.operation == "parameter")
    return next((leaf.name.split(".")[0] for leaf in leaves), "")


def without_clips(graph: Graph) -> Graph:
    """Replaces `clip_gradient` with its argument: it matters to the derivative only."""

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        return arguments[0] if node.operation == "clip_gradient" else rebuilt(node, arguments)

    return rewrite(graph, rule)


def by_reciprocals(graph: Graph) -> Graph:
    """A vector divided by a per-row scalar becomes a product with the scalar's reciprocal: one
    division for each row instead of one for each unit.
    """

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation == "divide" and node.type.shape:
            vector, scalar = arguments
            if scalar.type.per_row and not scalar.type.shape:
                return vector * (1 / scalar)
        return rebuilt(node, arguments)

    return rewrite(graph, rule)


def without_centred_sums(graph: Graph) -> Graph:
    """Drops terms of a sum over the hidden axis that add nothing to it: per-row scalars times a
    vector minus its mean. Without them the derivative of a norm needs no reductions of reductions.
    """

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation == "sum":
            terms = _terms(arguments[0], 1)
            left = [(sign, term) for sign, term in terms if not _is_centred(term)]
            if left and len(left) < len(terms):
                return make("sum", total_of(left))
        return rebuilt(node, arguments)

    return rewrite(graph, rule)


def _terms(node: Node, sign: int) -> list[tuple[int, Node]]:
    """The terms of a sum, with signs."""
    if node.operation == "negative":
        return _terms(node.arguments[0], -sign)
    if not node.traits.signs:
        return [(sign, node)]
    terms = zip(node.traits.signs, node.arguments, strict=True)
    return [part for own, term in terms for part in _terms(term, own * sign)]


def _is_centred(term: Node) -> bool:
    """Whether a value is a per-row scalar times a vector minus its mean."""
    if term.operation == "multiply":
        left, right = term.arguments
        if left.operation == "expand" or not left.type.shape:
            left, right = right, left
        if right.operation == "expand":
            (right,) = operands(right)
        return not right.type.shape and _is_centred(left)
    if term.operation != "subtract":
        return False
    vector, mean = term.arguments
    return mean.operation == "mean" and mean.arguments[0] is vector


def rewrite_step(graph: Graph, hoist: bool = True) -> Graph:
    """The rewrites of every step; `hoist` as of `reassociate_sums`, which without it does not
    separate what depends on the input only.
    """
    return reassociate_sums(distribute_products(by_reciprocals(graph)), hoist)


def rewrite_loop(graph: Graph, states: Iterable[Name], policy: Policy) -> Graph:
    """The rewrites of a step that a kernel runs as a loop.

    The loop has to compute every new state itself: one that it would only pass on, a leaf or a
    hoisted product, is multiplied by one.
    """
    states = set(states)
    graph = without_clips(graph)
    hoist = policy.hoist and multiplies_each_step(graph, states)  # else no bit changes
    graph = rewrite_step(graph, hoist)
    when = phases(graph.nodes())

    def is_passed_on(node: Node) -> bool:
        hoisted = policy.hoist and node.operation == "product" and when[node] == SEQUENCE
        return node.is_leaf or hoisted

    outputs = {
        name: node * 1 if name in states and is_passed_on(node) else node
        for name, node in graph.outputs.items()
    }
    return Graph(outputs, graph.names)
