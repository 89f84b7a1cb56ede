"""Structured recurrent matrices: block-diagonal (heads), or diagonal (independent units)."""

from __future__ import annotations

from functools import lru_cache
from operator import matmul

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, make, rebuilt, resized, rewrite
from anyrnn.graph.operations import Type
from anyrnn.graph.roles import Role, matrix_leaf, roles
from anyrnn.graph.sizes import Atom, Size, as_whole


def _square_matrices(cell: Cell, what: str) -> tuple[list[Node], set[Node]]:
    """The matrices of products with the role `RECURRENT`, and these products."""
    found = roles(cell.graph, cell.states)
    products = dict.fromkeys(node for node, role in found.items() if role is Role.RECURRENT)
    used = dict.fromkeys(product.arguments[0] for product in products)
    if not used:
        raise CellError(f"cell '{cell.name}' cannot have {what}: it has no recurrent matrix")
    for matrix in used:
        if matrix.operation != "parameter":
            raise CellError(
                f"cell '{cell.name}' cannot have {what}: a recurrent matrix is made of "
                f"{matrix_leaf(matrix).name}, and is no parameter itself"
            )
    matrices = [leaf for leaf in cell.members if leaf in used]
    for matrix in matrices:
        rows, columns = matrix.type.shape
        if rows != columns:
            raise CellError(
                f"cell '{cell.name}' cannot have {what}: the recurrent matrix {matrix.name} is "
                f"{rows} x {columns}, not square"
            )
    for node in cell.graph.nodes():
        for argument in node.arguments:
            if argument in matrices and node not in products:
                raise CellError(
                    f"cell '{cell.name}' cannot have {what}: {argument.name} is not only "
                    "multiplied with what depends on a state"
                )
    return matrices, set(products)


@lru_cache(maxsize=256)
def with_independent_units(cell: Cell) -> Cell:
    """The cell with a vector in the place of each recurrent matrix: a unit sees itself only (Li et
    al. 2018, arXiv 1803.04831, for the simple recurrent network).

    U h becomes u * h, element by element.

    Args:
        cell: A cell.

    Returns:
        The cell; the parameters that were recurrent matrices are vectors of the same names.

    Raises:
        CellError: A recurrent matrix is not square, or no parameter by itself, or there is none.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.heads import with_independent_units
        >>> print(equations(with_independent_units(anyrnn.get("rnn")).graph))
        h' = tanh(W @ x + U * h + b)
    """
    matrices, products = _square_matrices(cell, "independent units")
    vectors = {
        matrix: make("parameter", name=matrix.name, type=Type(matrix.type.shape[:1], per_row=False))
        for matrix in matrices
    }

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node in products:
            return vectors[node.arguments[0]] * arguments[1]
        return rebuilt(node, arguments)

    parameters = [vectors.get(leaf, leaf) for leaf in cell.members]
    graph = rewrite(cell.graph, rule)
    return cell.with_graph(graph, with_independent_units, parameters=parameters)


def with_heads(cell: Cell, heads: int) -> Cell:
    """The cell with block-diagonal recurrent matrices: a unit sees the units of its own head only.

    U h becomes [U_0 h_0, U_1 h_1, ...], where h_k is the k-th part of h, and U_k a matrix of that
    size. The members of a family are its blocks, those of the first head of all gates before those
    of the second: U.i_0, U.f_0, ..., U.i_1, ... So the stored U of an LSTM is (4 hidden) x (hidden
    / heads).

    Args:
        cell: A cell.
        heads: The number of blocks, which has to divide the size of the state.

    Returns:
        The cell; `hidden` is a multiple of a new size `hidden_head`, which follows from it.

    Raises:
        CellError: The number is no whole number above zero; a recurrent matrix is not square, or no
            parameter by itself, or there is none.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.heads import with_heads
        >>> cell = with_heads(anyrnn.get("rnn"), 2)
        >>> print(equations(cell.graph))
        h' = tanh(W @ x + concatenate(U.0 @ h[0:hidden_head], \
U.1 @ h[hidden_head:2 hidden_head]) + b)
        >>> cell.bind_sizes(input=3, hidden=8)
        {'input': 3, 'hidden': 8, 'hidden_head': 4}
    """
    number = as_whole(heads)
    if number is None or number < 1:
        raise CellError(f"heads={heads!r}; expected a whole number of at least 1")
    return cell if number == 1 else _with_heads(cell, number)


@lru_cache(maxsize=256)
def _with_heads(cell: Cell, heads: int) -> Cell:
    matrices, products = _square_matrices(cell, "heads")
    parts_of: dict[Atom, Size] = {}
    for matrix in matrices:
        size = matrix.type.shape[0]
        if str(size) not in cell.free_sizes:
            raise CellError(
                f"cell '{cell.name}' cannot have heads: {matrix.name} is {size} x {size}; its size "
                "has to be one that is chosen"
            )
        parts_of[str(size)] = Size.of(f"{size}_head").scaled(heads)
    blocks = {matrix: _blocks(matrix, heads) for matrix in matrices}

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node in products:
            own, vector = blocks[node.arguments[0]], arguments[1]
            size = own[0].type.shape[0]
            cuts = [
                make("slice", vector, start=size.scaled(k), stop=size.scaled(k + 1))
                for k in range(heads)
            ]
            return make("concatenate", *map(matmul, own, cuts))
        return resized(node, arguments, parts_of)

    graph = rewrite(cell.graph, rule)
    new = {leaf.name: leaf for leaf in graph.leaves("parameter")}
    first = [blocks[leaf][0] if leaf in blocks else new[leaf.name] for leaf in cell.members]
    others = [own[k] for k in range(1, heads) for own in blocks.values()]
    return cell.with_graph(
        graph,
        with_heads,
        heads,
        parameters=[*first, *others],
        sizes={name: size.substitute(parts_of) for name, size in cell.sizes.items()}
        | {f"{name}_head": Size.of(f"{name}_head") for name in parts_of},
        reasons={str(name): f"heads={heads}" for name in parts_of},
    )


def _blocks(matrix: Node, heads: int) -> list[Node]:
    """The diagonal blocks of a matrix, as parameters."""
    size = Size.of(f"{matrix.type.shape[0]}_head")
    separator = "_" if "." in matrix.name else "."
    type_ = Type((size, size), per_row=False)
    return [
        make("parameter", name=f"{matrix.name}{separator}{k}", type=type_) for k in range(heads)
    ]
