"""Each operation of a cell's graph as a function of PyTorch, on tensors with the shapes of the
interpreter's arrays; and random numbers from a seed that is a tensor, so that torch.func.vmap can
map it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anyrnn.graph.randomness import BITS, MULTIPLIER, ROUNDS, WEYL, WORD, stream_key


def _concatenate(*values: Tensor) -> Tensor:
    rows = torch.broadcast_shapes(*(value.shape[:-1] for value in values))
    return torch.cat([value.expand(*rows, value.shape[-1]) for value in values], dim=-1)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    left, right = torch.broadcast_tensors(left.unsqueeze(-1), right.unsqueeze(-2))
    product = left * right
    return product.sum(dim=0) if product.dim() == 3 else product


class _ClipGradient(torch.autograd.Function):
    """The identity, whose backward pass clips the gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, bound: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (bound,) = ctx.saved_tensors
        return gradient.clamp(-bound, bound), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, bound_tangent: None) -> Tensor:  # type: ignore[override]
        return tangent.view_as(tangent)


TORCH: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "negative": torch.neg,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    # the derivative of torch's hardsigmoid is in single precision even for float64
    "hard_sigmoid": lambda a: functional.relu6(a + 3) / 6,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "where": torch.where,
    "clip_gradient": _ClipGradient.apply,
    "sum": lambda a: a.sum(dim=-1, keepdim=a.dim() > 1),
    "mean": lambda a: a.mean(dim=-1, keepdim=a.dim() > 1),
    "softmax": lambda a: torch.softmax(a, dim=-1),
    "product": lambda matrix, vector: functional.linear(vector, matrix),
    "transpose": lambda a: a.t(),
    "concatenate": _concatenate,
    "slice": lambda a, start, stop: a[..., start:stop],
    "expand": lambda a, shape: a.expand(shape),
    "outer": _outer,
    "batch_sum": lambda a: a.sum(dim=0),
}


def _philox(first: Tensor, second: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    for _ in range(ROUNDS):
        product = first * MULTIPLIER  # its sign is lost with what is above the two words
        first, second = (product >> 32 & WORD) ^ key ^ second, product & WORD
        key = key + WEYL & WORD
    return first, second


def uniform(seed: Tensor, stream: int, step: int, rows: int, units: int) -> Tensor:
    """The numbers of `anyrnn.graph.randomness.uniform`.

    Args:
        seed: The seed, (1,).
        stream: Which of the numbers that a cell draws at a step.
        step: The step; `EVERY_STEP` for a number that does not change.
        rows: The number of rows of the batch.
        units: The number of units.

    Returns:
        The numbers, (rows, units), in float64.
    """
    row = torch.arange(rows, device=seed.device)
    row, hashed = _philox(row, torch.full_like(row, step), seed + stream_key(stream) & WORD)
    unit, key = torch.arange(units, device=seed.device), row ^ (seed >> 32 & WORD)
    bits = _philox(unit, hashed.unsqueeze(-1), key.unsqueeze(-1))[stream % 2]
    return (bits >> 32 - BITS).double() * 2.0**-BITS
