"""A cell unrolled over a sequence with the interpreter: the definition that every other way to run
a cell is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyrnn.errors import CellError, InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import DRAW, Array, drawing, evaluate
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.sizes import Size, SizeVariable, Unifier


def as_type(arrays: Mapping[str, Array], dtype: np.dtype[Any]) -> dict[str, Array]:
    """The arrays in another floating-point type."""
    return {name: np.asarray(array, dtype) for name, array in arrays.items()}


def sizes_of(
    cell: Cell, input_size: int, states: Sequence[Array] | None, parameters: Mapping[str, Array]
) -> dict[str, int]:
    """The named sizes, read off the shapes of the arrays given.

    Raises:
        InputError: An array is missing or its shape contradicts the others.
        SizeError: The sizes are too small for a slice of the cell.
    """
    unifier = Unifier()
    variables: dict[Any, SizeVariable] = {name: SizeVariable(name) for name in cell.free_sizes}
    names: dict[Any, Size] = {name: Size.of(variable) for name, variable in variables.items()}

    open_matches: list[tuple[str, Sequence[int], list[Size]]] = []

    def expect(what: str, shape: Sequence[int], wanted: Sequence[Size]) -> None:
        open_matches.append((what, shape, [size.substitute(names) for size in wanted]))

    def fits(shape: Sequence[int], wanted: Sequence[Size]) -> bool:
        return len(shape) == len(wanted) and all(
            unifier.unify(size, Size.of(number)) for size, number in zip(wanted, shape, strict=True)
        )

    expect("the size of the input", [input_size], [cell.sizes["input"]])
    for stored in cell.parameters:
        if stored.name not in parameters:
            names_given = ", ".join(parameters) or "none"
            raise InputError(
                f"cell '{cell.name}' needs the parameter '{stored.name}'; given: {names_given}"
            )
        expect(f"the shape of {stored.name}", np.shape(parameters[stored.name]), stored.shape)
    for name, size, state in zip(cell.states, cell.state_sizes, states or (), strict=False):
        expect(f"the size of the state {name}", np.shape(state)[-1:], [size])
    # a sum such as 3 hidden + 2 cell may say nothing before one of the two is known
    while open_matches:
        left = [match for match in open_matches if not fits(*match[1:])]
        if len(left) == len(open_matches):
            what, shape, wanted = left[0]
            expected = " x ".join(str(unifier.resolve(size)) for size in wanted)
            given = " x ".join(map(str, shape))
            raise InputError(f"cell '{cell.name}': {what} is {given}; expected {expected}")
        open_matches = left
    numbers = {}
    for name, variable in variables.items():
        size = unifier.resolve(Size.of(variable))
        if size.terms:
            raise InputError(f"cell '{cell.name}': {name}_size does not follow from what was given")
        numbers[name] = size.constant
    return cell.bind_sizes(**numbers)


@dataclass(frozen=True)
class SequenceResult:
    """What a cell makes of a sequence.

    Attributes:
        output: (time, batch, output size).
        states: The last states, each (batch, size).
        history: All states, each (time + 1, batch, size), the initial ones first.
    """

    output: Array
    states: tuple[Array, ...]
    history: tuple[Array, ...]


def interpret(
    cell: Cell,
    x: Array,
    states: Sequence[Array] | None = None,
    *,
    parameters: Mapping[str, Array],
    seed: int | None = None,
) -> SequenceResult:
    """Run a cell over a sequence, step by step, in the type of the input.

    Args:
        cell: The cell.
        x: The input, (time, batch, input), float32, float64 or longdouble.
        states: The initial states, each (batch, size); zeros if not given.
        parameters: The stored parameters by name, as `cell.parameters` lists them.
        seed: What the random numbers of a cell that draws some follow from.

    Returns:
        Outputs and states.

    Raises:
        CellError: It is no cell.
        InputError: Shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> import anyrnn
        >>> rnn = anyrnn.get("rnn")
        >>> weights = {"W": np.eye(2), "U": np.zeros((2, 2)), "b": np.zeros(2)}
        >>> anyrnn.interpret(rnn, np.ones((3, 1, 2)), parameters=weights).output.shape
        (3, 1, 2)
    """
    if not isinstance(cell, Cell):
        raise CellError(
            f"{cell!r} is no cell; take one of the catalogue, anyrnn.get('lstm'), or decorate the "
            "function with @cell"
        )
    x = np.asarray(x)
    if x.ndim != 3 or not np.issubdtype(x.dtype, np.floating):
        raise InputError(
            f"the input is {x.dtype} of shape {x.shape}; expected floats (time, batch, input)"
        )
    if states is not None and len(states) != len(cell.states):
        raise InputError(
            f"cell '{cell.name}' has the states {', '.join(cell.states)}; {len(states)} were given"
        )
    if states is not None:
        states = [np.asarray(state) for state in states]
    sizes = sizes_of(cell, x.shape[-1], states, parameters)
    if states is None:
        shapes = [(x.shape[1], size.evaluate(sizes)) for size in cell.state_sizes]
        states = [np.zeros(shape, x.dtype) for shape in shapes]
    for name, state in zip(cell.states, states, strict=True):
        if state.ndim != 2 or state.shape[0] != x.shape[1]:
            raise InputError(
                f"the state {name} is {state.shape}; expected (batch, size), batch {x.shape[1]}"
            )
    states = [np.asarray(state, x.dtype) for state in states]
    leaves: dict[str, Any] = split_parameters(cell, as_type(parameters, x.dtype), sizes)
    history = [tuple(states)]
    outputs = np.empty((*x.shape[:2], cell.output_size.evaluate(sizes)), x.dtype)
    for time, x_t in enumerate(x):
        leaves |= {cell.input: x_t, **dict(zip(cell.states, history[-1], strict=True))}
        leaves[DRAW] = drawing(seed, time, x.shape[1], sizes)
        found = evaluate(cell.graph.outputs.values(), leaves, sizes, x.dtype)
        outputs[time] = found[cell.graph.outputs[cell.output]]
        history.append(tuple(found[cell.graph.outputs[name]] for name in cell.states))
    return SequenceResult(outputs, history[-1], tuple(map(np.stack, zip(*history, strict=True))))
