"""Run a cell with torch.nn's own operator (cuDNN on CUDA), where it is a cell of torch.nn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import _VF, Tensor
from torch.nn import functional

from anyrnn.cells.catalogue import get
from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import Arrays, Run, Steps
from anyrnn.torch.tensors import Results, beside, check_parameters
from anyrnn.torch.tracing import constant
from anyrnn.transforms.bias import with_two_biases, without_bias

# cuDNN wants all parameters in one block of memory, with two biases, as layers of torch.nn have;
# those of a cell with one bias are copied at each call, which is nothing that a user can mend.
warnings.filterwarnings(
    "ignore", "RNN module weights are not part of single contiguous chunk", module=__name__
)

CELLS = {"RNN_TANH": "rnn", "RNN_RELU": "rnn_relu", "LSTM": "lstm", "GRU": "gru"}  # by torch's mode
RNN_MODES = {  # by nonlinearity
    mode.removeprefix("RNN_").lower(): mode for mode in CELLS if mode.startswith("RNN_")
}
_cells: dict[tuple[str, bool, bool], Cell] = {}


@constant
def _make_cells() -> None:
    if not _cells:
        found = {(mode, False): get(name) for mode, name in CELLS.items()}
        found["LSTM", True] = get("lstm_projection")
        both = {(*key, False): without_bias(cell) for key, cell in found.items()}
        _cells.update(both | {(*key, True): with_two_biases(cell) for key, cell in found.items()})


def rnn_mode(nonlinearity: object) -> str:
    """What torch calls an RNN with a nonlinearity.

    Raises:
        InputError: torch has none with this one.
    """
    mode = RNN_MODES.get(str(nonlinearity))
    if mode is None:
        raise InputError(f"Unknown nonlinearity: {nonlinearity}; expected {' or '.join(RNN_MODES)}")
    return mode


def torch_cell(mode: str, projected: bool, bias: bool) -> Cell:
    """The cell of a layer of torch.nn, with its parameters laid out as torch's.

    Args:
        mode: What torch calls it: `RNN_TANH`, `RNN_RELU`, `LSTM` or `GRU`.
        projected: Whether its first state is projected (`proj_size`).
        bias: Whether it has biases, which in torch are two.
    """
    _make_cells()
    return _cells[mode, projected, bias]


def _equations(cell: Cell) -> tuple[object, ...]:
    """What two cells that compute the same from the same arrays have in common."""
    return cell.output, *((name, cell.graph.outputs[name]) for name in cell.states), cell.parameters


@lru_cache(maxsize=256)
def mode(cell: Cell) -> str | None:
    """The mode of torch.nn with the equations of a cell and the gates in its order; None if there
    is none.
    """
    _make_cells()
    known = {_equations(found): each for (each, _, _), found in _cells.items()}
    known |= {_equations(get(name)): each for each, name in CELLS.items()}
    known[_equations(get("lstm_projection"))] = "LSTM"
    return known.get(_equations(cell))


@constant
def refusal(cell: Cell, device: str) -> str | None:
    """Why torch.nn's operator cannot run a cell on a kind of device; None if it can."""
    if mode(cell) is None:
        return f"torch.nn has no cell with the equations of '{cell.name}'"
    if device == "mps" and "projection" in cell.sizes:
        return "torch.nn has no LSTM with a projection on mps"
    return None


def class_name(cell: Cell) -> str:
    """The class of torch.nn that has the equations of a cell."""
    return str(mode(cell)).partition("_")[0]


def _weights(stored: Mapping[str, Tensor]) -> list[Tensor]:
    """The arrays of one layer and direction as torch's operators take them. A cell that has one
    bias where torch has two gets zeros for torch's second.
    """
    found = [stored["W"], stored["U"]]
    bias = stored.get("b")
    if bias is not None:
        second = stored.get("d", bias.new_zeros(0))  # of the GRU's candidate, its last gate, only
        missing = len(bias) - len(second)
        found += [bias, functional.pad(second, (missing, 0)) if missing else second]
    return [*found, stored["P"]] if "P" in stored else found


def run_layers(
    mode: str,
    rows: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Sequence[Tensor]],
    parameters: Sequence[Mapping[str, Tensor]],
    bidirectional: bool = False,
    dropout: float = 0.0,
    training: bool = False,
) -> tuple[Tensor, list[Sequence[Tensor]]]:
    """Run layers on top of each other, in one direction or two, in one call of torch's operator.

    Args:
        mode: What torch calls the cell of all of them.
        rows: The inputs of all steps, step after step, (sum of batch_sizes, input); without
            batch_sizes (time, batch, input).
        batch_sizes: The number of rows of each step, never rising.
        states: The initial states of each layer and direction, each (batch, size).
        parameters: The stored parameters of each layer and direction by name.
        bidirectional: Whether each layer also runs backwards; outputs are joined.
        dropout: The probability of dropping an output between two layers, in training.
        training: Whether this is training.

    Returns:
        The outputs, laid out as the inputs, and the last states of each layer and direction.
    """
    before = [torch.stack(each) for each in zip(*states, strict=True)]
    weights = [tensor for part in parameters for tensor in _weights(part)]
    dropout = dropout if training else 0.0
    # cuDNN saves residuals in training only; a trace is made with and without a gradient, and equal
    training = training or (torch.is_grad_enabled() and torch._C._get_tracing_state() is None)
    layers = len(parameters) // (1 + bidirectional)
    state = before if mode == "LSTM" else before[0]
    options = weights, "b" in parameters[0], layers, dropout, training, bidirectional
    operator = getattr(_VF, mode.lower())
    if batch_sizes is None or batch_sizes[0] == batch_sizes[-1]:
        steps = rows if batch_sizes is None else rows.unflatten(0, (-1, batch_sizes[0]))
        output, *last = operator(steps, state, *options, False)
        output = output if batch_sizes is None else output.flatten(0, 1)
    else:
        output, *last = operator(rows, torch.tensor(batch_sizes), state, *options)
    return output, [*zip(*(each.unbind() for each in last), strict=True)]


Step = Callable[[Tensor, Sequence[Tensor], Mapping[str, Tensor]], tuple[Tensor, ...]]


def step_of(cell: Cell) -> Step:
    """What computes one step of a cell without a projection on a CPU: the new states, given the
    input, (batch, input), the states, each (batch, size), and the stored parameters by name.
    """
    kind = mode(cell)
    assert kind is not None, "a path is chosen before it is taken"
    operator, several = getattr(_VF, f"{kind.lower()}_cell"), kind == "LSTM"
    members = {stored.name: len(stored.members) for stored in cell.parameters}
    short = "d" in members and members["d"] < members["b"]

    def step(
        x: Tensor, states: Sequence[Tensor], parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        if short:
            weights: list[Tensor | None] = [*_weights(parameters)]
        else:  # one bias where torch has two is enough for it
            weights = [*map(parameters.get, ("W", "U", "b", "d"))]
        if several:
            return operator(x, states, *weights)
        return (operator(x, states[0], *weights),)

    return step


def _mirrored(steps: Steps) -> np.ndarray:
    """For each row the row of the same sequence that is as far from its end as this one is from
    its beginning.
    """
    sizes = np.array(steps.batch_sizes)
    step = np.repeat(np.arange(len(sizes)), sizes)
    sequence = np.arange(steps.rows) - steps.offsets[step]
    length = np.searchsorted(-sizes, -sequence)
    return steps.offsets[length - 1 - step] + sequence


def _turn(steps: Steps, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What turns each sequence around, given the rows of all steps; twice, it changes nothing."""
    if steps.constant:
        return lambda rows: rows.unflatten(0, (-1, steps.batch)).flip(0).flatten(0, 1)
    mirrored = beside(torch.from_numpy(_mirrored(steps)), device)
    return lambda rows: rows.index_select(0, mirrored)


def execute(run: Run, arrays: Arrays) -> Results:
    """Run a cell over sequences of falling lengths; as `anyrnn.torch.operations_path.execute`."""
    rows, states, parameters = arrays.rows, arrays.states, arrays.parameters
    check_parameters(run, parameters, rows)
    kind, batch_sizes = mode(run.cell), run.steps.batch_sizes
    assert kind is not None, "a path is chosen before it is taken"
    if len(batch_sizes) == 1 and "P" not in parameters:
        state = tuple(states) if kind == "LSTM" else states[0]
        after = getattr(_VF, kind.lower() + "_cell")(rows, state, *_weights(parameters))
        after = after if kind == "LSTM" else (after,)
        return after[0], tuple(after)
    turned = _turn(run.steps, rows.device) if run.reverse else lambda rows: rows
    output, (last,) = run_layers(kind, turned(rows), batch_sizes, [states], [parameters])
    return turned(output), tuple(last)
