"""PyTorch's arithmetic on NumPy arrays: where PyTorch is used, its threads are awake already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyrnn.kernels.cpu.instructions import Array
from anyrnn.torch.operations import TORCH


def array(tensor: Tensor) -> Array:
    """The memory of a tensor as an array."""
    return tensor.detach().numpy()


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., Array]:
    def computed(*arrays: Array, **bounds: Any) -> Array:
        return function(*(torch.from_numpy(np.asarray(part)) for part in arrays), **bounds).numpy()

    return computed


OPERATIONS = {name: _on_arrays(function) for name, function in TORCH.items()}
