"""Exchange of weights between models of Keras and of PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from anyrnn.errors import InputError, MissingExtraError
from anyrnn.keras.array_conversion import Arrays, to_families
from anyrnn.keras.weighted_layers import (
    StateDictLayer,
    WeightedLayer,
    state_dict_layers,
    weighted_layers,
)

Names = Mapping[str, str]


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
    for prefix, weighted in torch_layers(model, names).items():
        for number, layer in enumerate(weighted):
            for arrays, reverse in zip(layer.arrays(), ("", "_reverse"), strict=False):
                if layer.kind == "gru_reset_before":
                    arrays = to_families(layer.kind, arrays)
                end = f"_l{number}{reverse}" if layer.recurrent else ""
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
    for layer, source in pairs(model, state_dict, names):
        for variable, array in layer.variables(source.directions):
            wanted = keras.backend.standardize_dtype(variable.dtype)
            if not np.can_cast(array.dtype, np.dtype(wanted), "safe"):
                raise InputError(
                    f"{source} is {array.dtype}, but the layer '{layer.name}' is {wanted}; convert "
                    f"the tensors, or make the model with dtype='{array.dtype}'"
                )
            pending.append((variable, array))
    for variable, array in pending:
        variable.assign(array)


def pairs(
    model: Any, state_dict: Mapping[str, Any], names: Names | None = None
) -> list[tuple[WeightedLayer, StateDictLayer]]:
    """Match the weighted layers of a Keras model with those of a state_dict.

    Args:
        model: The model or the layer, built.
        state_dict: Tensors or arrays by name.
        names: What a layer is called in PyTorch, by its name in Keras, if not the same.

    Raises:
        InputError: A layer has no counterpart or several.
    """
    return list(_matched(torch_layers(model, names), state_dict_layers(state_dict), names or {}))


def torch_layers(model: Any, names: Names | None = None) -> dict[str, list[WeightedLayer]]:
    """The weighted layers of a Keras model, by the names of the PyTorch layers that they become.

    Args:
        model: The model or the layer, built.
        names: What a layer is called in PyTorch, by its name in Keras, if not the same.

    Raises:
        InputError: A layer with weights has no counterpart, or a name is that of no layer.
    """
    weighted, names = weighted_layers(model), names or {}
    unknown = [name for name in names if name not in {layer.name for layer in weighted}]
    if unknown:
        listing = ", ".join(dict.fromkeys(layer.name for layer in weighted))
        raise InputError(f"no layer with weights is called '{unknown[0]}'; there are: {listing}")
    prefixes: list[str] = []
    for k, layer in enumerate(weighted):
        follows = k > 0 and layer.name not in names and _continues(weighted[k - 1], layer)
        prefixes.append(prefixes[-1] if follows else names.get(layer.name, layer.name))
    if not names and len(set(prefixes)) == 1 and weighted[0].recurrent:
        prefixes = [""] * len(weighted)
    layers: dict[str, list[WeightedLayer]] = {}
    for layer, prefix in zip(weighted, prefixes, strict=True):
        layers.setdefault(prefix, []).append(layer)
    for prefix, found in layers.items():
        if any(_form(layer) != _form(found[0]) for layer in found[1:]):
            listing = ", ".join(dict.fromkeys(f"'{layer.name}'" for layer in found))
            called = f" '{prefix}'" if prefix else ""
            raise InputError(
                f"{listing} cannot be one layer{called} of PyTorch: they are of different kinds"
            )
    return layers


def _form(layer: WeightedLayer) -> tuple[Any, ...]:
    """What Keras layers have in common that become one layer of PyTorch."""
    if not layer.recurrent:
        return (id(layer),)
    cells = [
        (cell.use_bias, cell.activation, getattr(cell, "recurrent_activation", None))
        for cell in layer.owners
    ]
    merge = getattr(layer.layer, "merge_mode", None)
    return layer.kind, cells, merge, getattr(layer.layer, "go_backwards", None)


def _continues(before: WeightedLayer, layer: WeightedLayer) -> bool:
    """Whether two layers become consecutive ones of one PyTorch layer."""
    if _form(before) != _form(layer) or getattr(layer.layer, "go_backwards", False):
        return False
    if layer.layer is before.layer:
        return True
    alike = before.owners[0].units == layer.owners[0].units
    return alike and _input_of(layer.layer) is before.layer


def _input_of(layer: Any) -> Any:
    """The layer whose output a layer reads, past Dropout; None where no model's graph shows it."""
    try:
        given = layer.input
    except (AttributeError, ValueError):
        return None
    tensor = given[0] if isinstance(given, list | tuple) else given
    source = tensor._keras_history.operation
    return _input_of(source) if isinstance(source, keras.layers.Dropout) else source


def _matched(
    layers: Mapping[str, list[WeightedLayer]], sources: list[StateDictLayer], names: Names
) -> Iterable[tuple[WeightedLayer, StateDictLayer]]:
    """Matches by name, then by sizes."""
    weighted: list[WeightedLayer] = []
    for prefix, named in layers.items():
        own = [source for source in sources if source.prefix == prefix]
        if len(own) == len(named) and all(map(StateDictLayer.fits, own, named)):
            yield from zip(named, own, strict=True)
            sources = [source for source in sources if source not in own]
        elif any(layer.name in names for layer in named):
            raise InputError(_misfit(named[0], own or sources))
        else:
            weighted += named
    groups: dict[tuple[int, ...], list[WeightedLayer]] = {}
    for layer in weighted:
        fitting = tuple(k for k, source in enumerate(sources) if source.fits(layer))
        groups.setdefault(fitting, []).append(layer)
    for fitting, group in groups.items():
        found = [sources[k] for k in fitting]
        if not found:
            raise InputError(_misfit(group[0], sources))
        if len(found) != len(group) or len({source.prefix for source in found}) > 1:
            listing = ", ".join(f"'{source.prefix}'" for source in found)
            first = group[0].name
            raise InputError(
                f"layer '{first}' may be any of {listing}, which have its sizes; name one, as "
                f"{first}={found[0].prefix}"
            )
        yield from zip(group, found, strict=True)
    left = [
        source for k, source in enumerate(sources) if not any(k in fitting for fitting in groups)
    ]
    if left:
        raise InputError(f"the model has no layer for {left[0]} of the state_dict")


def _misfit(layer: WeightedLayer, sources: Iterable[StateDictLayer]) -> str:
    listing = "; ".join(map(str, sources)) or "nothing more"
    hint = ""
    if layer.kind == "gru_reset_before":
        hint = " (reset_after=False, which torch.nn.GRU does not have)"
    return f"nothing has the sizes of {layer}{hint}; the state_dict has {listing}"
