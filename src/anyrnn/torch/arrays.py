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

from anyrnn.errors import ArrayError
from anyrnn.kernels import host
from anyrnn.kernels.run import Array, ArrayInterface, Slot
from anyrnn.torch.operations import TORCH

CPU = torch.device("cpu")
DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
_TYPES = {number: kind for kind, number in DTYPES.items()} | {np.dtype(np.int64): torch.int64}


def array(tensor: Tensor) -> Array:
    """The memory of a tensor as an array."""
    return tensor.detach().numpy()


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., Array]:
    def computed(*arrays: Array, **bounds: Any) -> Array:
        return function(*(torch.from_numpy(np.asarray(part)) for part in arrays), **bounds).numpy()

    return computed


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """A tensor with undefined contents; a large one in memory that has been used before."""
    if prod(shape) * dtype.itemsize < host.LEAST:
        return torch.empty(shape, dtype=_TYPES[dtype])
    return torch.from_numpy(host.empty(shape, dtype))


def problem(
    tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> str | None:
    """What is wrong with a tensor that is to have a shape and a type, and to be on a device; None
    if nothing is.
    """
    if tensor.is_nested or tuple(tensor.shape) != shape:
        found = "nested sizes" if tensor.is_nested else f"shape {tuple(tensor.shape)}"
        return f"has {found}; expected {shape}"
    if tensor.dtype != dtype:
        return f"has dtype {tensor.dtype}; expected {dtype}"
    if tensor.device != device:
        return f"is on {tensor.device}; expected {device}"
    if tensor.layout != torch.strided:
        return f"is {tensor.layout}; convert it with .to_dense()"
    return None


def _ready(tensor: Tensor, slot: Slot) -> tuple[Tensor, int]:
    dtype = _TYPES[slot.dtype]
    try:
        if tensor.shape == slot.shape and tensor.dtype is dtype and tensor.is_cpu:
            found = tensor.contiguous()
            start = found.data_ptr()
            if start:
                return found, start
    except RuntimeError:  # it is nested or sparse, and has no shape or no memory
        pass
    wrong = problem(tensor, slot.shape, dtype, CPU)
    raise ArrayError(*slot.name, wrong or "has no memory: its storage was freed")


TENSORS = ArrayInterface(
    operations={name: _on_arrays(function) for name, function in TORCH.items()},
    empty=empty,
    ready=_ready,
    address=Tensor.data_ptr,
    view=array,
)
