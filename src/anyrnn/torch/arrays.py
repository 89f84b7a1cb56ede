"""PyTorch's arithmetic on NumPy arrays: where PyTorch is used, its threads are awake already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyrnn.kernels.cpu.arithmetic import projection
from anyrnn.kernels.cpu.instructions import Arithmetic, Array
from anyrnn.torch.operations import TORCH


def array(tensor: Tensor) -> Array:
    """The memory of a tensor as an array."""
    return tensor.detach().numpy()


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., Array]:
    def computed(*arrays: Array, **bounds: Any) -> Array:
        return function(*(torch.from_numpy(np.asarray(part)) for part in arrays), **bounds).numpy()

    return computed


def _multiply(left: Array, right: Array, out: Array, add: bool) -> None:
    factors, place = (torch.from_numpy(left), torch.from_numpy(right)), torch.from_numpy(out)
    if add:
        place.addmm_(*factors)
    else:
        torch.mm(*factors, out=place)


TORCH_ARITHMETIC = Arithmetic(
    {name: _on_arrays(function) for name, function in TORCH.items()}, projection, _multiply
)
