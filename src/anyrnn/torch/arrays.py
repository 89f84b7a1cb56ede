"""PyTorch's tensors for our kernels; and PyTorch's arithmetic on NumPy arrays, because its threads
are awake already.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyrnn.kernels.cpu.machine import memory
from anyrnn.kernels.cpu.program.commands import Array, Arrays
from anyrnn.torch.operations import TORCH

DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
_TYPES = {number: kind for kind, number in DTYPES.items()}


def array(tensor: Tensor) -> Array:
    """The memory of a tensor as an array."""
    return tensor.detach().numpy()


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., Array]:
    def computed(*arrays: Array, **bounds: Any) -> Array:
        return function(*(torch.from_numpy(np.asarray(part)) for part in arrays), **bounds).numpy()

    return computed


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """A tensor with undefined contents; a large one in memory that has been used before."""
    if prod(shape) * dtype.itemsize < memory.LEAST:
        return torch.empty(shape, dtype=_TYPES[dtype])
    return torch.from_numpy(memory.empty(shape, dtype))


TENSORS = Arrays(
    operations={name: _on_arrays(function) for name, function in TORCH.items()},
    empty=empty,
    ready=lambda tensor, dtype: tensor.contiguous(),
    address=Tensor.data_ptr,
    view=array,
)
