"""Results that a caller may change in place, as those of torch.nn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from anyrnn.torch.path import transformed


class _Own(torch.autograd.Function):
    """Views as tensors of their own. Each has the memory of its view, and counts with it how often
    that is changed.
    """

    @staticmethod
    def forward(ctx: Any, *views: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(map(Tensor.detach, views))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients


def own(results: Sequence[Any]) -> list[Any]:
    """Results without views, which PyTorch does not let be detached in place, nor changed if they
    are views of one of several results.

    Args:
        results: Tensors, and sequences packed.
    """
    found = [*results]
    if torch.compiler.is_compiling():
        return found
    views: dict[int, Tensor] = {}  # that autograd follows, by place
    seen = transformed() is not None
    for place, result in enumerate(found):
        if isinstance(result, PackedSequence):
            found[place] = PackedSequence(own([result.data])[0], *result[1:])
        elif type(result) is Tensor and not seen and result._is_view():
            if result.requires_grad:
                views[place] = result
            else:
                found[place] = result.detach()
    if views:
        for place, tensor in zip(views, _Own.apply(*views.values()), strict=True):
            found[place] = tensor
    return found
