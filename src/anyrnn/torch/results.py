"""Results that a caller may change in place, as those of torch.nn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from anyrnn.torch.path import transformed


class _Own(torch.autograd.Function):
    """A view as a tensor of its own. It has the memory of the view, and counts with it how often
    that is changed.
    """

    @staticmethod
    def forward(ctx: Any, view: Tensor) -> Tensor:
        return view.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def own(value: Any) -> Any:
    """A result, or a tuple of these, without views, which PyTorch does not let be detached in
    place, nor changed if they are views of one of several results.
    """
    if torch.compiler.is_compiling() or transformed():
        return value
    return _own(value)


def _own(value: Any) -> Any:
    if isinstance(value, PackedSequence):
        return PackedSequence(_own(value.data), *value[1:])
    if isinstance(value, tuple):
        return tuple(map(_own, value))
    if type(value) is not Tensor or not value._is_view():
        return value
    return _Own.apply(value) if value.requires_grad else value.detach()
