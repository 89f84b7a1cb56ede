"""Clipping of states, and of the gradient through time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, constant, limited, make, rebuilt, rewrite
from anyrnn.transforms.option_values import by_state, check_bound


def with_clipped_state(cell: Cell, bound: float | Mapping[str, float]) -> Cell:
    """The cell with new states between -bound and bound.

    Whatever else of a step reads a new state reads the limited one, as in the `cell_clip` of
    TensorFlow's LSTM: c' = clip(f c + i g), h' = o tanh(c'). The derivative is that of torch.clamp:
    zero where the value is outside.

    Args:
        cell: A cell.
        bound: The bound of all states, or of some by name.

    Returns:
        The cell; its parameters are the same.

    Raises:
        CellError: A bound is no number above zero, or no state has that name.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.clip import with_clipped_state
        >>> print(equations(with_clipped_state(anyrnn.get("rnn"), 0.5).graph))
        t1 = tanh(W @ x + U @ h + b)
        h' = where(t1 > 0.5, 0.5, where(-0.5 > t1, -0.5, t1))
    """
    bounds = by_state(cell, "clip_state", bound, check_bound)
    return _clipped_state(cell, tuple(bounds.items())) if bounds else cell


@lru_cache(maxsize=256)
def _clipped_state(cell: Cell, pairs: tuple[tuple[str, float], ...]) -> Cell:
    bounds = dict(pairs)
    wanted: dict[Node, set[float | None]] = {}
    for name in cell.states:
        wanted.setdefault(cell.graph.outputs[name], set()).add(bounds.get(name))

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        new = rebuilt(node, arguments)
        if len(wanted.get(node, ())) == 1 and not node.is_leaf:
            (bound,) = wanted[node]
            return new if bound is None else limited(new, constant(bound))
        return new

    graph = rewrite(cell.graph, rule)
    outputs = dict(graph.outputs)
    for name, bound in pairs:  # a leaf, or one value for states of different bounds
        node = cell.graph.outputs[name]
        if len(wanted[node]) > 1 or node.is_leaf:
            outputs[name] = limited(outputs[name], constant(bound))
    return cell.with_graph(Graph(outputs, graph.names), with_clipped_state, bounds)


def with_clipped_gradient(cell: Cell, bound: float) -> Cell:
    """The cell with the gradient limited that flows back through time.

    In backpropagation through time the gradient with respect to each state before a step is limited
    to +-bound, element by element, before it reaches the step before. The values are those of the
    cell. The gradient of the initial state is limited too; those of parameters and input are not.
    The second derivative is zero where the gradient is limited.

    Args:
        cell: A cell.
        bound: The bound.

    Returns:
        The cell; its parameters are the same.

    Raises:
        CellError: The bound is no number above zero.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.clip import with_clipped_gradient
        >>> print(equations(with_clipped_gradient(anyrnn.get("rnn"), 1).graph))
        h1 = clip_gradient(h, 1)
        h' = tanh(W @ x + U @ h1 + b)
    """
    return _clipped_gradient(cell, check_bound("clip_gradient", bound))


@lru_cache(maxsize=256)
def _clipped_gradient(cell: Cell, bound: float) -> Cell:
    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation == "state":
            return make("clip_gradient", node, constant(bound))
        return rebuilt(node, arguments)

    return cell.with_graph(rewrite(cell.graph, rule), with_clipped_gradient, bound)
