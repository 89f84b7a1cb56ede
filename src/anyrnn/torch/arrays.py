"""PyTorch's arithmetic on NumPy arrays: where PyTorch is used, its threads are awake already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    factors = torch.from_numpy(left), torch.from_numpy(right)
    if add:
        torch.from_numpy(out).addmm_(*factors)
    else:
        torch.mm(*factors, out=torch.from_numpy(out))


TORCH_ARITHMETIC = Arithmetic(
    {name: _on_arrays(function) for name, function in TORCH.items()}, _multiply
)
