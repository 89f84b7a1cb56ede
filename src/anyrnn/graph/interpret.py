"""The meaning of a graph, in NumPy: slow and obvious; every other way to run a cell is compared
with this one.

A value with a row for each sequence of the batch is an array (batch, size), or (batch, 1) where it
is one number a row; a parameter is (size,) or (rows, columns).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, topological
from anyrnn.graph.randomness import EVERY_STEP, uniform
from anyrnn.graph.sizes import Size, SizeVariable, Unifier

Array = NDArray[Any]


def _sigmoid(value: Array) -> Array:
    small = np.exp(-np.abs(value))
    return np.where(value >= 0, 1 / (1 + small), small / (1 + small))


def _softmax(value: Array) -> Array:
    raised = np.exp(value - value.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _concatenate(*values: Array) -> Array:
    rows = np.broadcast_shapes(*(value.shape[:-1] for value in values))
    return np.concatenate([np.broadcast_to(v, (*rows, v.shape[-1])) for v in values], axis=-1)


def _outer(left: Array, right: Array) -> Array:
    left, right = np.broadcast_arrays(left[..., :, None], right[..., None, :])
    product = left * right
    return product.sum(axis=0) if product.ndim == 3 else product


NUMPY: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, a.dtype.type(0)),
    "exp": np.exp,
    "log": np.log,
    "softplus": lambda a: np.logaddexp(a, a.dtype.type(0)),
    "sqrt": np.sqrt,
    "abs": np.abs,
    "hard_sigmoid": lambda a: np.clip(a / 6 + a.dtype.type(0.5), 0, 1),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "where": np.where,
    "clip_gradient": lambda a, bound: a,
    "sum": lambda a: a.sum(axis=-1, keepdims=a.ndim > 1),
    "mean": lambda a: a.mean(axis=-1, keepdims=a.ndim > 1),
    "softmax": _softmax,
    "product": lambda matrix, vector: vector @ matrix.T,
    "transpose": np.transpose,
    "concatenate": _concatenate,
    "slice": lambda a, start, stop: a[..., start:stop],
    "expand": lambda a, like: np.broadcast_to(a, like.shape),
    "outer": _outer,
    "batch_sum": lambda a: a.sum(axis=0),
}


DRAW = "random numbers"  # no name of a leaf


def drawing(
    seed: int | None, step: int, rows: int, sizes: Mapping[str, int]
) -> Callable[[Node], Array]:
    """What draws the numbers of a `random` node at a step.

    Args:
        seed: The seed.
        step: The step.
        rows: The number of rows of the batch.
        sizes: The named sizes as numbers.

    Returns:
        A function from a node to its numbers, (rows, size).

    Raises:
        InputError: When it is called, and there is no seed.
    """

    def draw(node: Node) -> Array:
        if seed is None:
            raise InputError("the cell draws random numbers; give a seed")
        when = step if node.attributes["every_step"] else EVERY_STEP
        units = node.type.shape[0].evaluate(sizes)
        return uniform(seed, node.attributes["stream"], when, rows, units)

    return draw


def evaluate(
    roots: Iterable[Node],
    values: Mapping[str, Any],
    sizes: Mapping[str, int],
    dtype: Any,
    operations: Mapping[str, Callable[..., Any]] = NUMPY,
    as_array: Callable[[Any, Any], Any] = np.asarray,
) -> dict[Node, Any]:
    """The values of all nodes that the roots depend on.

    Args:
        roots: The nodes wanted.
        values: The arrays of the leaves, by name; for a graph that draws random numbers besides
            what `drawing` returns, as `DRAW`.
        sizes: The named sizes as numbers.
        dtype: The floating-point type to compute in.
        operations: What computes each operation.
        as_array: What makes an array, of what the operations take, of a number and a type.

    Returns:
        An array for every node.
    """
    found: dict[Node, Any] = {}
    for node in topological(roots):
        if node.operation == "constant":
            with np.errstate(over="ignore"):  # beyond the type it is an infinity
                found[node] = as_array(node.attributes["value"], dtype)
        elif node.operation == "size":
            found[node] = as_array(node.attributes["size"].evaluate(sizes), dtype)
        elif node.operation == "random":
            found[node] = as_array(values[DRAW](node), dtype)
        elif node.is_leaf:
            found[node] = values[node.name]
        else:
            bounds = {
                key: value.evaluate(sizes)
                for key, value in node.attributes.items()
                if isinstance(value, Size)
            }
            arguments = [found[argument] for argument in node.arguments]
            found[node] = operations[node.operation](*arguments, **bounds)
    return found


def split_parameters(
    cell: Cell, parameters: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """The members of the stored parameters: `{"W": stacked}` becomes `{"W.i": ..., "W.f": ...}`."""
    members: dict[str, Any] = {}
    leaves = {leaf.name: leaf for leaf in cell.graph.leaves("parameter")}
    for stored in cell.parameters:
        for name, rows in stored.rows(sizes).items():
            part = parameters[stored.name][rows]
            members[name] = part if leaves[name].type.shape else part[0]
    return members


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
        InputError: Shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> import anyrnn
        >>> rnn = anyrnn.get("rnn")
        >>> weights = {"W": np.eye(2), "U": np.zeros((2, 2)), "b": np.zeros(2)}
        >>> anyrnn.interpret(rnn, np.ones((3, 1, 2)), parameters=weights).output.shape
        (3, 1, 2)
    """
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
    leaves: dict[str, Any] = {}
    leaves |= split_parameters(cell, as_type(parameters, x.dtype), sizes)
    history = [tuple(states)]
    outputs = np.empty((*x.shape[:2], cell.output_size.evaluate(sizes)), x.dtype)
    for time, x_t in enumerate(x):
        leaves |= {cell.input: x_t, **dict(zip(cell.states, history[-1], strict=True))}
        leaves[DRAW] = drawing(seed, time, x.shape[1], sizes)
        found = evaluate(cell.graph.outputs.values(), leaves, sizes, x.dtype)
        outputs[time] = found[cell.graph.outputs[cell.output]]
        history.append(tuple(found[cell.graph.outputs[name]] for name in cell.states))
    return SequenceResult(outputs, history[-1], tuple(map(np.stack, zip(*history, strict=True))))
