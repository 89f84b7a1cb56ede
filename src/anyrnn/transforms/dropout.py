"""Dropout and zoneout inside a cell, for training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, make, rebuilt, rewrite, where
from anyrnn.graph.roles import Role, roles
from anyrnn.transforms.option_values import by_state, check_rate


def next_stream(cell: Cell) -> int:
    """The first stream of random numbers that a cell does not use."""
    used = [node.attributes["stream"] for node in cell.graph.nodes() if node.operation == "random"]
    return max(used, default=-1) + 1


def with_recurrent_dropout(cell: Cell, rate: float, per_gate: bool = False) -> Cell:
    """The cell in training with dropout on what its recurrent matrices multiply
    (`anyrnn.graph.roles`); a projection and an output layer are left as they are.

    Each sequence draws one mask, for all its steps (Gal & Ghahramani 2016; `recurrent_dropout` of
    Keras): U @ h becomes U @ (m * h), where m is 0 with the probability `rate`, and otherwise
    1 / (1 - rate). Without dropout, after training, the cell is the one given.

    Args:
        cell: A cell.
        rate: The probability of dropping a unit.
        per_gate: Whether each product has a mask of its own; if not, vectors of one size share it.

    Returns:
        The cell, which draws random numbers; its parameters are the same.

    Raises:
        CellError: The rate is no probability below 1, or the cell has no recurrent matrix.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.dropout import with_recurrent_dropout
        >>> print(equations(with_recurrent_dropout(anyrnn.get("rnn"), 0.5).graph))
        h' = tanh(W @ x + U @ (where(random(0) >= 0.5, 2, 0) * h) + b)
    """
    number = check_rate("recurrent_dropout", rate)
    return _dropout(cell, "recurrent_dropout", number, per_gate) if number else cell


def with_input_dropout(cell: Cell, rate: float, per_gate: bool = False) -> Cell:
    """The cell in training with dropout on its input, where matrices multiply it.

    Each sequence draws one mask, for all its steps (`dropout` of Keras' cells): W @ x becomes
    W @ (m * x), where m is 0 with the probability `rate`, and otherwise 1 / (1 - rate).

    Args:
        cell: A cell.
        rate: The probability of dropping a feature.
        per_gate: Whether each product has a mask of its own.

    Returns:
        The cell, which draws random numbers; its parameters are the same.

    Raises:
        CellError: The rate is no probability below 1, or no matrix multiplies the input alone.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.dropout import with_input_dropout
        >>> print(equations(with_input_dropout(anyrnn.get("rnn"), 0.5).graph))
        h' = tanh(W @ (where(random(0) >= 0.5, 2, 0) * x) + U @ h + b)
    """
    number = check_rate("input_dropout", rate)
    return _dropout(cell, "input_dropout", number, per_gate) if number else cell


@lru_cache(maxsize=256)
def _dropout(cell: Cell, option: str, rate: float, per_gate: bool) -> Cell:
    found = roles(cell.graph, cell.states).items()
    if option == "input_dropout":
        dropped = {node for node, _ in found if node.arguments[1].operation == "input"}
        what, remake = "multiplies no input with a matrix", with_input_dropout
    else:
        dropped = {node for node, role in found if role is Role.RECURRENT}
        what, remake = "has no recurrent matrix", with_recurrent_dropout
    if not dropped:
        raise CellError(f"{option}={rate}: cell '{cell.name}' {what}")
    first = next_stream(cell)
    streams: dict[object, int] = {}

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node not in dropped:
            return rebuilt(node, arguments)
        matrix, vector = arguments
        key = node if per_gate else vector.type
        stream = first + streams.setdefault(key, len(streams))
        drawn = make("random", stream=stream, every_step=False, type=vector.type)
        return matrix @ (where(drawn >= rate, 1 / (1 - rate), 0) * vector)

    graph = rewrite(cell.graph, rule)
    return cell.with_graph(graph, remake, rate, per_gate)


def with_zoneout(cell: Cell, rate: float | Mapping[str, float], expected: bool = False) -> Cell:
    """The cell with zoneout: a unit of a state keeps its old value with a probability.

    In training each unit of each row decides anew at every step: h'' = h where a random number is
    below the rate, and h' otherwise. After training the expectation is taken,
    h'' = rate * h + (1 - rate) * h' (Krueger et al. 2017). What else of a step reads a new state
    reads the one without zoneout, as in the paper's LSTM.

    Args:
        cell: A cell.
        rate: The probability of keeping, for all states, or for some by name.
        expected: Whether to take the expectation.

    Returns:
        The cell; its parameters are the same.

    Raises:
        CellError: A rate is no probability below 1, or no state has that name.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.dropout import with_zoneout
        >>> print(equations(with_zoneout(anyrnn.get("rnn"), 0.25).graph))
        h1 = tanh(W @ x + U @ h + b)
        h' = where(random(0) >= 0.25, h1, h)
        >>> print(equations(with_zoneout(anyrnn.get("rnn"), 0.25, expected=True).graph))
        h1 = tanh(W @ x + U @ h + b)
        h' = 0.25 * h + 0.75 * h1
    """
    rates = by_state(cell, "zoneout", rate, check_rate)
    chosen = tuple((name, number) for name, number in rates.items() if number)
    return _zoneout(cell, chosen, expected) if chosen else cell


@lru_cache(maxsize=256)
def _zoneout(cell: Cell, rates: tuple[tuple[str, float], ...], expected: bool) -> Cell:
    leaves = {leaf.name: leaf for leaf in cell.graph.leaves("state")}
    outputs, first = dict(cell.graph.outputs), next_stream(cell)
    for number, (name, rate) in enumerate(rates):
        new = outputs[name]
        old = leaves.get(name) or make("state", name=name, type=new.type)
        if expected:
            outputs[name] = rate * old + (1 - rate) * new
        else:
            drawn = make("random", stream=first + number, every_step=True, type=new.type)
            outputs[name] = where(drawn >= rate, new, old)
    graph = Graph(outputs, cell.graph.names)
    return cell.with_graph(graph, with_zoneout, dict(rates), expected)
