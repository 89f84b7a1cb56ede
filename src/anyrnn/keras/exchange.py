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
    parts, names = weighted_layers(model), names or {}
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
    layers: dict[str, list[WeightedLayer]] = {}
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


def _form(part: WeightedLayer) -> tuple[Any, ...]:
    """What Keras layers have in common that become one layer of PyTorch."""
    if not part.recurrent:
        return (id(part),)
    cells = [
        (cell.use_bias, cell.activation, getattr(cell, "recurrent_activation", None))
        for cell in part.owners
    ]
    merge = getattr(part.layer, "merge_mode", None)
    return part.kind, cells, merge, getattr(part.layer, "go_backwards", None)


def _of_one_form(first: WeightedLayer, second: WeightedLayer) -> bool:
    return _form(first) == _form(second)


def _continues(before: WeightedLayer, part: WeightedLayer) -> bool:
    """Whether two layers become consecutive ones of one PyTorch layer."""
    if not _of_one_form(before, part) or getattr(part.layer, "go_backwards", False):
        return False
    if part.layer is before.layer:
        return True
    alike = before.owners[0].units == part.owners[0].units
    return alike and _input_of(part.layer) is before.layer


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
    layers: Mapping[str, list[WeightedLayer]], units: list[StateDictLayer], names: Names
) -> Iterable[tuple[WeightedLayer, StateDictLayer]]:
    """Matches by name, then by sizes."""
    parts: list[WeightedLayer] = []
    for prefix, named in layers.items():
        own = [unit for unit in units if unit.prefix == prefix]
        if len(own) == len(named) and all(map(StateDictLayer.fits, own, named)):
            yield from zip(named, own, strict=True)
            units = [unit for unit in units if unit not in own]
        elif any(part.name in names for part in named):
            raise InputError(_misfit(named[0], own or units))
        else:
            parts += named
    groups: dict[tuple[int, ...], list[WeightedLayer]] = {}
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


def _misfit(part: WeightedLayer, units: Iterable[StateDictLayer]) -> str:
    listing = "; ".join(map(str, units)) or "nothing more"
    hint = ""
    if part.kind == "gru_reset_before":
        hint = " (reset_after=False, which torch.nn.GRU does not have)"
    return f"nothing has the sizes of {part}{hint}; the state_dict has {listing}"
