"""A layer of any cell."""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from anyrnn.cells.catalogue import get
from anyrnn.errors import CellError, SizeError
from anyrnn.graph.cell import Cell
from anyrnn.schedule.reverse import check_memory
from anyrnn.torch.execute import Path, breaks_graph, choose
from anyrnn.torch.sequences import Input
from anyrnn.torch.stack import Stack, State, parameter, stack
from anyrnn.torch.tracing import untraced
from anyrnn.transforms.bias import without_bias


def _options(cell: Cell, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort a constructor's further keywords into sizes and hyperparameters."""
    sizes: dict[str, Any] = {}
    hyperparameters: dict[str, Any] = {}
    for name, value in given.items():
        if name in cell.hyperparameters:
            hyperparameters[name] = value
        elif name.removesuffix("_size") in cell.sizes and name.endswith("_size"):
            sizes[name.removesuffix("_size")] = value
        else:
            known = [*(f"{size}_size" for size in cell.sizes), *cell.hyperparameters]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"its own are: {', '.join(known)}"
            raise CellError(f"a layer of the cell '{cell.name}' has no option '{name}'; {hint}")
    return sizes, hyperparameters


class Recurrent(nn.Module):
    """A recurrent layer of any cell, with the conventions of torch.nn.LSTM.

    Args:
        cell: A cell, or the name of one in the catalogue.
        input_size: The number of features of the input.
        hidden_size: The size of the hidden state.
        num_layers: The number of layers on top of each other.
        bias: Whether the cell keeps its biases.
        batch_first: Whether input and output are (batch, time, features) instead of (time, batch,
            features).
        dropout: The probability of dropping an output between two layers, in training.
        bidirectional: Whether each layer also runs backwards; the outputs of both are joined.
        device: Where to put the parameters.
        dtype: The type of the parameters.
        memory: How much a forward pass keeps for its derivative: `high` what the derivative reads,
            `low` the states only, from which the rest is computed again.
        **options: Further sizes (`output_size=10` for a cell that names the size `output`) and
            hyperparameters.

    Attributes:
        output_size: The size of the output of one direction.

    Parameters are called as the cell's families, with the layer: `W_l0`, `U_l0`, `b_l0`,
    `W_l0_reverse`. Each stacks the gates in the order of `cell.parameters`. They start uniform in
    +-1 / sqrt(hidden_size), as torch.nn has it.

    Raises:
        UnknownCellError: No cell of that name.
        SizeError: A size is missing, not positive, too large, or contradicts the equations.
        InputError: The memory is neither `high` nor `low`.

    Example:
        >>> import torch
        >>> from anyrnn.torch import Recurrent
        >>> layer = Recurrent("lstm_peephole", input_size=3, hidden_size=5, bidirectional=True)
        >>> output, (h, c) = layer(torch.randn(7, 2, 3))
        >>> output.shape, h.shape, c.shape
        (torch.Size([7, 2, 10]), torch.Size([2, 2, 5]), torch.Size([2, 2, 5]))
    """

    memory = "high"  # of a layer that was pickled before there was a choice

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        memory: str = "high",
        **options: Any,
    ) -> None:
        super().__init__()
        found = get(cell)
        sizes, hyperparameters = _options(found, options)
        found = found.with_hyperparameters(**hyperparameters)
        if isinstance(num_layers, bool) or not isinstance(num_layers, int) or num_layers < 1:
            raise SizeError(f"num_layers={num_layers!r}; expected a whole number of at least 1")
        if isinstance(dropout, bool | str) or not 0 <= dropout <= 1:
            raise SizeError(f"dropout={dropout!r}; expected a probability, from 0 to 1")
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout={dropout} acts between layers, and num_layers=1: it has no effect",
                stacklevel=2,
            )
        self.cell = found if bias else without_bias(found)
        self.sizes = found.bind_sizes(input=input_size, hidden=hidden_size, **sizes)
        self.input_size, self.hidden_size = input_size, self.sizes.get("hidden")
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional = float(dropout), bidirectional
        self.memory = check_memory(memory)
        self.output_size = self._stack.output_size
        for layer in range(num_layers):
            layer_sizes = self._stack.layer_sizes(layer)
            for direction in range(self._stack.directions):
                for stored in self.cell.parameters:
                    shape = stored.shape_for(layer_sizes)
                    if math.prod(shape) > sys.maxsize // 8:
                        raise SizeError(
                            f"the parameter {stored.name} has {' x '.join(map(str, shape))} "
                            "numbers, more than can be addressed; use smaller sizes"
                        )
                    tensor = torch.empty(shape, device=device, dtype=dtype)
                    name = self._name(stored.name, layer, direction)
                    self.register_parameter(name, nn.Parameter(tensor))
        # the type and device of a layer without parameters
        self._like: Tensor
        self.register_buffer("_like", torch.empty(0, device=device, dtype=dtype), persistent=False)
        self.reset_parameters()

    @property
    def _stack(self) -> Stack:
        return stack(
            self.cell,
            tuple(self.sizes.items()),
            self.num_layers,
            self.bidirectional,
            self.batch_first,
            self.dropout,
            self.memory,
        )

    @staticmethod
    def _name(stored: str, layer: int, direction: int) -> str:
        return f"{stored}_l{layer}" + ("_reverse" if direction else "")

    def _weights(self, layer: int, direction: int) -> dict[str, Tensor]:
        return {
            stored.name: parameter(self, self._name(stored.name, layer, direction))
            for stored in self.cell.parameters
        }

    def _first(self) -> Tensor:
        return next(self.parameters(), self._like)

    @property
    def path(self) -> Path:
        """Which way a call is computed with the layer's parameters as they are, and why."""
        return choose(self.parameters())

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform in +-1 / sqrt(hidden size)."""
        size = self.cell.state_sizes[-1].evaluate(self.sizes)
        bound = 1 / math.sqrt(self.sizes.get("hidden", size))
        for tensor in self.parameters():
            nn.init.uniform_(tensor, -bound, bound)

    def forward(
        self, input: Input, state: State | None = None, lengths: Any = None
    ) -> tuple[Input, State]:
        """Run the layer over sequences.

        Args:
            input: (time, batch, input), (batch, time, input) if batch_first, (time, input) for one
            sequence, or a
                PackedSequence.
            state: The initial state, (layers x directions, batch, size), a tuple of them for a cell
                with several states; zeros if not given.
            lengths: The number of steps of each sequence; outputs after its end are zero.

        Returns:
            The outputs, laid out as the input, with the output size times the directions as
            features; and the last state, laid out as the initial one.

        Raises:
            InputError: A shape, a type, a device or a length is not what the layer takes.
        """
        if breaks_graph(input, lengths, self.parameters()):
            return untraced(self.forward, input, state, lengths)
        return self._stack.run(self._weights, self._first, input, state, lengths, self.training)

    def extra_repr(self) -> str:
        """The options that differ from their defaults."""
        sizes = ", ".join(f"{name}_size={size}" for name, size in self.sizes.items())
        text = f"{self.cell.name}, {sizes}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        for option in ("batch_first", "bidirectional"):
            text += f", {option}=True" if getattr(self, option) else ""
        text += "" if self.bias else ", bias=False"
        text += f", dropout={self.dropout}" if self.dropout else ""
        return text + (f", memory={self.memory}" if self.memory != "high" else "")
