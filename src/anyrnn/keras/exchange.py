"""The weights of Keras models as those of PyTorch, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from anyrnn.errors import InputError, MissingExtraError
from anyrnn.keras.layouts import Arrays, from_families, to_families, to_keras
from anyrnn.keras.layouts import to_torch as recurrent_to_torch
from anyrnn.keras.weights import GATES

Names = Mapping[str, str]
Shapes = list[dict[str, tuple[int, ...]]]

_CELLS = {
    keras.layers.SimpleRNNCell: "rnn",
    keras.layers.LSTMCell: "lstm",
    keras.layers.GRUCell: "gru",
}
_RECURRENT = re.compile(
    r"(?:(?P<prefix>.*)\.)?(?P<name>weight_ih|weight_hh|bias_ih|bias_hh|W|U|b|d)"
    r"_l(?P<number>\d+)(?P<reverse>_reverse)?"
)
_OTHER = re.compile(r"(?:(?P<prefix>.*)\.)?(?P<name>weight|bias)")


@dataclass(frozen=True, eq=False)
class Part:
    """A layer of a Keras model that has weights, or one cell of a stack.

    Attributes:
        name: What the Keras model calls the layer.
        kind: Our cell of the same equations; or `dense` or `embedding`.
        layer: The Keras layer.
        owners: What has the weights: the Keras cell of each direction, or the layer.
    """

    name: str
    kind: str
    layer: Any
    owners: tuple[Any, ...]

    @property
    def recurrent(self) -> bool:
        """Whether it is an RNN, an LSTM or a GRU."""
        return self.kind in GATES

    def arrays(self) -> list[Arrays]:
        """The weights of each direction by the names of torch.nn."""
        found = []
        for owner in self.owners:
            if self.recurrent:
                names = ["kernel", "recurrent_kernel", "bias"][: 2 + owner.use_bias]
                stored = {name: _array(getattr(owner, name).value) for name in names}
                found.append(recurrent_to_torch(self.kind, stored))
            elif self.kind == "embedding":
                found.append({"weight": _array(owner.embeddings.value)})
            else:
                bias = {"bias": _array(owner.bias.value)} if owner.use_bias else {}
                found.append({"weight": _array(owner.kernel.value).T, **bias})
        return found

    def shapes(self) -> list[Shapes]:
        """The sizes of its weights, by the names of torch.nn or of `anyrnn.torch.Recurrent`."""
        arrays = self.arrays()
        if not self.recurrent:
            return [_shapes(arrays)]
        families = _shapes(to_families(self.kind, each) for each in arrays)
        return [families] if self.kind == "gru_reset_before" else [_shapes(arrays), families]

    def variables(self, directions: list[Arrays]) -> list[tuple[Any, Any]]:
        """The Keras variables, each with what PyTorch's weights make it."""
        found = []
        for owner, arrays in zip(self.owners, directions, strict=True):
            if self.recurrent:
                values = to_keras(self.kind, from_families(self.kind, arrays))
            elif self.kind == "embedding":
                values = {"embeddings": arrays["weight"]}
            else:
                values = {"kernel": arrays["weight"].T}
                values |= {"bias": arrays["bias"]} if "bias" in arrays else {}
            found += [(getattr(owner, name), value) for name, value in values.items()]
        return found

    def __str__(self) -> str:
        """For messages: the name, the class and the sizes."""
        sizes = ", ".join(f"{name} {shape}" for name, shape in self.shapes()[0][0].items())
        return f"layer '{self.name}' ({type(self.layer).__name__}: {sizes})"


@dataclass(eq=False)
class Unit:
    """What a state_dict holds for one layer.

    Attributes:
        prefix: What stands before its names.
        number: Which of the layers on top of each other; 0 where there is one.
        directions: The arrays of each direction by name.
    """

    prefix: str
    number: int
    directions: list[Arrays] = field(default_factory=list)

    def fits(self, part: Part) -> bool:
        """Whether its sizes are those of a part."""
        return _shapes(self.directions) in part.shapes()

    def __str__(self) -> str:
        """For messages: the name of each array and its size."""
        named = ", ".join(f"{name} {shape}" for name, shape in _shapes(self.directions)[0].items())
        return f"'{self.prefix}' ({named})" if self.prefix else named


def to_torch(model: Any, names: Names | None = None) -> dict[str, Any]:
    """The weights of a Keras model or layer as a state_dict of PyTorch.

    SimpleRNN, LSTM and GRU become those of torch.nn and of `anyrnn.torch`; a GRU with
    `reset_after=False`, which torch.nn does not have, `anyrnn.torch.Recurrent("gru_reset_before")`.
    Dense becomes Linear, Embedding stays one. The bias of an RNN or an LSTM is `bias_ih`, and
    `bias_hh` is zero. Recurrent layers of one form that follow each other become one with several
    layers, past Dropout.

    Args:
        model: The model or the layer, built.
        names: What a layer is called in PyTorch, by its name in Keras, if not the same; layers of
            one name are one with several layers. Where nothing but one recurrent layer is, it has
            no name.

    Returns:
        Tensors by name, copies of the weights.

    Raises:
        InputError: A layer with weights has no counterpart, or a name is that of no layer.
        MissingExtraError: PyTorch is not installed.

    Example:
        >>> import keras, torch
        >>> from anyrnn.keras import to_torch
        >>> ours = keras.layers.LSTM(5, return_sequences=True)
        >>> ours.build((None, None, 3))
        >>> theirs = torch.nn.LSTM(3, 5, batch_first=True)
        >>> theirs.load_state_dict(to_torch(ours))
        <All keys matched successfully>
        >>> x = torch.randn(2, 7, 3)
        >>> found = keras.ops.convert_to_numpy(ours(x.numpy()))
        >>> bool(abs(found - theirs(x)[0].detach().numpy()).max() < 1e-6)
        True
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError(
            "a state_dict needs 'torch', which is not installed; pip install 'anyrnn[torch]'"
        ) from None
    return {name: torch.tensor(array) for name, array in to_arrays(model, names).items()}


def to_arrays(model: Any, names: Names | None = None) -> Arrays:
    """As `to_torch`, but NumPy arrays, without PyTorch."""
    found = {}
    for prefix, parts in torch_layers(model, names).items():
        for number, part in enumerate(parts):
            for arrays, reverse in zip(part.arrays(), ("", "_reverse"), strict=False):
                if part.kind == "gru_reset_before":
                    arrays = to_families(part.kind, arrays)
                end = f"_l{number}{reverse}" if part.recurrent else ""
                start = f"{prefix}." if prefix else ""
                for name, array in arrays.items():
                    found[f"{start}{name}{end}"] = np.ascontiguousarray(array)
    return found


def from_torch(model: Any, state_dict: Mapping[str, Any], names: Names | None = None) -> None:
    """Fill a Keras model or layer with the weights of a state_dict of PyTorch.

    The bias of an RNN or an LSTM is the sum of `bias_ih` and `bias_hh`. What goes where follows
    from the names, and where they differ from the sizes, as long as only one layer has them.

    Args:
        model: The model or the layer, built; a mistake leaves it as it is.
        state_dict: Tensors or arrays by name.
        names: What a layer is called in PyTorch, by its name in Keras, if not the same.

    Raises:
        InputError: A layer has no counterpart or several, or a number would have to be rounded.

    Example:
        >>> import keras, torch
        >>> from anyrnn.keras import from_torch
        >>> theirs = torch.nn.Sequential(torch.nn.Embedding(9, 3), torch.nn.Linear(3, 2))
        >>> ours = keras.Sequential([keras.layers.Embedding(9, 3), keras.layers.Dense(2)])
        >>> ours.build((None, 4))
        >>> from_torch(ours, theirs.state_dict())
        >>> bool((keras.ops.convert_to_numpy(ours.layers[1].bias) ==
        ...       theirs[1].bias.detach().numpy()).all())
        True
    """
    pending = []
    for part, unit in pairs(model, state_dict, names):
        for variable, array in part.variables(unit.directions):
            wanted = keras.backend.standardize_dtype(variable.dtype)
            if not np.can_cast(array.dtype, np.dtype(wanted), "safe"):
                raise InputError(
                    f"{unit} is {array.dtype}, but the layer '{part.name}' is {wanted}; convert "
                    f"the tensors, or make the model with dtype='{array.dtype}'"
                )
            pending.append((variable, array))
    for variable, array in pending:
        variable.assign(array)


def pairs(
    model: Any, state_dict: Mapping[str, Any], names: Names | None = None
) -> list[tuple[Part, Unit]]:
    """Which part of a Keras model takes which weights of PyTorch.

    Args:
        model: The model or the layer, built.
        state_dict: Tensors or arrays by name.
        names: What a layer is called in PyTorch, by its name in Keras, if not the same.

    Raises:
        InputError: A layer has no counterpart or several.
    """
    return list(_matched(torch_layers(model, names), units_of(state_dict), names or {}))


def torch_layers(model: Any, names: Names | None = None) -> dict[str, list[Part]]:
    """The parts of a Keras model, by the names that their layers have in PyTorch.

    Args:
        model: The model or the layer, built.
        names: What a layer is called in PyTorch, by its name in Keras, if not the same.

    Raises:
        InputError: A layer with weights has no counterpart, or a name is that of no layer.
    """
    parts, names = parts_of(model), names or {}
    unknown = [name for name in names if name not in {part.name for part in parts}]
    if unknown:
        listing = ", ".join(dict.fromkeys(part.name for part in parts))
        raise InputError(f"no layer with weights is called '{unknown[0]}'; there are: {listing}")
    prefixes: list[str] = []
    for k, part in enumerate(parts):
        follows = k > 0 and part.name not in names and _continues(parts[k - 1], part)
        prefixes.append(prefixes[-1] if follows else names.get(part.name, part.name))
    if not names and len(set(prefixes)) == 1 and parts[0].recurrent:
        prefixes = [""] * len(parts)
    layers: dict[str, list[Part]] = {}
    for part, prefix in zip(parts, prefixes, strict=True):
        layers.setdefault(prefix, []).append(part)
    for prefix, found in layers.items():
        if any(not _of_one_form(found[0], part) for part in found[1:]):
            listing = ", ".join(dict.fromkeys(f"'{part.name}'" for part in found))
            called = f" '{prefix}'" if prefix else ""
            raise InputError(
                f"{listing} cannot be one layer{called} of PyTorch: they are of different kinds"
            )
    return layers


def parts_of(model: Any) -> list[Part]:
    """The layers of a Keras model that have weights, in its order.

    Raises:
        InputError: A layer with weights has no counterpart in PyTorch, or is not built.
    """
    layers = model.layers if isinstance(model, keras.Model) else [model]
    visited: set[int] = set()
    found = [part for layer in layers for part in _walk(layer, "", visited)]
    if not found:
        raise InputError(f"'{model.name}' has no layer with weights; build it, or call it once")
    return found


def units_of(state_dict: Mapping[str, Any]) -> list[Unit]:
    """What a state_dict holds, layer by layer.

    Raises:
        InputError: An entry belongs to no layer that converts.
    """
    units: dict[tuple[str, int], Unit] = {}
    for key, value in state_dict.items():
        array = _array(value)
        match = _RECURRENT.fullmatch(key) or _OTHER.fullmatch(key)
        if "weight_hr_l" in key:
            raise InputError(f"'{key}' is of an LSTM with proj_size; Keras has no projection")
        if match is None or array.ndim > 2:
            raise InputError(
                f"'{key}' of shape {array.shape} belongs to no RNN, LSTM, GRU, Linear or Embedding"
                " of torch.nn, and to no such cell of anyrnn.torch; nothing else converts"
            )
        parts = match.groupdict()
        place = parts["prefix"] or "", int(parts.get("number") or 0)
        unit = units.setdefault(place, Unit(*place))
        direction = bool(parts.get("reverse"))
        unit.directions += [{} for _ in range(direction + 1 - len(unit.directions))]
        unit.directions[direction][parts["name"]] = array
    return sorted(units.values(), key=lambda unit: unit.number)


def _walk(layer: Any, path: str, visited: set[int]) -> Iterable[Part]:
    if id(layer) in visited:
        return
    visited.add(id(layer))
    name = path + layer.name
    if isinstance(layer, keras.Model):
        for each in layer.layers:
            yield from _walk(each, f"{name}.", visited)
    elif isinstance(layer, keras.layers.TimeDistributed) and not _recurrent_cells(layer.layer):
        for part in _walk(layer.layer, "", visited):
            yield Part(name, part.kind, part.layer, part.owners)
    elif cells := _recurrent_cells(layer):
        for owners in zip(*cells, strict=True):
            yield Part(name, _kind(name, owners), layer, owners)
    elif type(layer) in (keras.layers.Dense, keras.layers.Embedding):
        _check_built(layer)
        yield Part(name, type(layer).__name__.lower(), layer, (layer,))
    elif layer.weights or not layer.built:
        raise InputError(
            f"layer '{name}' is a {type(layer).__name__}; only SimpleRNN, LSTM, GRU, Bidirectional"
            ", Dense, Embedding and layers without weights convert"
        )


def _recurrent_cells(layer: Any) -> list[list[Any]]:
    """The cells of each direction; nothing if it is no recurrent layer."""
    if isinstance(layer, keras.layers.Bidirectional):
        both = _recurrent_cells(layer.forward_layer), _recurrent_cells(layer.backward_layer)
        return [*both[0], *both[1]]
    if not isinstance(layer, keras.layers.RNN):
        return []
    cell = layer.cell
    return [list(cell.cells) if isinstance(cell, keras.layers.StackedRNNCells) else [cell]]


def _kind(name: str, cells: tuple[Any, ...]) -> str:
    kinds = set()
    for cell in cells:
        found = next((kind for base, kind in _CELLS.items() if isinstance(cell, base)), None)
        if found is None:
            raise InputError(
                f"layer '{name}' has the cell {type(cell).__name__}; expected a SimpleRNNCell, "
                "LSTMCell or GRUCell"
            )
        _check_built(cell)
        before = found == "gru" and not cell.reset_after
        kinds.add("gru_reset_before" if before else found)
    if len(kinds) > 1:
        raise InputError(f"layer '{name}' has two kinds of cells, {' and '.join(sorted(kinds))}")
    return kinds.pop()


def _check_built(layer: Any) -> None:
    if not layer.built:
        raise InputError(f"layer '{layer.name}' has no weights yet; build it, or call it once")


def _form(part: Part) -> tuple[Any, ...]:
    """What the layers of one layer of PyTorch have in common."""
    if not part.recurrent:
        return (id(part),)
    cells = [
        (cell.use_bias, cell.activation, getattr(cell, "recurrent_activation", None))
        for cell in part.owners
    ]
    merge = getattr(part.layer, "merge_mode", None)
    return part.kind, cells, merge, getattr(part.layer, "go_backwards", None)


def _of_one_form(first: Part, second: Part) -> bool:
    return _form(first) == _form(second)


def _continues(before: Part, part: Part) -> bool:
    """Whether a layer is a further one of the layer of PyTorch that a part belongs to."""
    if not _of_one_form(before, part) or getattr(part.layer, "go_backwards", False):
        return False
    if part.layer is before.layer:
        return True
    alike = before.owners[0].units == part.owners[0].units
    return alike and _input_of(part.layer) is before.layer


def _input_of(layer: Any) -> Any:
    """The layer whose output one reads, past Dropout; None where no graph says so."""
    try:
        given = layer.input
    except (AttributeError, ValueError):
        return None
    tensor = given[0] if isinstance(given, list | tuple) else given
    source = tensor._keras_history.operation
    return _input_of(source) if isinstance(source, keras.layers.Dropout) else source


def _matched(
    layers: Mapping[str, list[Part]], units: list[Unit], names: Names
) -> Iterable[tuple[Part, Unit]]:
    """Which part takes what: by name, then by sizes."""
    parts: list[Part] = []
    for prefix, named in layers.items():
        own = [unit for unit in units if unit.prefix == prefix]
        if len(own) == len(named) and all(map(Unit.fits, own, named)):
            yield from zip(named, own, strict=True)
            units = [unit for unit in units if unit not in own]
        elif any(part.name in names for part in named):
            raise InputError(_misfit(named[0], own or units))
        else:
            parts += named
    groups: dict[tuple[int, ...], list[Part]] = {}
    for part in parts:
        fitting = tuple(k for k, unit in enumerate(units) if unit.fits(part))
        groups.setdefault(fitting, []).append(part)
    for fitting, group in groups.items():
        found = [units[k] for k in fitting]
        if not found:
            raise InputError(_misfit(group[0], units))
        if len(found) != len(group) or len({unit.prefix for unit in found}) > 1:
            listing = ", ".join(f"'{unit.prefix}'" for unit in found)
            first = group[0].name
            raise InputError(
                f"layer '{first}' may be any of {listing}, which have its sizes; name one, as "
                f"{first}={found[0].prefix}"
            )
        yield from zip(group, found, strict=True)
    left = [unit for k, unit in enumerate(units) if not any(k in fitting for fitting in groups)]
    if left:
        raise InputError(f"the model has no layer for {left[0]} of the state_dict")


def _misfit(part: Part, units: Iterable[Unit]) -> str:
    listing = "; ".join(map(str, units)) or "nothing more"
    hint = ""
    if part.kind == "gru_reset_before":
        hint = " (reset_after=False, which torch.nn.GRU does not have)"
    return f"nothing has the sizes of {part}{hint}; the state_dict has {listing}"


def _array(value: Any) -> Any:
    """A tensor of PyTorch, or what NumPy takes, as an array; bfloat16 is widened."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        value = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    array = np.array(value)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _shapes(directions: Iterable[Arrays]) -> Shapes:
    return [{name: array.shape for name, array in arrays.items()} for arrays in directions]
