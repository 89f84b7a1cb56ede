"""Layer and RMS normalisation inside the step."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, count

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, make, rebuilt, rewrite, topological
from anyrnn.graph.operations import Type
from anyrnn.graph.roles import Role, activated, matrix_leaf, roles
from anyrnn.graph.sums import addends, total_of, uses_of
from anyrnn.transforms.option_values import check_bound

KINDS = ("layer", "rms")
INITIAL = {"input_gain": 1.0, "recurrent_gain": 1.0, "state_gain": 1.0, "state_bias": 0.0}
GAINS = {Role.INPUT: "input_gain", Role.RECURRENT: "recurrent_gain"}


def with_normalisation(cell: Cell, kind: str = "layer", epsilon: float = 1e-5) -> Cell:
    """The cell with normalised sums of products (Ba, Kiros & Hinton 2016, arXiv 1607.06450; for
    `rms` Zhang & Sennrich 2019, arXiv 1910.07467).

    In each sum that an activation follows, the products with the input are normalised together, and
    so are those with what depends on a state: W x + U h + b becomes gain * norm(W x) + gain *
    norm(U h) + b. A state that the output reads through an activation, as h' = o tanh(c'), is
    normalised there, with a gain and a bias; it is carried as it is. The mean and the variance are
    those of one gate's units.

    Args:
        cell: A cell.
        kind: `layer`: minus the mean, divided by the standard deviation; `rms`: divided by the root
            of the mean square.
        epsilon: Added to the variance, or to the mean square.

    Returns:
        The cell, with the parameters `input_gain` and `recurrent_gain`, a gain for each gate, and
        `state_gain` and `state_bias` where there is such a state. Gains start at 1, the bias at 0.

    Raises:
        CellError: The kind is unknown, the epsilon is no positive number, the cell has no such
            products, or is normalised already.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms.normalisation import with_normalisation
        >>> cell = with_normalisation(anyrnn.get("lstm"))
        >>> for stored in cell.parameters[3:]:
        ...     print(stored.name, cell.initial[stored.name], *stored.members)
        input_gain 1.0 input_gain.i input_gain.f input_gain.g input_gain.o
        recurrent_gain 1.0 recurrent_gain.i recurrent_gain.f recurrent_gain.g recurrent_gain.o
        state_gain 1.0 state_gain.c
        state_bias 0.0 state_bias.c
    """
    if kind not in KINDS:
        raise CellError(f"norm={kind!r}; expected {' or '.join(map(repr, KINDS))}")
    epsilon = check_bound("epsilon", epsilon)
    families = {leaf.name.split(".")[0] for leaf in cell.members}
    for name in INITIAL:
        if name in families:
            raise CellError(f"cell '{cell.name}' has parameters called {name} already")
    return _normalised(cell, kind, epsilon)


def _norm(value: Node, kind: str, epsilon: float) -> Node:
    """The normalised value, before gain and bias."""
    if kind == "layer":
        value = value - make("mean", value)
    return value / make("sqrt", make("mean", value * value) + epsilon)


def _vector(name: str, like: Node) -> Node:
    return make("parameter", name=name, type=Type(like.type.shape, per_row=False))


class _Gains:
    """The new parameters: one gain for each sum of products with the same matrices."""

    def __init__(self, cell: Cell) -> None:
        self.places = {leaf: place for place, leaf in enumerate(cell.members)}
        self.by_matrices: dict[tuple[Role, tuple[Node, ...]], Node] = {}
        self.of_states: list[Node] = []

    def gain(self, role: Role, products: Iterable[Node]) -> Node:
        """The gain of a sum, called as the member of its first matrix."""
        products = list(products)
        key = role, tuple(product.arguments[0] for product in products)
        if key not in self.by_matrices:
            name = matrix_leaf(key[1][0]).name
            family, _, member = name.partition(".")
            taken = {leaf.name for leaf in self.by_matrices.values()}
            own = member or family
            more = (f"{own}_{number}" for number in count(2))
            names = (f"{GAINS[role]}.{n}" for n in chain((own, name.replace(".", "_")), more))
            free = next(n for n in names if n not in taken)
            self.by_matrices[key] = _vector(free, products[0])
        return self.by_matrices[key]

    def parameters(self) -> list[Node]:
        """All new parameters; gains are in the order of their matrices."""
        order = sorted(
            self.by_matrices.items(),
            key=lambda item: (item[0][0], self.places[matrix_leaf(item[0][1][0])]),
        )
        return [*(leaf for _, leaf in order), *self.of_states]


@lru_cache(maxsize=256)
def _normalised(cell: Cell, kind: str, epsilon: float) -> Cell:
    graph = cell.graph
    reached = activated(graph, cell.states)  # by what has the role INPUT or RECURRENT only
    found = {node: r for node, r in roles(graph, cell.states).items() if node in reached}
    if not found:
        raise CellError(
            f"cell '{cell.name}' has nothing to normalise: no activation follows a product"
        )
    uses = uses_of(graph)
    sums = _sums(graph)
    alone = _alone(graph)
    output = set(topological([graph.outputs[cell.output]]))
    carried = {
        graph.outputs[name]: name
        for name in cell.states
        if graph.outputs[name] is not graph.outputs[cell.output] and not graph.outputs[name].is_leaf
    }
    gains = _Gains(cell)
    plain: dict[Node, Node] = {}
    new: dict[Node, Node] = {}

    def part_of(role: Role, terms: list[tuple[int, Node]]) -> tuple[int, Node]:
        sign = terms[0][0]
        total = total_of([(sign * own, plain[product]) for own, product in terms])
        gain = gains.gain(role, (product for _, product in terms))
        return sign, gain * _norm(total, kind, epsilon)

    def sum_of(node: Node) -> Node:
        terms = addends(node, 1, uses, True)
        result: dict[object, tuple[int, Node]] = {}
        for place, (sign, term) in enumerate(terms):
            role = found.get(term)
            if role is None:
                result[place] = sign, new[term]
            elif role not in result:
                result[role] = part_of(role, [own for own in terms if found.get(own[1]) == role])
        return total_of(list(result.values()))

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        same = plain[node] = rebuilt(node, arguments)
        if node in found and node in alone:
            same = part_of(found[node], [(1, node)])[1]
        elif node in sums and any(term in found for _, term in addends(node, 1, uses, True)):
            same = sum_of(node)
        elif node.traits.activation and node in output and node.arguments[0] in carried:
            (state,) = arguments
            name = carried[node.arguments[0]]
            gain, bias = (_vector(f"state_{own}.{name}", state) for own in ("gain", "bias"))
            gains.of_states += [leaf for leaf in (gain, bias) if leaf not in gains.of_states]
            same = make(node.operation, gain * _norm(state, kind, epsilon) + bias)
        new[node] = same
        return same

    result = rewrite(graph, rule)
    parameters = [*cell.members, *gains.parameters()]
    return cell.with_graph(
        result, with_normalisation, kind, epsilon, parameters=parameters, initial=INITIAL
    )


def _sums(graph: Graph) -> set[Node]:
    """The outermost sums; a sum with several uses is one."""
    uses = uses_of(graph)
    sums = {node for node in uses if node.traits.signs}
    inner = {argument for node in sums for argument in node.arguments if uses[argument] == 1}
    return sums - inner


def _alone(graph: Graph) -> set[Node]:
    """The nodes that something other than a sum uses."""
    nodes = graph.nodes()
    users = [node for node in nodes if not node.traits.signs]
    return {argument for node in users for argument in node.arguments} | set(graph.outputs.values())
