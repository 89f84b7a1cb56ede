"""Every cell, and layers with options, for what PyTorch does with modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

import anyrnn
from anyrnn.torch import GRU, LSTM, RNN, Recurrent

bfloat16, float32, float64 = torch.bfloat16, torch.float32, torch.float64
NUMBERS = {"input": 2, "hidden": 4, "output": 3, "projection": 2}


def of_catalogue(name: str) -> Callable[..., nn.Module]:
    sizes = {f"{size}_size": NUMBERS[size] for size in anyrnn.get(name).free_sizes}
    return lambda **options: Recurrent(name, **sizes, **options)


def of(kind: type[nn.Module], *arguments: Any, **given: Any) -> Callable[..., nn.Module]:
    return lambda **options: kind(*arguments, **given, **options)


OTHERS = ("article1_rnn", "article3_gru")  # of the articles; the rest have what these have
CELLS = {
    name: of_catalogue(name)
    for name in anyrnn.CATALOGUE
    if name in OTHERS or not name.startswith("article")
}
OPTIONS = {
    "layer norm": of(LSTM, 2, 4, norm="layer"),
    "rms norm": of(Recurrent, "lstm_peephole", 2, 4, norm="rms"),
    "heads": of(Recurrent, "gru_reset_before", 2, 4, heads=2),
    "independent": of(GRU, 2, 4, independent=True),
    "clip_state": of(LSTM, 2, 4, clip_state=0.3),
    "activations": of(GRU, 2, 4, activations={"tanh": "softplus"}),
    "proj_size": of(RNN, 2, 4, proj_size=2),
    "residual": of(
        GRU, 2, [2, 2], residual=True, learn_initial_state=True, bidirectional=True, merge="mul"
    ),
    "highway": of(Recurrent, ["lstm", "mingru"], 2, [2, 2], highway=True, learn_initial_state=True),
    "sizes": of(LSTM, 2, [3, 2], bidirectional=True, memory="low"),
}
LAYERS = CELLS | OPTIONS
each_layer = pytest.mark.parametrize("name", LAYERS)


def made(name: str, **options: Any) -> nn.Module:
    """A layer with random parameters: gains of 1 and initial states of 0 hide mistakes."""
    torch.manual_seed(0)
    layer = LAYERS[name](**{"dtype": float64, **options})
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a result, in order."""
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, Tensor) else [t for part in value for t in tensors(part)]


def results(layer: nn.Module, x: Tensor, seed: int = 1) -> list[Tensor]:
    """Outputs, last states, and the gradients of a random weighting of them."""
    own = x.detach().clone().requires_grad_()
    found = tensors(layer(own))
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(part.shape, generator=generator).to(part.dtype) for part in found]
    return [*found, *torch.autograd.grad(found, [own, *layer.parameters()], weights)]


def loss_of(layer: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.cat(
            [part.sin().flatten() for part in tensors(functional_call(layer, parameters, (x,)))]
        ).sum()

    return loss
