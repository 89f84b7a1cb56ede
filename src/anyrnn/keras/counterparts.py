"""The PyTorch layer that computes the same as a layer of Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyrnn.errors import InputError
from anyrnn.keras.activations import name_of
from anyrnn.keras.weighted_layers import WeightedLayer
from anyrnn.transforms.activations import ACTIVATIONS

_CLASSES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
_MERGES = {"sum": "sum", "mul": "mul", "ave": "mean"}


def constructor(parts: Sequence[WeightedLayer]) -> str:
    """The constructor call of a PyTorch layer, for the Keras layers that become one.

    Args:
        parts: One layer; or the recurrent ones of a stack.

    Returns:
        How it is made, and what else is to be done, such as an activation after it.

    Raises:
        InputError: No layer of torch.nn or anyrnn.torch computes that.

    Example:
        >>> import keras
        >>> from anyrnn.keras.counterparts import constructor
        >>> from anyrnn.keras.exchange import torch_layers
        >>> model = keras.Sequential([keras.layers.GRU(5), keras.layers.Dense(2, "relu")])
        >>> model.build((None, None, 3))
        >>> [constructor(parts) for parts in torch_layers(model).values()]
        ['torch.nn.GRU(3, 5, batch_first=True)', 'torch.nn.Linear(5, 2), then relu']
    """
    part = parts[0]
    if part.recurrent:
        return _recurrent(parts)
    sizes = part.arrays()[0]["weight"].shape
    if part.kind == "embedding":
        return f"torch.nn.Embedding({sizes[0]}, {sizes[1]})"
    bias = "" if part.layer.use_bias else ", bias=False"
    activation = name_of(part.layer.activation) or "its activation"
    after = "" if activation == "linear" else f", then {activation}"
    return f"torch.nn.Linear({sizes[1]}, {sizes[0]}{bias}){after}"


def _recurrent(parts: Sequence[WeightedLayer]) -> str:
    part, cell = parts[0], parts[0].owners[0]
    units = [each.owners[0].units for each in parts]
    alike = len(set(units)) == 1
    options: dict[str, Any] = {}
    if alike and len(parts) > 1:
        options["num_layers"] = len(parts)
    if not cell.use_bias:
        options["bias"] = False
    options["batch_first"] = True
    if len(part.owners) == 2:
        options["bidirectional"] = True
    changed = _changed_activations(part)
    if part.kind == "rnn" and changed == {"tanh": "relu"}:
        changed, options["nonlinearity"] = {}, "relu"
    own: dict[str, Any] = {"activations": changed} if changed else {}
    merge = getattr(part.layer, "merge_mode", None)
    if merge in _MERGES:
        own["merge"] = _MERGES[merge]
    name = _CLASSES.get(part.kind)
    library = "torch.nn" if name and alike and not own else "anyrnn.torch"
    sizes = [part.arrays()[0]["weight_ih"].shape[1], units[0] if alike else units]
    first = [*([] if name else [part.kind]), *sizes]
    given = [*map(_literal, first)]
    given += [f"{key}={_literal(value)}" for key, value in (options | own).items()]
    backwards = len(part.owners) == 1 and part.layer.go_backwards
    after = ", of x.flip(1)" if backwards else ""
    return f"{library}.{name or 'Recurrent'}({', '.join(given)}){after}"


def _changed_activations(part: WeightedLayer) -> dict[str, str]:
    """The activations that differ from those of our cell."""
    found: dict[str, str] = {}
    for usual, option in (("tanh", "activation"), ("sigmoid", "recurrent_activation")):
        functions = {getattr(cell, option, None) for cell in part.owners} - {None}
        names = {name_of(function) for function in functions}
        if not names or names == {usual}:
            continue
        name = names.pop()
        if names or name not in ACTIVATIONS:
            raise InputError(
                f"layer '{part.name}' has {option}={name or 'a function of your own'}, which no "
                f"layer of torch.nn or anyrnn.torch has; known: {', '.join(ACTIVATIONS)}"
            )
        found[usual] = name
    return found


def _literal(value: object) -> str:
    return repr(value).replace("'", '"')
