"""Running a cell with Keras' tensors: one module for each backend of Keras, with one function,
`run`, that Keras' loop over time is replaced with.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras import config

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell

BACKENDS = ("torch", "jax", "tensorflow")


def refusal(tensors: Sequence[Any]) -> str | None:
    """Why the kernels cannot take some tensors now.

    Args:
        tensors: What a call computes from: input, states, parameters.

    Returns:
        The reason in a few words; None where they can.
    """
    arguments = cell, sizes, x, states, parameters, mask, reverse, seed, recorded
    return _backend(config.backend()).run(*arguments)


def refusal(tensors: Sequence[Any]) -> str | None:
    """Why kernels cannot run with some tensors, in a few words.

    Args:
        tensors: What a call computes from: input, states, parameters.

    Returns:
        The reason (a device, an export, ...); None if they can.
    """
    name = config.backend()
    return _backend(name).refusal(tensors) if name in BACKENDS else f"Keras' backend '{name}'"


def _backend(name: str) -> Any:
    if name not in BACKENDS:
        raise InputError(
            f"Keras' backend is '{name}'; anyrnn runs on {', '.join(BACKENDS)}: set KERAS_BACKEND"
        )
    return importlib.import_module(f"anyrnn.keras.backends.{name}")
