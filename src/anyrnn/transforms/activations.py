"""A cell with other activation functions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, make, rebuilt, rewrite
from anyrnn.graph.operations import OPERATIONS

ACTIVATIONS = tuple(name for name, row in OPERATIONS.items() if row.activation)


def with_activations(cell: Cell, activations: Mapping[str, str]) -> Cell:
    """The cell with other functions in the place of some of its own, all at once.

    Args:
        cell: A cell.
        activations: The new function for each one that is replaced, both from `ACTIVATIONS`.

    Returns:
        The cell; its parameters are the same.

    Raises:
        CellError: A function is unknown, or the cell does not use the one to replace.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.activations import with_activations
        >>> print(equations(with_activations(anyrnn.get("rnn"), {"tanh": "softplus"}).graph))
        h' = softplus(W @ x + U @ h + b)
    """
    if not isinstance(activations, Mapping):
        raise CellError(f"activations={activations!r}; expected names, as in {{'tanh': 'relu'}}")
    for name in [*activations, *activations.values()]:
        if name not in ACTIVATIONS:
            near = difflib.get_close_matches(str(name), ACTIVATIONS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ACTIVATIONS)}"
            raise CellError(f"activations={dict(activations)}: '{name}' is not known; {hint}")
    return _replaced(cell, tuple(activations.items())) if activations else cell


@lru_cache(maxsize=256)
def _replaced(cell: Cell, pairs: tuple[tuple[str, str], ...]) -> Cell:
    new = dict(pairs)
    operations = {node.operation for node in cell.graph.nodes()}
    used = [name for name in ACTIVATIONS if name in operations]
    for name in new:
        if name not in used:
            raise CellError(
                f"activations={new}: cell '{cell.name}' does not use {name}; "
                f"it uses: {', '.join(used) or 'none'}"
            )

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation in new:
            return make(new[node.operation], *arguments)
        return rebuilt(node, arguments)

    return cell.with_graph(rewrite(cell.graph, rule), with_activations, new)
