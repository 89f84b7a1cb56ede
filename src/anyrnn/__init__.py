"""Write a recurrent cell as its equations; get an exact, trainable layer.

`cell` makes a cell of a function, `get` takes one from the catalogue, `anyrnn.torch` and
`anyrnn.keras` have the layers; `compile` makes code that runs without any. Importing this package
loads no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from anyrnn.cells.catalogue import CATALOGUE, get
from anyrnn.derivative.through_time import Gradients, gradients
from anyrnn.errors import AnyrnnError
from anyrnn.graph.cell import Cell
from anyrnn.graph.decorator import cell
from anyrnn.graph.symbols import (
    clip_gradient,
    concatenate,
    exp,
    hard_sigmoid,
    layer_norm,
    log,
    maximum,
    mean,
    minimum,
    relu,
    sigmoid,
    softmax,
    softplus,
    sqrt,
    sum,
    tanh,
    where,
)
from anyrnn.graph.unroll import SequenceResult, interpret

if TYPE_CHECKING:
    from anyrnn import inspect as inspect
    from anyrnn import keras as keras
    from anyrnn import torch as torch
    from anyrnn.kernels.compiled_cell import compile

__version__ = "0.1.0"

__all__ = [
    "CATALOGUE",
    "AnyrnnError",
    "Cell",
    "Gradients",
    "SequenceResult",
    "cell",
    "clip_gradient",
    "compile",
    "concatenate",
    "exp",
    "get",
    "gradients",
    "hard_sigmoid",
    "interpret",
    "layer_norm",
    "log",
    "maximum",
    "mean",
    "minimum",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "sqrt",
    "sum",
    "tanh",
    "where",
]


def __getattr__(name: str) -> Any:
    """Load a face only when it is asked for."""
    if name in ("inspect", "keras", "torch"):
        return importlib.import_module(f"anyrnn.{name}")
    if name == "compile":
        return importlib.import_module("anyrnn.kernels.compiled_cell").compile
    raise AttributeError(f"module 'anyrnn' has no attribute '{name}'")
