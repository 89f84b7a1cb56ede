"""The layers with weights: those of a Keras model, and those of a PyTorch state_dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from anyrnn.errors import InputError
from anyrnn.keras.array_conversion import Arrays, from_families, to_families, to_keras
from anyrnn.keras.array_conversion import to_torch as recurrent_to_torch
from anyrnn.keras.cells import name_of_own
from anyrnn.keras.gate_order import GATES

Shapes = list[dict[str, tuple[int, ...]]]

_RECURRENT = re.compile(
    r"(?:(?P<prefix>.*)\.)?(?P<name>weight_ih|weight_hh|bias_ih|bias_hh|W|U|b|d)"
    r"_l(?P<number>\d+)(?P<reverse>_reverse)?"
)
_OTHER = re.compile(r"(?:(?P<prefix>.*)\.)?(?P<name>weight|bias)")


@dataclass(frozen=True, eq=False)
class WeightedLayer:
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
        """The Keras variables, each with its new value from PyTorch's weights."""
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
class StateDictLayer:
    """The arrays of a state_dict that belong to one layer.

    Attributes:
        prefix: What stands before the names of its arrays.
        number: Its place in a stack of layers; 0 where there is one.
        directions: The arrays of each direction by name.
    """

    prefix: str
    number: int
    directions: list[Arrays] = field(default_factory=list)

    def fits(self, layer: WeightedLayer) -> bool:
        """Whether its shapes are those of a weighted layer."""
        return _shapes(self.directions) in layer.shapes()

    def __str__(self) -> str:
        """For messages: the name of each array and its size."""
        named = ", ".join(f"{name} {shape}" for name, shape in _shapes(self.directions)[0].items())
        return f"'{self.prefix}' ({named})" if self.prefix else named


def weighted_layers(model: Any) -> list[WeightedLayer]:
    """The layers of a Keras model that have weights, in its order.

    Raises:
        InputError: A layer with weights has no counterpart in PyTorch, or is not built.
    """
    layers = model.layers if isinstance(model, keras.Model) else [model]
    visited: set[int] = set()
    found = [each for layer in layers for each in _walk(layer, "", visited)]
    if not found:
        raise InputError(f"'{model.name}' has no layer with weights; build it, or call it once")
    return found


def state_dict_layers(state_dict: Mapping[str, Any]) -> list[StateDictLayer]:
    """The layers of a state_dict.

    Raises:
        InputError: An entry belongs to no layer that converts.
    """
    found: dict[tuple[str, int], StateDictLayer] = {}
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
        source = found.setdefault(place, StateDictLayer(*place))
        direction = bool(parts.get("reverse"))
        source.directions += [{} for _ in range(direction + 1 - len(source.directions))]
        source.directions[direction][parts["name"]] = array
    return sorted(found.values(), key=lambda source: source.number)


def _walk(layer: Any, path: str, visited: set[int]) -> Iterable[WeightedLayer]:
    if id(layer) in visited:
        return
    visited.add(id(layer))
    name = path + layer.name
    if isinstance(layer, keras.Model):
        for each in layer.layers:
            yield from _walk(each, f"{name}.", visited)
    elif isinstance(layer, keras.layers.TimeDistributed) and not _recurrent_cells(layer.layer):
        for inner in _walk(layer.layer, "", visited):
            yield WeightedLayer(name, inner.kind, inner.layer, inner.owners)
    elif cells := _recurrent_cells(layer):
        for owners in zip(*cells, strict=True):
            yield WeightedLayer(name, _kind(name, owners), layer, owners)
    elif type(layer) in (keras.layers.Dense, keras.layers.Embedding):
        _check_built(layer)
        yield WeightedLayer(name, type(layer).__name__.lower(), layer, (layer,))
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
        found = name_of_own(cell)
        if found is None:
            raise InputError(
                f"layer '{name}' has the cell {type(cell).__name__}; expected a SimpleRNNCell, "
                "LSTMCell or GRUCell"
            )
        _check_built(cell)
        kinds.add(found)
    if len(kinds) > 1:
        raise InputError(f"layer '{name}' has two kinds of cells, {' and '.join(sorted(kinds))}")
    return kinds.pop()


def _check_built(layer: Any) -> None:
    if not layer.built:
        raise InputError(f"layer '{layer.name}' has no weights yet; build it, or call it once")


def _array(value: Any) -> Any:
    """A tensor of PyTorch, or what NumPy takes, as an array; bfloat16 is widened."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        value = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    array = np.array(value)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _shapes(directions: Iterable[Arrays]) -> Shapes:
    return [{name: array.shape for name, array in arrays.items()} for arrays in directions]
