"""Projection of the first state to a smaller size."""

from __future__ import annotations

from functools import lru_cache

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, make, rebuilt, rewrite
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Size

PROJECTION = Size.of("projection")
MATRIX, UNPROJECTED = "P", "unprojected"


@lru_cache(maxsize=256)
def with_projection(cell: Cell) -> Cell:
    """The cell with a smaller first state, h' = P h_new (Sak, Senior & Beaufays 2014, arXiv
    1402.1128).

    It is the `proj_size` of torch.nn.LSTM, for any cell.

    The matrices that multiply the first state take the projected one. What uses it otherwise, such
    as z * h of a GRU, takes the unprojected one, which is then carried as a further state,
    `unprojected`, the last one.

    Args:
        cell: A cell.

    Returns:
        The cell, with the parameter `P` and the size `projection`, which has to be smaller than the
        size of the state.

    Raises:
        CellError: No matrix multiplies the first state itself, or the cell has a projection
            already.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms.projection import with_projection
        >>> cell = with_projection(anyrnn.get("lstm"))
        >>> for stored in cell.parameters:
        ...     print(stored.name, *stored.shape)
        W 4 hidden input
        U 4 hidden projection
        b 4 hidden
        P projection hidden
        >>> with_projection(anyrnn.get("gru")).states
        ('h', 'unprojected')
    """
    first = cell.states[0]
    if "projection" in cell.sizes:
        raise CellError(f"cell '{cell.name}' has a projection already; give projection_size")
    families = {leaf.name.split(".")[0] for leaf in cell.members}
    for name, known in ((MATRIX, families), (UNPROJECTED, cell.states)):
        if name in known:
            raise CellError(f"cell '{cell.name}' has '{name}' already; it cannot be projected")
    state = next((leaf for leaf in cell.graph.leaves("state") if leaf.name == first), None)
    matrices = _matrices(cell.graph, state) if state is not None else {}
    if state is None or not matrices:
        raise CellError(
            f"cell '{cell.name}' cannot be projected: no matrix multiplies its state {first} itself"
        )
    (size,) = state.type.shape
    projected = make("state", name=first, type=Type((PROJECTION,), per_row=True))
    whole = make("state", name=UNPROJECTED, type=state.type)

    new: dict[Node, Node] = {}

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        new[node] = whole if node is state else rebuilt(node, arguments)
        if node.operation == "product" and node.arguments[0] in matrices:
            parts = [projected if part is state else new[part] for part in _joined(node)]
            vector = make("concatenate", *parts) if len(parts) > 1 else parts[0]
            new[node] = matrices[node.arguments[0]] @ vector
        return new[node]

    graph = rewrite(cell.graph, rule)
    matrix = make("parameter", name=MATRIX, type=Type((PROJECTION, size), per_row=False))
    outputs = dict(graph.outputs)
    unprojected = outputs[first]
    outputs[first] = matrix @ unprojected
    states = cell.states
    if whole in Graph(outputs).leaves("state"):
        outputs[UNPROJECTED], states = unprojected, (*states, UNPROJECTED)
    names = {node: name for node, name in graph.names.items() if node is not whole}
    return cell.with_graph(
        Graph(outputs, names),
        with_projection,
        parameters=[*(matrices.get(leaf, leaf) for leaf in cell.members), matrix],
        states=states,
        sizes={"projection": PROJECTION},
        smaller={"projection": size},
    )


def _joined(product: Node) -> tuple[Node, ...]:
    """The parts of the vector that a matrix multiplies: [h, x] has two."""
    vector = product.arguments[1]
    return vector.arguments if vector.operation == "concatenate" else (vector,)


def _matrices(graph: Graph, state: Node) -> dict[Node, Node]:
    """The matrices that are only used on a state itself, or joined to others: with the columns that
    they have on the projected one.
    """
    found: dict[Node, Node] = {}
    others: set[Node] = set()
    for node in graph.nodes():
        for argument in node.arguments:
            times = _joined(node).count(state) if node.operation == "product" else 0
            if argument.operation != "parameter" or not times:
                others.add(argument)
                continue
            rows, columns = argument.type.shape
            columns = columns + (PROJECTION - state.type.shape[0]).scaled(times)
            type_ = Type((rows, columns), per_row=False)
            changed = make("parameter", name=argument.name, type=type_)
            if found.setdefault(argument, changed) is not changed:
                others.add(argument)
    return {matrix: changed for matrix, changed in found.items() if matrix not in others}
