"""A cell without its biases, or with two of each."""

from __future__ import annotations

from functools import lru_cache

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, constant, make, rebuilt, rewrite


def biases(graph: Graph) -> list[Node]:
    """The vectors among the parameters that are only ever added or subtracted."""
    added: dict[Node, bool] = {
        leaf: leaf not in graph.outputs.values()
        for leaf in graph.leaves("parameter")
        if len(leaf.type.shape) == 1
    }
    for node in graph.nodes():
        for argument in node.arguments:
            if argument in added and not node.traits.signs:
                added[argument] = False
    return [leaf for leaf, only_added in added.items() if only_added]


@lru_cache(maxsize=256)
def without_bias(cell: Cell) -> Cell:
    """The cell with zero in the place of every bias, as `bias=False` of torch.nn has it.

    Args:
        cell: A cell.

    Returns:
        The cell without the vectors that are only added; peepholes and other vectors stay.

    Raises:
        CellError: Nothing but a bias says how long one of the vectors is.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms.bias import without_bias
        >>> [parameter.name for parameter in without_bias(anyrnn.get("lstm_peephole")).parameters]
        ['W', 'U', 'p']
    """
    removed = set(biases(cell.graph))
    zero = constant(0)
    leaves = [*cell.graph.leaves("input"), *cell.graph.leaves("state")]
    like = {leaf.type.shape: leaf for leaf in leaves}

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node in removed:
            return zero
        result = rebuilt(node, arguments)
        if result.type.shape == node.type.shape:
            return result
        if node.type.shape not in like:  # the sum of a number and a bias is as long as the bias
            raise CellError(
                f"cell '{cell.name}' cannot do without bias: a size follows from a bias only"
            )
        return make("expand", result, like[node.type.shape])

    graph = rewrite(cell.graph, rule)
    names = {node: name for node, name in graph.names.items() if node is not zero}
    return cell.with_graph(Graph(graph.outputs, names), without_bias)


@lru_cache(maxsize=256)
def with_two_biases(cell: Cell) -> Cell:
    """The cell with a second bias d beside each bias b, as torch.nn has it.

    Args:
        cell: A cell whose biases are the family b, and d where one of its own is used already.

    Returns:
        The cell; its families b and d have the same members in the same order.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms.bias import with_two_biases
        >>> [parameter.name for parameter in with_two_biases(anyrnn.get("lstm")).parameters]
        ['W', 'U', 'b', 'd']
    """
    leaves = {leaf.name: leaf for leaf in cell.graph.leaves("parameter")}
    twins: dict[Node, Node] = {}
    for stored in cell.parameters:
        if stored.name == "b":
            for name in stored.members:
                twin = "d" + name.removeprefix("b")
                twins[leaves[name]] = make("parameter", name=twin, type=leaves[name].type)

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        twin = twins.get(node)
        if twin is not None and twin.name not in leaves:
            return node + twin
        return rebuilt(node, arguments)

    graph = rewrite(cell.graph, rule)
    last = dict.fromkeys(twins.values())
    parameters = [*(node for node in cell.members if node not in last), *last]
    return cell.with_graph(graph, with_two_biases, parameters=parameters)
