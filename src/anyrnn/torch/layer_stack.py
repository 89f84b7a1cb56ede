"""The stack of layers and directions inside a recurrent module, and the form of its states.

Where all parts are alike, a state is one tensor (layers x directions, batch, size) as in torch.nn;
otherwise it is a tuple with an entry for each layer, and for each direction of a layer whose
directions differ.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from torch import Tensor

from anyrnn.errors import InputError, SizeError
from anyrnn.graph.cell import Cell
from anyrnn.graph.sizes import as_whole
from anyrnn.torch import vendor_path
from anyrnn.torch.layer_options import Options
from anyrnn.torch.layer_part import LayerPart, Name
from anyrnn.torch.packed_rows import Rows
from anyrnn.torch.tensors import check_tensor
from anyrnn.transforms.dropout import with_zoneout

MOST_LAYERS = 10_000

State = Tensor | tuple["State", ...]


@dataclass(eq=False)
class StackedStates:
    """The form of the states of parts that are alike: each state is one tensor for all parts.

    Attributes:
        names: The names of the states.
        sizes: Their sizes.
        count: The number of parts.
        place: For messages: the name of the first axis, and whose states these are.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    count: int
    place: tuple[str, str]

    def read(self, given: object, rows: Rows, like: Tensor) -> list[list[Tensor]]:
        """The states of each part, (batch, size).

        Args:
            given: A tensor for a cell with one state, else a tuple of tensors, each (parts, batch,
                size), or (parts, size) for one sequence without a batch.
            rows: The input.
            like: A parameter of the layer.

        Raises:
            InputError: The states are not what the layer takes.
        """
        axis, whose = self.place
        alone = len(self.names) == 1 and not isinstance(given, tuple | list)
        tensors = (given,) if alone else given
        if not isinstance(tensors, tuple | list) or len(tensors) != len(self.names):
            count = len(tensors) if isinstance(tensors, tuple | list) else 1
            raise InputError(
                f"{count} initial states{whose} were given; expected {len(self.names)}: "
                f"({', '.join(self.names)})"
            )
        states = []
        for name, size, tensor in zip(self.names, self.sizes, tensors, strict=True):
            tensor = check_tensor(f"the state {name}{whose}", tensor, like)
            wanted = (self.count, rows.batch, size) if rows.batched else (self.count, size)
            if tuple(tensor.shape) != wanted:
                parts = f"({axis}, batch, size)" if rows.batched else f"({axis}, size)"
                raise InputError(
                    f"the state {name}{whose} has shape {tuple(tensor.shape)}; expected {wanted}: "
                    f"{parts}"
                )
            states.append(tensor if rows.batched else tensor.unsqueeze(1))
        try:
            return [[tensor[index] for tensor in states] for index in range(self.count)]
        except RuntimeError as error:  # its storage was freed
            raise InputError(f"an initial state{whose} has no memory: {error}") from None


Form = StackedStates | tuple["Form", ...]
Values = list[Tensor] | None


def _alike(parts: Sequence[LayerPart]) -> bool:
    return all(part.like(parts[0]) for part in parts)


def _stacked(parts: Sequence[LayerPart], axis: str, whose: str) -> StackedStates:
    first = parts[0]
    return StackedStates(first.cell.states, tuple(first.state_sizes), len(parts), (axis, whose))


def state_form(layers: Sequence[Sequence[LayerPart]]) -> Form:
    """The form of the states of a layer's parts."""
    parts = [part for layer in layers for part in layer]
    if _alike(parts):
        return _stacked(parts, "layers x directions", "")
    return tuple(
        _stacked(layer, "directions", f" of layer {place}")
        if _alike(layer)
        else tuple(_stacked([part], "1", f" of {part.suffix[1:]}") for part in layer)
        for place, layer in enumerate(layers)
    )


def read_states(
    form: Form, given: object, rows: Rows, like: Tensor, whose: str = ""
) -> list[Values]:
    """The initial states of each part, (batch, size); None for those that were not given.

    Raises:
        InputError: The states are not what the layer takes.
    """
    if isinstance(form, StackedStates):
        return [None] * form.count if given is None else [*form.read(given, rows, like)]
    entries: Sequence[Any] = [None] * len(form)
    if given is not None:
        if not isinstance(given, tuple | list) or len(given) != len(form):
            count = len(given) if isinstance(given, tuple | list) else "one tensor"
            what = "direction" if whose else "layer"
            raise InputError(
                f"the initial state{whose} is a {type(given).__name__} ({count}); expected a tuple "
                f"with an entry for each of {len(form)} {what}s"
            )
        entries = given
    found = []
    for place, (part, entry) in enumerate(zip(form, entries, strict=True)):
        found += read_states(part, entry, rows, like, f" of layer {place}")
    return found


def stack_states(
    form: Form, values: Iterator[Sequence[Tensor]], stack: Callable[[Sequence[Tensor]], Any]
) -> list[Any]:
    """The states of all parts, those of parts that are alike in one.

    Args:
        form: The form.
        values: The states of each part.
        stack: Makes one tensor of the same state of parts that are alike.
    """
    if isinstance(form, StackedStates):
        return [*map(stack, zip(*islice(values, form.count), strict=True))]
    return [state for part in form for state in stack_states(part, values, stack)]


def write_states(form: Form, states: Iterator[Any]) -> Any:
    """The states, as `stack_states` gives them, in the caller's form."""
    if not isinstance(form, StackedStates):
        return tuple(write_states(part, states) for part in form)
    own = tuple(islice(states, len(form.names)))
    return own[0] if len(own) == 1 else own


def detached(state: State | None) -> Any:
    """The state, detached from autograd's graph; anything else as it is."""
    if isinstance(state, tuple | list):
        return tuple(map(detached, state))
    return state.detach() if isinstance(state, Tensor) else state


@dataclass(eq=False)
class LayerStack:
    """The parts of a layer.

    Attributes:
        layers: For each layer its directions.
        options: How they are put together.
    """

    layers: tuple[tuple[LayerPart, ...], ...]
    options: Options

    def __post_init__(self) -> None:
        """Compute what calls read."""
        self.parts = tuple(part for layer in self.layers for part in layer)
        self.first, self.form = self.parts[0], state_form(self.layers)
        self.example = next(iter(self.first.names.values()), None)
        self.input_size = self.first.sizes["input"]
        options = self.options
        if options.weight_dropout:
            for part in self.parts:
                part.find_recurrent_rows(options.weight_dropout)
        self.drops = options.input_dropout > 0 or options.weight_dropout > 0
        self.drops |= any(part.cell is not part.training_cell for part in self.parts)
        skips = options.residual or options.highway
        passed = [
            (layer[0].sizes["input"], _output_size(layer, options.merge)) for layer in self.layers
        ]
        self.skips = [skips and entering == output for entering, output in passed]
        if skips and not any(self.skips):
            option = "residual" if options.residual else "highway"
            sizes = ", ".join(f"{entering} to {output}" for entering, output in passed)
            raise SizeError(
                f"{option}=True needs a layer whose output is as large as its input; the layers "
                f"make {sizes}"
            )
        self.bidirectional = any(len(layer) > 1 for layer in self.layers)
        if options.merge != "concat" and not self.bidirectional:
            raise InputError(
                f"merge='{options.merge}' joins two directions; it needs bidirectional=True"
            )
        self.single = len(self.parts) == 1 and not any(self.skips)

    def cells(self, training: bool) -> set[Cell]:
        """What is run, in training or outside of it."""
        return {part.training_cell if training else part.cell for part in self.parts}

    @cached_property
    def torch_mode(self) -> str | None:
        """What torch.nn calls the cell, if one of its layers is as this one; else None. Whatever is
        dropped in training does not count.
        """
        if not _alike(self.parts) or any(self.skips) or self.options.merge != "concat":
            return None
        return vendor_path.mode(self.first.cell)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter of the module.

        Raises:
            SizeError: One is too large to be addressed.
            InputError: An option makes a parameter that is called as one of a cell.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        states, highways = {}, {}
        for part in self.parts:
            for name, shape in part.cell.stored_shapes(part.sizes).items():
                shapes[part.names[name]] = shape
                if math.prod(shape) > sys.maxsize // 8:
                    raise SizeError(
                        f"the parameter {name} has {' x '.join(map(str, shape))} numbers, more "
                        "than can be addressed; use smaller sizes"
                    )
            if self.options.learn_initial_state:
                sizes = [(size,) for size in part.state_sizes]
                states |= zip(part.initial_names, sizes, strict=True)
        for place, layer in enumerate(self.layers):
            if self.options.highway and self.skips[place]:
                size = layer[0].sizes["input"]
                highways[f"highway_weight_l{place}"] = (size, size)
                highways[f"highway_bias_l{place}"] = (size,)
        for option, own in ("learn_initial_state", states), ("highway", highways):
            for name in sorted(own.keys() & shapes):
                raise InputError(
                    f"{option}=True makes the parameter {name}, and the cell has a parameter that "
                    "is called so; rename it"
                )
            shapes |= own
        return shapes

    def initialisation(self) -> tuple[dict[str, float], dict[str, float]]:
        """By name, the bound of parameters that are drawn uniformly, and the value of those that
        start with a constant.
        """
        bounds, constants = {}, {}
        for part in self.parts:
            bound = 1 / math.sqrt(part.sizes.get("hidden", part.state_sizes[-1]))
            bounds |= dict.fromkeys(part.names.values(), bound)
            constants |= {part.names[name]: value for name, value in part.cell.initial.items()}
            if self.options.learn_initial_state:
                constants |= dict.fromkeys(part.initial_names, 0.0)
        if self.options.highway:
            skips = enumerate(self.skips)
            constants |= {f"highway_bias_l{place}": -1.0 for place, skip in skips if skip}
        return bounds, constants


def _output_size(layer: Sequence[LayerPart], merge: str) -> int:
    """The size of the output of a layer."""
    if merge == "concat":
        return sum(part.output_size for part in layer)
    return layer[0].output_size


def count_layers(num_layers: int | None, lists: Mapping[str, object]) -> int:
    """The number of layers.

    Args:
        num_layers: The number that was given, if any.
        lists: Options by name, some of which are lists with an element for each layer.

    Raises:
        SizeError: The numbers disagree, or it is none.
    """
    counts = {n: len(each) for n, each in lists.items() if isinstance(each, list)}
    whole = as_whole(num_layers)
    if num_layers is not None and (whole is None or whole < 1):
        raise SizeError(f"num_layers={num_layers!r}; expected a whole number of at least 1")
    if whole is not None and whole > MOST_LAYERS:
        raise SizeError(f"num_layers={num_layers}; expected at most {MOST_LAYERS}")
    for name, count in counts.items():
        if not count:
            raise SizeError(f"{name}=[]; expected an element for each layer")
        wanted = whole or next(iter(counts.values()))
        if count != wanted:
            other = f"num_layers={num_layers}" if num_layers else f"{next(iter(counts))} {wanted}"
            raise SizeError(
                f"{name} has an element for each of {count} layers, but {other}; make them agree"
            )
    return whole or next(iter(counts.values()), 1)


def build(
    cells: Iterable[Sequence[Cell]],
    input_size: int,
    sizes: Sequence[Mapping[str, int | None]],
    options: Options,
    name: Name,
) -> LayerStack:
    """Put a layer together.

    Args:
        cells: For each layer the cell of each direction.
        input_size: The size of the first layer's input.
        sizes: For each layer the other named sizes that were given; names that a cell does not
            have are ignored, unless there is only one cell.
        options: How the layers are put together.
        name: What a stored parameter is called by the module, without the layer.

    Raises:
        SizeError: Sizes that are missing or contradict each other.
    """
    layers: list[tuple[LayerPart, ...]] = []
    cells = [tuple(layer) for layer in cells]
    alone = len({cell for layer in cells for cell in layer}) == 1
    for place, (layer, given) in enumerate(zip(cells, sizes, strict=True)):
        parts = []
        for direction, cell in enumerate(layer):
            numbers = {
                key: number
                for key, number in given.items()
                if (not place and alone) or _chosen(cell, key)
            }
            bound = cell.bind_sizes(input=input_size, **numbers)
            trained = options.in_training(cell)
            cell = with_zoneout(cell, options.zoneout, expected=True)
            parts.append(LayerPart(cell, trained, tuple(bound.items()), place, direction, name))
        made = {part.output_size for part in parts}
        if options.merge != "concat" and len(made) > 1:
            outputs = " and ".join(str(part.output_size) for part in parts)
            raise SizeError(
                f"merge='{options.merge}' needs outputs of one size; the directions of layer "
                f"{place} have {outputs}; use merge='concat'"
            )
        if alone and place and sizes[place] == sizes[0] and not parts[0].like(layers[0][0]):
            raise SizeError(
                f"cell '{layer[0].name}' has states as large as its input, and the second layer's "
                f"input is {input_size}, the first one's {layers[0][0].sizes['input']}; use "
                "num_layers=1, or one direction"
            )
        layers.append(tuple(parts))
        input_size = _output_size(parts, options.merge)
    return LayerStack(tuple(layers), options)


def _chosen(cell: Cell, size: str) -> bool:
    """Whether a cell has a size, and it does not follow from the input."""
    return size in cell.sizes and "input" not in cell.sizes[size].names
