"""The order in which Keras stacks gates, and our cells with their parameters in that order."""

from __future__ import annotations

from functools import lru_cache

from anyrnn.cells.catalogue import get
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node
from anyrnn.transforms.bias import with_two_biases, without_bias

GATES: dict[str, tuple[str, ...]] = {
    "rnn": (),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("z", "r", "n"),
    "gru_reset_before": ("z", "r", "n"),
}
"""The gates of Keras' cells in the order in which its arrays stack them, in the letters of ours."""


@lru_cache(maxsize=64)
def stacked(cell: Cell, gates: str) -> Cell:
    """A cell whose families are stacked in another order.

    Args:
        cell: A cell.
        gates: The letters of the members of each family in order; none where a family has one.

    Returns:
        The cell; its equations are the same.

    Example:
        >>> import anyrnn
        >>> from anyrnn.keras.gate_order import stacked
        >>> stacked(anyrnn.get("gru_reset_before"), "zrn").parameters[0].members
        ('W.z', 'W.r', 'W.n')
    """

    def place(node: Node) -> tuple[int, int]:
        family, _, member = node.name.partition(".")
        return families.index(family), gates.index(member)

    families = list(dict.fromkeys(node.name.split(".")[0] for node in cell.members))
    members = sorted(cell.members, key=place) if gates else cell.members
    return cell.with_graph(cell.graph, stacked, gates, parameters=tuple(members))


@lru_cache(maxsize=16)
def keras_cell(name: str, use_bias: bool = True) -> Cell:
    """One of the cells that Keras has, its parameters laid out as Keras' arrays, transposed.

    Args:
        name: A name of `GATES`.
        use_bias: Whether it has biases; `gru` then has two of each, b with the input and d with
            the state.

    Returns:
        The cell.

    Example:
        >>> from anyrnn.keras.gate_order import keras_cell
        >>> keras_cell("gru").parameters[3].members
        ('d.z', 'd.r', 'd.n')
    """
    cell = get(name)
    if not use_bias:
        cell = without_bias(cell)
    elif name == "gru":
        cell = with_two_biases(cell)
    return stacked(cell, "".join(GATES[name]))
