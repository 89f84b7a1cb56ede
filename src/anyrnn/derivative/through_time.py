"""Backpropagation through time with the interpreter: the definition that kernels are compared
with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from anyrnn.derivative.reverse import derivative
from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import DRAW, Array, drawing, evaluate
from anyrnn.graph.keys import Cotangent, Gradient
from anyrnn.graph.nodes import Graph
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.unroll import as_type, interpret, sizes_of


@dataclass(frozen=True)
class Gradients:
    """The gradients of a number with respect to what a sequence was computed from.

    Attributes:
        x: (time, batch, input).
        states: Of the initial states, each (batch, size).
        parameters: Of the stored parameters, by name.
    """

    x: Array
    states: tuple[Array, ...]
    parameters: dict[str, Array]


@lru_cache(maxsize=256)
def _derivative(cell: Cell) -> Graph:
    """The derivative of a cell's step; making it takes longer than a few steps."""
    return derivative(cell.graph)


def gradients(
    cell: Cell,
    x: Array,
    states: Sequence[Array] | None = None,
    *,
    parameters: Mapping[str, Array],
    output_gradient: Array | None = None,
    state_gradients: Sequence[Array] | None = None,
    seed: int | None = None,
) -> Gradients:
    """Backpropagation through time with the cell's derivative graph.

    Args:
        cell: The cell.
        x: The input, (time, batch, input).
        states: The initial states, each (batch, size); zeros if not given.
        parameters: The stored parameters by name.
        output_gradient: The gradient with respect to the output, (time, batch, output size); zeros
            if not given.
        state_gradients: The gradients with respect to the last states; zeros if not given.
        seed: What the random numbers of a cell that draws some follow from.

    Returns:
        The gradients of the input, the initial states and the parameters.

    Raises:
        CellError: It is no cell.
        InputError: Shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> import anyrnn
        >>> rnn, x = anyrnn.get("rnn"), np.zeros((4, 1, 2))
        >>> weights = {"W": np.eye(2), "U": np.zeros((2, 2)), "b": np.zeros(2)}
        >>> anyrnn.gradients(rnn, x, parameters=weights, output_gradient=x + 1).parameters["b"]
        array([4., 4.])
    """
    forward = interpret(cell, x, states, parameters=parameters, seed=seed)
    x = np.asarray(x)
    parameters = as_type(parameters, x.dtype)
    sizes = sizes_of(cell, x.shape[-1], states, parameters)
    leaves: dict[str, Any] = split_parameters(cell, parameters, sizes)
    reverse = _derivative(cell)
    if output_gradient is None:
        output_gradient = np.zeros_like(forward.output)
    if np.shape(output_gradient) != forward.output.shape:
        raise InputError(
            f"the output's gradient is {np.shape(output_gradient)}; expected {forward.output.shape}"
        )
    if state_gradients is None:
        state_gradients = [np.zeros_like(state) for state in forward.states]
    carried = [np.array(gradient, x.dtype) for gradient in state_gradients]
    wanted = [state.shape for state in forward.states]
    if [gradient.shape for gradient in carried] != wanted:
        given = ", ".join(str(gradient.shape) for gradient in carried)
        raise InputError(
            f"the gradients of the states are {given}; expected {', '.join(map(str, wanted))}"
        )
    x_gradient = np.zeros_like(x)
    totals = {name: np.zeros_like(leaf) for name, leaf in leaves.items()}
    for time in reversed(range(len(x))):
        values: dict[Any, Any] = {**leaves, cell.input: x[time]}
        values[DRAW] = drawing(seed, time, x.shape[1], sizes)
        values |= {name: h[time] for name, h in zip(cell.states, forward.history, strict=True)}
        values |= {Cotangent(n): d for n, d in zip(cell.states, carried, strict=True)}
        output = Cotangent(cell.output)
        values[output] = values.get(output, 0) + output_gradient[time]
        found = evaluate(reverse.outputs.values(), values, sizes, x.dtype)
        parts = {name: found[node] for name, node in reverse.outputs.items()}
        carried = [
            parts.get(Gradient(name), 0) + np.zeros_like(d)
            for name, d in zip(cell.states, carried, strict=True)
        ]
        x_gradient[time] = parts.get(Gradient(cell.input), 0)
        for name in totals:
            totals[name] = totals[name] + parts.get(Gradient(name), 0)
    stored = {
        parameter.name: np.concatenate([np.atleast_1d(totals[name]) for name in parameter.members])
        for parameter in cell.parameters
    }
    return Gradients(x_gradient, tuple(carried), stored)
