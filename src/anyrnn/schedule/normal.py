"""Normal forms of a step: the same values, with products and sums as the schedule wants them."""

from __future__ import annotations

from collections.abc import Iterable

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Graph, Node, constant, make, rebuilt, rewrite, topological
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


def split_products(graph: Graph) -> Graph:
    """Products with joined vectors become sums of products; slices of products become smaller ones.

    So the part of W @ [h, x] that has the input only can leave the loop.
    """

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation == "product" and arguments[1].operation == "concatenate":
            matrix, start, total = arguments[0], Size.of(0), None
            for part in arguments[1].arguments:
                stop = start + part.type.shape[0]
                term = make("product", _columns(matrix, start, stop), part)
                total = term if total is None else make("add", total, term)
                start = stop
            if total is not None and total.type == node.type:
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
        return make("product", _rows(matrix, start, stop), vector)
    return make("slice", value, start=start, stop=stop)


def regroup_sums(graph: Graph, hoist: bool = True) -> Graph:
    """Add first what does not depend on a state, so that it can leave the loop; products last,
    those of a family together.
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
    """Without `clip_gradient`, which is the value itself once the derivative is a graph."""

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        return arguments[0] if node.operation == "clip_gradient" else rebuilt(node, arguments)

    return rewrite(graph, rule)


def by_reciprocals(graph: Graph) -> Graph:
    """A vector divided by a number of its row becomes a product with the number's reciprocal, which
    is one division for the row.
    """

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation == "divide" and node.type.shape:
            vector, number = arguments
            if number.type.per_row and not number.type.shape:
                return make("multiply", vector, make("divide", constant(1), number))
        return rebuilt(node, arguments)

    return rewrite(graph, rule)


def without_centred_sums(graph: Graph) -> Graph:
    """Without what adds nothing to a sum over units: values minus their own mean, multiplied with a
    number of the row. Without them the derivative of a norm needs no sums after other sums.
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
    """Whether a value is a number of the row times a vector minus its mean."""
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


def normal(graph: Graph, hoist: bool = True) -> Graph:
    """The rewrites that every step takes; without `hoist`, sums are not regrouped for work that
    needs no state to leave the loop.
    """
    return regroup_sums(split_products(by_reciprocals(graph)), hoist)


def loop_normal(graph: Graph, states: Iterable[Name], policy: Policy) -> Graph:
    """The step that a kernel runs.

    Each new state is a value that the loop computes: one that the loop would only pass on, a leaf
    or a hoisted product, is multiplied by one.
    """
    states = set(states)
    graph = without_clips(graph)
    graph = normal(
        graph, policy.hoist and multiplies_each_step(graph, states)
    )  # else no bit changes
    when = phases(graph.nodes())

    def is_passed_on(node: Node) -> bool:
        hoisted = policy.hoist and node.operation == "product" and when[node] == SEQUENCE
        return node.is_leaf or hoisted

    outputs = {
        name: make("multiply", node, constant(1)) if name in states and is_passed_on(node) else node
        for name, node in graph.outputs.items()
    }
    return Graph(outputs, graph.names)
