"""`RNN`, `LSTM`, `GRU` and their single-step cells in the place of those of torch.nn.

They are subclasses: constructors, parameters, initialisation and checkpoints are torch's own; the
computation is ours.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from torch import Tensor, nn

from anyrnn.cells.catalogue import get
from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.schedule.reverse import check_memory
from anyrnn.torch.execute import Path, breaks_graph, choose, execute, single_step
from anyrnn.torch.sequences import check_tensor
from anyrnn.torch.stack import State, parameter, stack
from anyrnn.torch.tracing import constant, untraced
from anyrnn.transforms.bias import with_two_biases, without_bias

FAMILIES = {  # of our cells, by torch's names
    "weight_ih": "W",
    "weight_hh": "U",
    "bias_ih": "b",
    "bias_hh": "d",
    "weight_hr": "P",
}
CELL_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
CELLS = {"RNN_TANH": "rnn", "RNN_RELU": "rnn_relu", "LSTM": "lstm", "GRU": "gru"}
_cells: dict[tuple[str, bool, bool], Cell] = {}


@constant
def _make_cells() -> None:
    """Our cells for the modes of torch.nn, with their parameters laid out as torch's."""
    if not _cells:
        found = {(mode, False): get(name) for mode, name in CELLS.items()}
        found["LSTM", True] = get("lstm_projection")
        both = {(*key, False): without_bias(cell) for key, cell in found.items()}
        _cells.update(both | {(*key, True): with_two_biases(cell) for key, cell in found.items()})


def _cell(mode: str, projected: bool, bias: bool) -> Cell:
    _make_cells()
    return _cells[mode, projected, bias]


@constant
def _family(name: str) -> str:
    """Our family of a parameter called as weight_ih_l0_reverse."""
    return _cached_family(name)


@lru_cache(maxsize=1024)
def _cached_family(name: str) -> str:
    """Our family of a parameter called as weight_ih_l0_reverse: torch's family, the layer, and the
    direction.
    """
    return FAMILIES[name.rpartition("_l")[0]]


class _Layer(nn.RNNBase):
    """The computation of the three layers; mixed in before torch's classes, which bring the
    rest.
    """

    memory = "high"  # of a layer that was pickled as one of torch.nn, or before there was a choice

    def __init__(self, *args: Any, memory: str = "high", **options: Any) -> None:
        check_memory(memory)
        super().__init__(*args, **options)
        self.memory = memory

    @property
    def path(self) -> Path:
        """Which way a call is computed with the layer's parameters as they are, and why."""
        return choose(self.parameters())

    def forward(  # type: ignore[override]
        self, input: Any, hx: State | None = None, *, lengths: Any = None
    ) -> Any:
        """Run the layer; as torch.nn has it, and with lengths.

        Args:
            input: (time, batch, input), (batch, time, input) if batch_first, (time, input) for one
            sequence, or a
                PackedSequence.
            hx: The initial state, (layers x directions, batch, size); for an LSTM two of them;
                zeros if not given.
            lengths: The number of steps of each sequence; outputs after its end are zero.

        Returns:
            The outputs and the last state.

        Raises:
            InputError: A shape, a type, a device or a length is not what the layer takes.
        """
        if breaks_graph(input, lengths, self.parameters()):
            return untraced(partial(self.forward, lengths=lengths), input, hx)
        sizes = (("input", self.input_size), ("hidden", self.hidden_size))
        if self.proj_size:
            sizes += (("projection", self.proj_size),)
        shape = stack(
            _cell(self.mode, self.proj_size > 0, self.bias),
            sizes,
            self.num_layers,
            self.bidirectional,
            self.batch_first,
            self.dropout,
            self.memory,
        )

        def weights(layer: int, direction: int) -> dict[str, Tensor]:
            names = self._all_weights[layer * shape.directions + direction]
            return {_family(name): parameter(self, name) for name in names}

        return shape.run(weights, self._like, input, hx, lengths, self.training)

    def _like(self) -> Tensor:
        return parameter(self, "weight_ih_l0")

    def extra_repr(self) -> str:
        """The options that differ from their defaults."""
        text = super().extra_repr()
        return text + (f", memory={self.memory}" if self.memory != "high" else "")


class RNN(_Layer, nn.RNN):
    """torch.nn.RNN with our computation; the same arguments, parameters and results.

    Example:
        >>> import torch
        >>> from anyrnn.torch import RNN
        >>> layer = RNN(3, 5, nonlinearity="relu")
        >>> layer(torch.randn(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])
    """


class LSTM(_Layer, nn.LSTM):
    """torch.nn.LSTM with our computation; the same arguments, parameters and results.

    Example:
        >>> import torch
        >>> from anyrnn.torch import LSTM
        >>> theirs, ours = torch.nn.LSTM(3, 5), LSTM(3, 5)
        >>> ours.load_state_dict(theirs.state_dict())
        <All keys matched successfully>
        >>> x = torch.randn(7, 2, 3)
        >>> torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-6)
        True
    """


class GRU(_Layer, nn.GRU):
    """torch.nn.GRU with our computation; the same arguments, parameters and results.

    Example:
        >>> import torch
        >>> from anyrnn.torch import GRU
        >>> layer = GRU(3, 5, num_layers=2, batch_first=True)
        >>> layer(torch.randn(2, 7, 3))[1].shape
        torch.Size([2, 2, 5])
    """


class _Step(nn.RNNCellBase):
    """The computation of the three single-step modules."""

    _mode = ""

    def forward(self, input: Tensor, hx: State | None = None) -> Any:
        """One step.

        Args:
            input: (batch, input), or (input,) for one row.
            hx: The state, (batch, hidden) or (hidden,); for an LSTM two of them; zeros if not
                given.

        Returns:
            The new state, laid out as the old one.

        Raises:
            InputError: A shape, a type or a device is not what the module takes.
        """
        mode = self._mode or f"RNN_{self.nonlinearity.upper()}"  # type: ignore[operator]
        cell = _cell(mode, False, self.bias)
        names = CELL_PARAMETERS if self.bias else CELL_PARAMETERS[:2]
        parameters = {FAMILIES[name]: parameter(self, name) for name in names}
        sizes = (("input", self.input_size), ("hidden", self.hidden_size))
        like = parameters["W"]
        tensor = check_tensor("the input", input, like)
        if tensor.dim() not in (1, 2) or tensor.shape[-1] != self.input_size:
            raise InputError(
                f"the input has shape {tuple(tensor.shape)}; expected (batch, {self.input_size}) "
                f"or ({self.input_size},)"
            )
        wanted = (*tensor.shape[:-1], self.hidden_size)
        if hx is None:
            states = [tensor.new_zeros(wanted) for _ in cell.states]
        else:
            states = list(hx) if isinstance(hx, tuple | list) else [hx]
        if len(states) != len(cell.states):
            raise InputError(
                f"{len(states)} states were given; expected {len(cell.states)}: "
                f"({', '.join(cell.states)})"
            )
        for name, state in zip(cell.states, states, strict=True):
            state = check_tensor(f"the state {name}", state, like)
            if tuple(state.shape) != wanted:
                raise InputError(
                    f"the state {name} has shape {tuple(state.shape)}; expected {wanted}"
                )
        found = single_step(cell, tensor, states, parameters, sizes) if tensor.dim() == 2 else None
        if found is not None:
            return found[1][0] if len(states) == 1 else found[1]
        rows = tensor.reshape(-1, self.input_size)
        initial = [state.reshape(-1, self.hidden_size) for state in states]
        _, last = execute(cell, rows, [len(rows)], initial, parameters, dict(sizes))
        shaped = tuple(state.reshape(wanted) for state in last)
        return shaped[0] if len(shaped) == 1 else shaped


class RNNCell(_Step, nn.RNNCell):
    """torch.nn.RNNCell with our computation."""


class LSTMCell(_Step, nn.LSTMCell):
    """torch.nn.LSTMCell with our computation."""

    _mode = "LSTM"


class GRUCell(_Step, nn.GRUCell):
    """torch.nn.GRUCell with our computation."""

    _mode = "GRU"
