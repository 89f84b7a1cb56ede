"""`RNN`, `LSTM`, `GRU` and their single-step cells in the place of those of torch.nn.

They are subclasses: constructors, parameters, initialisation and checkpoints are torch's own; the
computation is ours.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from anyrnn.errors import InputError, SizeError
from anyrnn.graph.sizes import as_whole
from anyrnn.kernels.run import Run
from anyrnn.schedule.residuals import check_memory
from anyrnn.torch import precision
from anyrnn.torch.constructor import (
    CELL_ARGUMENTS,
    LAYER_ARGUMENTS,
    check_size,
    enough_memory,
    named_arguments,
)
from anyrnn.torch.execute import execute
from anyrnn.torch.inputs import GIVEN, Marks
from anyrnn.torch.layer import Layer
from anyrnn.torch.layer_options import Options
from anyrnn.torch.layer_stack import LayerStack, State, build, count_layers
from anyrnn.torch.results import own
from anyrnn.torch.single_step import single_step
from anyrnn.torch.tensors import PLAIN, SHAPE, check_tensor, parameter
from anyrnn.torch.tracing import constant, leaf_call, refuse_script
from anyrnn.torch.vendor_path import rnn_mode, torch_cell

FAMILIES = {  # of our cells, by torch's names
    "weight_ih": "W",
    "weight_hh": "U",
    "bias_ih": "b",
    "bias_hh": "d",
    "weight_hr": "P",
}
NAMES = {family: name for name, family in FAMILIES.items()}
CELL_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SHAPING = frozenset(
    ("mode", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size")
)


def _name(stored: str) -> str:
    """What torch calls one of our stored parameters, without the layer."""
    return NAMES.get(stored, stored)


def _check_projection(proj_size: int, hidden_size: int) -> None:
    if proj_size >= hidden_size:
        raise SizeError(f"proj_size={proj_size} has to be smaller than hidden_size={hidden_size}")


@constant
def _structure(
    mode: str,
    input_size: int,
    hidden_sizes: list[int],
    bias: bool,
    bidirectional: bool,
    proj_size: int,
    options: Options,
) -> LayerStack:
    """The parts of a layer."""
    own = mode == "LSTM" and proj_size > 0  # torch's cell with a projection
    for hidden_size in hidden_sizes if own else ():
        _check_projection(proj_size, hidden_size)
    changed = options.changed(torch_cell(mode, own, bias), proj_size != 0)
    cells = (changed,) * (1 + bidirectional)
    sizes = [{"hidden": size, "projection": proj_size or None} for size in hidden_sizes]
    return build([cells] * len(sizes), input_size, sizes, options, _name)


class _Layer(Layer, nn.RNNBase):
    """The computation of the three layers; mixed in before torch's classes, which bring the
    rest.
    """

    _options = Options()

    def __init__(
        self,
        input_size: int,
        hidden_size: int | list[int],
        num_layers: int | None = None,
        *positional: Any,
        memory: str = "high",
        **given: Any,
    ) -> None:
        check_memory(memory)
        options, further = Options.take(given)
        names = LAYER_ARGUMENTS if isinstance(self, nn.RNN) else LAYER_ARGUMENTS[1:]
        further = named_arguments(self, names, positional, further, Options.names())
        count, sizes = count_layers(num_layers, {"hidden_size": hidden_size}), None
        if isinstance(hidden_size, list):
            sizes = [*hidden_size]
        first = check_size("hidden_size", sizes[0] if sizes else hidden_size)
        proj_size = further.pop("proj_size", 0)
        proj_size = check_size("proj_size", 0 if proj_size is None else proj_size, least=0)
        if isinstance(self, nn.LSTM):
            _check_projection(proj_size, first)
            further["proj_size"], proj_size = proj_size, 0
        every: tuple[Any, ...] = check_size("input_size", input_size), first, count
        with enough_memory():
            super().__init__(*every, **further)
        self.proj_size, self.memory = proj_size or self.proj_size, memory
        if options != Options():
            self._options = options
        if sizes:
            self.hidden_size = sizes  # type: ignore[assignment]
        if sizes or proj_size or options != Options():
            self._register(self.weight_ih_l0.device, self.weight_ih_l0.dtype)
            self.reset_parameters()
        self._made()

    def _made(self) -> LayerStack:
        if self._structure is None:  # as first, and where it was pickled or an attribute was set
            size, bidirectional, proj_size = self.hidden_size, self.bidirectional, self.proj_size
            sizes = size if isinstance(size, list) else [size] * self.num_layers
            shape = self.mode, self.input_size, sizes, self.bias, bidirectional, proj_size
            self._structure = _structure(*shape, self._options)
        return self._structure

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; one that the computation follows from counts from the next call on."""
        super().__setattr__(name, value)
        if name in SHAPING and self._structure is not None:
            self._structure = None
            self._forget()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing but what torch's own layer has, where there are no further options, so that a
        module can be loaded with weights_only.
        """
        return {**super().__getstate__(), "_structure": None}

    def flatten_parameters(self) -> None:
        """Put the parameters into one block of memory on CUDA, where cuDNN reads them."""
        if self._made().torch_mode and isinstance(self.hidden_size, int):
            super().flatten_parameters()

    def forward(  # type: ignore[override]
        self,
        input: Any,
        hx: State | None = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
        reset_state: Any = GIVEN,
        padding: str = "zero",
        return_states: str = "last",
    ) -> Any:
        """Run the layer; as torch.nn has it, and with lengths.

        Args:
            input: (time, batch, input), (batch, time, input) if batch_first, (time, input) for one
                sequence, or a PackedSequence.
            hx: The initial state, (layers x directions, batch, size); for an LSTM two of them; a
                tuple of these, one for each layer, where sizes differ. Zeros, or what was learned,
                if not given.
            lengths, mask, resets, reset_state, padding, return_states: As
                `anyrnn.torch.Recurrent.forward` takes them.

        Returns:
            The outputs and the last state, or all states.

        Raises:
            InputError: A shape, a type, a device, a length or a mask is not what the layer takes.
        """
        if lengths is mask is resets is None and return_states == "last":
            single = self._single_step(input, hx)
            if single is not None:
                return single
        marks = Marks(lengths, mask, resets, reset_state, padding)
        return self._call(input, hx, marks, return_states)

    def extra_repr(self) -> str:
        """The options that differ from their defaults."""
        return super().extra_repr() + self._further_options()


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

    def _call(self, given: object, state: object, marks: Marks, returned: object) -> Any:
        """Run the layer. For torch.autocast in bfloat16 the LSTM of a tensor is one operation, like
        a product; that of a PackedSequence, and with a projection, is many.
        """
        return self._typed(super()._call(given, state, marks, returned), given)

    def _typed(self, found: Any, given: object) -> Any:
        if self.proj_size or not isinstance(given, Tensor):
            return found
        one = precision.low_dtype(given) is torch.bfloat16
        return precision.cast(found, torch.bfloat16) if one else found


class GRU(_Layer, nn.GRU):
    """torch.nn.GRU with our computation; the same arguments, parameters and results.

    Example:
        >>> import torch
        >>> from anyrnn.torch import GRU
        >>> layer = GRU(3, 5, num_layers=2, batch_first=True)
        >>> layer(torch.randn(2, 7, 3))[1].shape
        torch.Size([2, 2, 5])
    """


@lru_cache(maxsize=256)
def _step(mode: str, bias: bool, input_size: int, hidden_size: int) -> Run:
    """What a module for single steps runs."""
    cell = torch_cell(mode, False, bias)
    sizes = (("input", input_size), ("hidden", hidden_size))
    return Run(cell, sizes, called=tuple((n, NAMES[n]) for n in cell.parameter_names))


class _Step(nn.RNNCellBase):
    """The computation of the three single-step modules."""

    _mode = ""
    __prepare_scriptable__ = refuse_script

    def __init__(self, input_size: int, hidden_size: int, *positional: Any, **given: Any) -> None:
        names = [n for n in CELL_ARGUMENTS if n != "nonlinearity" or isinstance(self, nn.RNNCell)]
        sizes = check_size("input_size", input_size), check_size("hidden_size", hidden_size)
        further = named_arguments(self, names, positional, given)
        with enough_memory():
            super().__init__(*sizes, **further)

    def forward(self, input: Tensor, hx: Tensor | tuple[Tensor, ...] | None = None) -> Any:
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
        mode = self._mode or rnn_mode(self.nonlinearity)
        if torch.compiler.is_compiling():
            return self._carefully(mode, input, hx)
        size, hidden, own = self.input_size, self.hidden_size, self._parameters
        if not (type(size) is type(hidden) is int and size > 0 < hidden):
            size, hidden = self._sizes()
        if not self.bias and not (own.get("bias_ih") is own.get("bias_hh") is None):
            return self._carefully(mode, input, hx)
        run = _step(mode, self.bias, size, hidden)
        stored = [own.get(name) for _, name in run.called]
        batched: Any = hx if isinstance(hx, tuple) else (hx,)
        plain = PLAIN.issuperset(map(type, (input, *batched)))
        if plain and input.dim() == 2 and input.shape[1] == size:
            shapes = [(input.shape[0], hidden)] * len(run.cell.states)
            if [*map(SHAPE, batched)] == shapes:
                found = single_step(run, input, batched, stored)
                if found is not None:
                    return found[1][0] if len(shapes) == 1 else found[1]
        return self._carefully(mode, input, hx)

    def _carefully(self, mode: str, input: Tensor, hx: Any) -> Any:
        """One step of what may be out of the ordinary."""
        if isinstance(input, Proxy):
            return leaf_call(self, input, hx)
        parameters = {FAMILIES[name]: parameter(self, name) for name in CELL_PARAMETERS[:2]}
        biases = {name: getattr(self, name) for name in CELL_PARAMETERS[2:]}
        with_bias = not all(bias is None for bias in biases.values())
        cell, like = torch_cell(mode, False, with_bias), parameters["W"]
        for name, bias in biases.items() if with_bias else ():
            if bias is None:  # as torch has it, a bias that was taken away is zero
                parameters[FAMILIES[name]] = like.new_zeros(len(like))
            else:
                parameters[FAMILIES[name]] = parameter(self, name)
        size, hidden = self._sizes()
        tensor = check_tensor("the input", input, like)
        if tensor.dim() not in (1, 2) or tensor.shape[-1] != size:
            raise InputError(
                f"the input has shape {tuple(tensor.shape)}; expected (batch, {size}) or ({size},)"
            )
        wanted = (*tensor.shape[:-1], hidden)
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
        sizes = ("input", size), ("hidden", hidden)
        run = Run(cell, sizes, called=tuple(NAMES.items()))
        found = None
        if tensor.dim() == 2:
            stored = [*map(parameters.__getitem__, cell.parameter_names)]
            found = single_step(run, tensor, states, stored)
        if found is not None:
            return found[1][0] if len(states) == 1 else found[1]
        rows = tensor.reshape(1, -1, size)
        initial = [state.reshape(-1, hidden) for state in states]
        _, last = execute(run, rows, None, initial, parameters)
        shaped = tuple(own([state.reshape(wanted) for state in last]))
        return shaped[0] if len(shaped) == 1 else shaped

    def _sizes(self) -> tuple[int, int]:
        """The sizes of the input and of the state; torch takes anything that counts."""
        size, hidden = self.input_size, self.hidden_size
        if type(size) is int and type(hidden) is int and size > 0 < hidden:
            return size, hidden
        for name in ("input_size", "hidden_size"):
            number = as_whole(given := getattr(self, name))
            if number is None or number < 1:
                raise SizeError(f"{name}={given!r}; expected a whole number of at least 1")
        return int(size), int(hidden)


class RNNCell(_Step, nn.RNNCell):
    """One step of an RNN: torch.nn.RNNCell with our computation; the same arguments and results."""


class LSTMCell(_Step, nn.LSTMCell):
    """One step of an LSTM: torch.nn.LSTMCell with our computation; the same arguments and results.

    Example:
        >>> import torch
        >>> from anyrnn.torch import LSTMCell
        >>> h, c = LSTMCell(3, 5)(torch.randn(2, 3))
        >>> h.shape, c.shape
        (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    _mode = "LSTM"


class GRUCell(_Step, nn.GRUCell):
    """One step of a GRU: torch.nn.GRUCell with our computation; the same arguments and results."""

    _mode = "GRU"
