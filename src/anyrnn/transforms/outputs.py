"""Further outputs: all states of a cell, or every value that its equations name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, constant, make
from anyrnn.graph.sizes import Size


def states(cell: Cell) -> dict[str, Node]:
    """The results of a step by name: the output first, then the states besides it."""
    outputs = cell.graph.outputs
    return {cell.output: outputs[cell.output], **outputs}


def values(cell: Cell) -> dict[str, Node]:
    """The results of a step, as `states` has them, and the values that its equations name.

    Where a name stands for several values one after the other, it is the last one. A single number
    is a vector of size 1; a comparison is 1 where it holds and 0 elsewhere. Matrices are left out.
    """
    found = states(cell)
    row = cell.graph.outputs[cell.output]
    results = {*found, cell.input}
    for node, name in cell.graph.names.items():
        if name in results or node.is_leaf or len(node.type.shape) > 1:
            continue
        if node.type.boolean:
            node = make("where", node, constant(1), constant(0))
        if not node.type.shape:
            repeated = make("expand", node, row)
            node = make("slice", repeated, start=Size.of(0), stop=Size.of(1))
        found[name] = node
    return found


def sizes(named: Mapping[str, Node], numbers: Mapping[str, int]) -> dict[str, int]:
    """The size of each value, for the named sizes as numbers."""
    return {name: node.type.shape[0].evaluate(numbers) for name, node in named.items()}


def _together(cell: Cell, named: Mapping[str, Node]) -> Graph:
    new = {name: cell.graph.outputs[name] for name in cell.states}
    return Graph({"output": make("concatenate", *named.values()), **new}, cell.graph.names)


@lru_cache(maxsize=256)
def with_states_as_output(cell: Cell) -> Cell:
    """The cell with its output and all its states, one after the other, as its output.

    Args:
        cell: A cell.

    Returns:
        The cell; `states` says what the output holds. A cell whose output is its only state is
        returned as it is.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms.outputs import with_states_as_output
        >>> with_states_as_output(anyrnn.get("lstm")).output_size
        2 hidden
    """
    named = states(cell)
    if len(named) == 1:
        return cell
    return cell.with_graph(_together(cell, named), with_states_as_output, output="output")


@lru_cache(maxsize=256)
def with_values_as_output(cell: Cell) -> Cell:
    """The cell with every value that its equations name, one after the other, as its output.

    Args:
        cell: A cell.

    Returns:
        The cell; `values` says what the output holds.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms.outputs import values, with_values_as_output
        >>> lstm = anyrnn.get("lstm")
        >>> list(values(lstm)), with_values_as_output(lstm).output_size
        (['h', 'c', 'i', 'f', 'g', 'o'], 6 hidden)
    """
    return cell.with_graph(_together(cell, values(cell)), with_values_as_output, output="output")
