"""A layer of any cell."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from anyrnn.cells.catalogue import get
from anyrnn.errors import CellError, InputError, SizeError
from anyrnn.graph.cell import Cell
from anyrnn.schedule.residuals import check_memory
from anyrnn.torch.constructor import check_place, check_size, enough_memory, way_out
from anyrnn.torch.inputs import GIVEN, Marks
from anyrnn.torch.layer import Layer
from anyrnn.torch.layer_options import Options, check_flag
from anyrnn.torch.layer_stack import LayerStack, State, build, count_layers
from anyrnn.torch.packed_rows import Input
from anyrnn.transforms.bias import without_bias
from anyrnn.transforms.option_values import check_probability

MADE_OF = (
    *("cell", "sizes", "input_size", "hidden_size", "proj_size", "output_size", "num_layers"),
    *("bias", "bidirectional"),
)
Directions = str | Cell | tuple[str | Cell, str | Cell]


def _sort(cells: Iterable[Cell], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort a constructor's further keywords into sizes and hyperparameters."""
    cells = list(dict.fromkeys(cells))
    for cell in cells:
        cell.check_options([Recurrent.__init__], Options.names())
    sizes: dict[str, Any] = {}
    hyperparameters: dict[str, Any] = {}
    for name, value in given.items():
        size = name.removesuffix("_size")
        if any(name in cell.hyperparameters for cell in cells):
            hyperparameters[name] = value
        elif size != name and any(size in cell.sizes for cell in cells):
            sizes[size] = value
        else:
            known = [f"{size}_size" for cell in cells for size in cell.sizes]
            known += [name for cell in cells for name in cell.hyperparameters]
            hint = way_out(name, known, Options.names())
            called = " and ".join(f"'{cell.name}'" for cell in cells)
            raise CellError(f"a layer of the cell {called} has no option '{name}'; {hint}")
    return sizes, hyperparameters


def _directions(cell: Directions, bidirectional: bool) -> tuple[Cell, ...]:
    """The cell of each direction of a layer."""
    if not isinstance(cell, tuple):
        return (get(cell),) * (1 + bidirectional)
    if len(cell) != 2 or not bidirectional:
        raise InputError(
            f"{len(cell)} cells are given for the directions of a layer, which has "
            f"{1 + bidirectional} (bidirectional={bidirectional}); expected (forwards, backwards) "
            "with bidirectional=True"
        )
    return tuple(map(get, cell))


def _each_layer(value: Any, count: int) -> list[Any]:
    """A value for each layer: of a list its elements, else the same for all."""
    return value if isinstance(value, list) else [value] * count


def _chosen(cell: Cell, numbers: Mapping[str, Any], bias: bool) -> Cell:
    """The cell with its user's hyperparameters, with or without biases."""
    own = {name: value for name, value in numbers.items() if name in cell.hyperparameters}
    found = cell.with_hyperparameters(**own)
    return found if bias else without_bias(found)


def _structure(
    cell: Directions | list[Directions],
    input_size: int,
    own_sizes: dict[str, Any],
    num_layers: int | None,
    bias: bool,
    bidirectional: bool,
    given: Mapping[str, Any],
) -> LayerStack:
    """The parts of a layer, for a constructor's arguments."""
    options, further = Options.take(given)
    lists = {f"{name}_size": size for name, size in own_sizes.items()}
    count = count_layers(num_layers, {"cell": cell, **lists, **further})
    layers = [_directions(part, bidirectional) for part in _each_layer(cell, count)]
    sizes, numbers = _sort((found for layer in layers for found in layer), further)
    projected = _each_layer(own_sizes["proj"], count)
    projections = [check_size("proj_size", size or 0, least=0) for size in projected]
    changed = [
        tuple(options.changed(_chosen(found, numbers, bias), size != 0) for found in layer)
        for layer, size in zip(layers, projections, strict=True)
    ]
    sizes = {"hidden": own_sizes["hidden"], **sizes}
    if any(projections):
        if "projection" in sizes:
            raise SizeError(
                f"proj_size={own_sizes['proj']} and projection_size={sizes['projection']} are one "
                "size; give one of them"
            )
        sizes["projection"] = [size or None for size in projections]
    columns = {name: _each_layer(each, count) for name, each in sizes.items()}
    named = [{name: each[k] for name, each in columns.items()} for k in range(count)]
    return build(changed, input_size, named, options, str)


class Recurrent(Layer):
    """A recurrent layer of any cell, with the conventions of torch.nn.LSTM.

    Args:
        cell: A cell, or the name of one in the catalogue; a tuple of two, one for each direction;
            or a list of these, one for each layer.
        input_size: The number of features of the input.
        hidden_size: The size of the hidden state; or a list, one for each layer.
        num_layers: The number of layers on top of each other; it follows from lists.
        bias: Whether the cell keeps its biases.
        batch_first: Whether input and output are (batch, time, features) instead of (time, batch,
            features).
        dropout: The probability of dropping an output between two layers, in training.
        bidirectional: Whether each layer also runs backwards; the outputs of both are joined.
        device: Where to put the parameters.
        dtype: The type of the parameters.
        proj_size: The size to which the first state is projected, or a list, one for each layer; 0
            for none.
        memory: How much a forward pass keeps for its derivative: `high` what the derivative reads,
            `low` the states only, from which the rest is computed again.
        **options: The attributes of `anyrnn.torch.layer_options.Options`; further sizes
            (`output_size=10` for a cell that names the size `output`), lists too; and
            hyperparameters.

    Attributes:
        output_size: The size of the output of the first layer in one direction.

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

    def __init__(
        self,
        cell: Directions | list[Directions],
        input_size: int,
        hidden_size: int | list[int] | None = None,
        num_layers: int | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int | list[int] = 0,
        memory: str = "high",
        **options: Any,
    ) -> None:
        super().__init__()
        flags = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
        for name, value in flags.items():
            check_flag(name, value)
        dropout = check_probability("dropout", dropout, SizeError)
        check_place(device, dtype)
        sizes = {"hidden": hidden_size, "proj": proj_size or 0}
        self._structure = _structure(
            cell, input_size, sizes, num_layers, bias, bidirectional, options
        )
        first, count = self._structure.first, len(self._structure.layers)
        if dropout and count == 1:
            warnings.warn(
                f"dropout={dropout} acts between layers, and num_layers=1: it has no effect",
                stacklevel=2,
            )
        self.cell, self.sizes, self.output_size = first.cell, first.sizes, first.output_size
        self.input_size, self.proj_size = first.sizes["input"], proj_size or 0
        listed = isinstance(hidden_size, list)
        self.hidden_size = hidden_size if listed else self.sizes.get("hidden")
        self.num_layers, self.bias, self.batch_first = count, bias, batch_first
        self.dropout, self.bidirectional = dropout, bidirectional
        self.memory = check_memory(memory)
        with enough_memory():
            self._register(device, dtype)
        # the type and device of a layer without parameters
        self.register_buffer("_like", torch.empty(0, device=device, dtype=dtype), persistent=False)
        self.reset_parameters()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute.

        Raises:
            InputError: The layer was made with another value of it, which parameters and equations
                follow from.
        """
        if name in MADE_OF and self.__dict__.get(name, value) != value:
            raise InputError(
                f"{name} cannot be changed in a layer that is made ({getattr(self, name)}, now "
                f"{value}); make a new one: Recurrent(...)"
            )
        super().__setattr__(name, value)

    def forward(
        self,
        input: Input,
        state: State | None = None,
        lengths: Any = None,
        *,
        mask: Any = None,
        resets: Any = None,
        reset_state: Any = GIVEN,
        padding: str = "zero",
        return_states: str = "last",
    ) -> tuple[Input, State]:
        """Run the layer over sequences.

        Args:
            input: (time, batch, input), (batch, time, input) if batch_first, (time, input) for one
                sequence, or a PackedSequence.
            state: The initial state, (layers x directions, batch, size), a tuple of them for a cell
                with several states; a tuple of these, one for each layer, where layers differ in
                cell or size. Zeros, or what was learned, if not given.
            lengths: The number of steps of each sequence, in any order; 0 is one too.
            mask: Whether each step counts, booleans (time, batch), with both as in the input. Over
                a step that does not count the state is carried, in both directions. Besides
                lengths, both have to hold.
            resets: Whether the state is put back to its initial value before each step, booleans
                as the mask; the gradient does not go past it.
            reset_state: What it is put back to: `given` for the initial state of this call, None
                for the usual one, which is zeros or what was learned; or a state.
            padding: What outputs are at steps that do not count: `zero`, or `carry` for the last
                output before them.
            return_states: `last`, or `all`: the states after every step.

        Returns:
            The outputs, laid out as the input; and the last state, laid out as the initial one, or
            all states, (layers x directions, time, batch, size) with batch and time as in the
            input; in a PackedSequence each row is (layers x directions, size).

        Raises:
            InputError: A shape, a type, a device, a length or a mask is not what the layer takes.
        """
        if lengths is mask is resets is None and return_states == "last":
            single = self._single_step(input, state)
            if single is not None:
                return single
        marks = Marks(lengths, mask, resets, reset_state, padding)
        return self._call(input, state, marks, return_states)

    def extra_repr(self) -> str:
        """The options that differ from their defaults."""
        layers = self._made().layers
        names = [" and ".join(dict.fromkeys(p.cell.name for p in layer)) for layer in layers]
        sizes: dict[str, object] = {
            f"{name}_size": size for name, size in self.sizes.items() if not name.endswith("_head")
        }
        if isinstance(self.hidden_size, list):
            sizes["hidden_size"] = self.hidden_size
        if self.proj_size != 0:
            sizes.pop("projection_size", None)
            sizes["proj_size"] = self.proj_size
        text = names[0] if len(set(names)) == 1 else f"[{', '.join(names)}]"
        text += "".join(f", {name}={size}" for name, size in sizes.items())
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        for option in ("batch_first", "bidirectional"):
            text += f", {option}=True" if getattr(self, option) else ""
        text += "" if self.bias else ", bias=False"
        text += f", dropout={self.dropout}" if self.dropout else ""
        return text + self._further_options()
