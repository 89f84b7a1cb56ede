"""The path on which a call of a layer is computed, and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from anyrnn.keras import backends
from anyrnn.kernels.target import default_target

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class ComputePath:
    """A way to compute, and why it is taken.

    Attributes:
        name: `compiled` (our kernels and our derivative) or `keras` (Keras' own loop over time,
            with the derivative of its backend).
        reason: Why.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def choose(unknown: str | None, tensors: Sequence[Any]) -> ComputePath:
    """The path for a call.

    Args:
        unknown: Why no cell of ours computes what the layer does, if none does.
        tensors: What the call computes from: input, states, parameters.

    Returns:
        The path.
    """
    if unknown is not None:
        return ComputePath("keras", unknown)
    types = {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors}
    for dtype in types:
        if dtype not in DTYPES:
            return ComputePath("keras", f"tensors of {dtype}")
    if len(types) > 1:
        return ComputePath("keras", f"tensors of {' and '.join(sorted(types))}")
    refused = backends.refusal(tensors)
    if refused is not None:
        return ComputePath("keras", refused)
    dtype, target = types.pop(), default_target()
    refused = target.refusal(None, dtype)
    if refused is not None:
        return ComputePath("keras", refused)
    return ComputePath("compiled", f"{dtype} on this CPU ({target.name})")
