"""Conversion of a recurrent layer's arrays between the layouts of Keras and of PyTorch.

PyTorch's matrices are transposed, its gates in the order of our cells. It has two biases. Keras
stores their sum for an RNN and an LSTM, both for a GRU with `reset_after=True`, and only the first
for a GRU with `reset_after=False`, whose equations have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anyrnn.cells.catalogue import get
from anyrnn.keras.gate_order import GATES

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

FAMILIES = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b", "bias_hh": "d"}
"""The arrays of torch.nn, and their names in `anyrnn.torch.Recurrent`."""


def _reordered(array: Array, old: Sequence[str], new: Sequence[str]) -> Array:
    """An array with the gates that its last axis stacks in another order."""
    if old == new:
        return array
    blocks = dict(zip(old, np.split(array, len(old), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in new], axis=-1)


def _orders(kind: str) -> tuple[Sequence[str], Sequence[str]]:
    """The gates in Keras' order and in that of torch.nn, which is that of our cells."""
    keras = GATES[kind]
    members = get(kind).parameters[0].members
    return keras, tuple(member.removeprefix("W.") for member in members) if keras else keras


def to_torch(kind: str, stored: Mapping[str, Array]) -> Arrays:
    """The arrays of a Keras cell by the names of torch.nn.

    Args:
        kind: Our cell of the same equations.
        stored: The arrays `kernel`, `recurrent_kernel` and, if there is one, `bias`.

    Returns:
        The arrays; a GRU with `reset_after=False` has no `bias_hh`.

    Example:
        >>> import numpy as np
        >>> from anyrnn.keras.array_conversion import to_torch
        >>> arrays = {"kernel": np.ones((3, 5)), "recurrent_kernel": np.ones((5, 5))}
        >>> {name: array.shape for name, array in to_torch("rnn", arrays).items()}
        {'weight_ih': (5, 3), 'weight_hh': (5, 5)}
    """
    orders = _orders(kind)
    found = {
        "weight_ih": _reordered(stored["kernel"], *orders).T,
        "weight_hh": _reordered(stored["recurrent_kernel"], *orders).T,
    }
    if "bias" in stored:
        bias = _reordered(stored["bias"], *orders)
        if kind == "gru":
            found["bias_ih"], found["bias_hh"] = bias
        else:
            found["bias_ih"] = bias
            if kind != "gru_reset_before":
                found["bias_hh"] = np.zeros_like(bias)
    return found


def to_keras(kind: str, arrays: Mapping[str, Array]) -> Arrays:
    """The inverse of `to_torch`: from the names of torch.nn to those of a Keras cell.

    Args:
        kind: Our cell of the same equations.
        arrays: The arrays by the names of torch.nn.

    Returns:
        The arrays `kernel`, `recurrent_kernel` and, if there are biases, `bias`.
    """
    keras, torch = _orders(kind)
    found = {
        "kernel": _reordered(arrays["weight_ih"].T, torch, keras),
        "recurrent_kernel": _reordered(arrays["weight_hh"].T, torch, keras),
    }
    if "bias_ih" in arrays:
        if kind == "gru":
            bias = np.stack([arrays["bias_ih"], arrays["bias_hh"]])
        elif kind == "gru_reset_before":
            bias = arrays["bias_ih"]
        else:
            bias = arrays["bias_ih"] + arrays["bias_hh"]
        found["bias"] = _reordered(bias, torch, keras)
    return found


def to_families(kind: str, arrays: Mapping[str, Array]) -> Arrays:
    """Arrays of torch.nn as `anyrnn.torch.Recurrent` stores them for our cell, which has each bias
    once.

    Args:
        kind: Our cell of the same equations.
        arrays: The arrays by the names of torch.nn.

    Returns:
        The arrays W and U, and b and d where there are such.
    """
    found = {FAMILIES[name]: array for name, array in arrays.items()}
    if "d" in found:
        d = found.pop("d")
        if kind == "gru":  # of which the candidate alone has two
            candidate = len(d) // 3 * 2
            gates = found["b"][:candidate] + d[:candidate]
            found["b"] = np.concatenate([gates, found["b"][candidate:]])
            found["d"] = d[candidate:]
        else:
            found["b"] = found["b"] + d
    return found


def from_families(kind: str, arrays: Mapping[str, Array]) -> Arrays:
    """The inverse of `to_families`; arrays that have names of torch.nn stay as they are.

    Args:
        kind: Our cell of the same equations.
        arrays: The arrays by either's names.

    Returns:
        The arrays by the names of torch.nn.
    """
    if "W" not in arrays:
        return dict(arrays)
    found = {name: arrays[family] for name, family in FAMILIES.items() if family in arrays}
    if "bias_ih" in found and kind != "gru_reset_before":
        second = np.zeros_like(found["bias_ih"])
        if "bias_hh" in found:
            second[len(second) // 3 * 2 :] = found["bias_hh"]
        found["bias_hh"] = second
    return found
