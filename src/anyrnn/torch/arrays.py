"""PyTorch's arithmetic on NumPy arrays: where PyTorch is used, its threads are awake already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyrnn.kernels.cpu.instructions import Arithmetic, Array, Project
from anyrnn.kernels.cpu.target import Target
from anyrnn.torch.operations import TORCH


def array(tensor: Tensor) -> Array:
    """The memory of a tensor as an array."""
    return tensor.detach().numpy()


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., Array]:
    def computed(*arrays: Array, **bounds: Any) -> Array:
        return function(*(torch.from_numpy(np.asarray(part)) for part in arrays), **bounds).numpy()

    return computed


def _projection(matrix: Array, rows: int, threads: int, target: Target | None) -> Project:
    transposed = torch.from_numpy(matrix).t()

    def project(vectors: Array, out: Array, add: bool) -> None:
        _product(torch.from_numpy(vectors), transposed, torch.from_numpy(out), add)

    return project


def _multiply(left: Array, right: Array, out: Array, add: bool) -> None:
    _product(torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(out), add)


def _product(left: Tensor, right: Tensor, out: Tensor, add: bool) -> None:
    if add:
        out.addmm_(left, right)
    else:
        torch.mm(left, right, out=out)


TORCH_ARITHMETIC = Arithmetic(
    {name: _on_arrays(function) for name, function in TORCH.items()}, _projection, _multiply
)
