"""Trainings of the tasks: with our recurrent layers, with those of torch.nn, and with none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anyrnn.kernels.cpu.machine.team import trust_threads
from anyrnn.torch import Recurrent
from anyrnn.torch.path import forced
from benchmarks.peers import Run
from benchmarks.peers.torch_layers import FAMILIES, padded
from benchmarks.trainings import Training


def ours(case: Training, data: None) -> Run:
    """The task as it is."""
    trust_threads()  # the process that forks this one has computed nothing
    return _run(case.trained())


def torch_nn(case: Training, data: None) -> Run:
    """The recurrent layers are those of torch.nn."""
    return _run(case.trained(TorchLayers))


def torch_loop(case: Training, data: None) -> Run:
    """The recurrent layers are loops of PyTorch's operations."""
    train = case.trained()

    def call() -> list[float]:
        with forced("operations"):
            return train()

    return _run(call)


def bypassed(case: Training, data: None) -> Run:
    """There are no recurrent layers."""
    train = case.trained(Bypass)
    return Run(lambda _: (train(), None), lambda losses: {})


def _run(train: Callable[[], list[float]]) -> Run:
    return Run(lambda _: (train(), None), lambda losses: {"losses": losses})


class TorchLayers(nn.Module):
    """Layers of torch.nn with the weights of ours.

    They are given packed sequences only where that changes a result: in both directions.
    """

    def __init__(self, ours: Recurrent) -> None:
        super().__init__()
        kind = getattr(nn, ours.cell.name.upper())
        self.layers = kind(
            ours.input_size,
            ours.hidden_size,
            ours.num_layers,
            batch_first=ours.batch_first,
            bidirectional=ours.bidirectional,
        )
        stored = dict(ours.named_parameters())
        for name, parameter in self.layers.named_parameters():
            family, of, suffix = name.partition("_l")
            values = stored.get(FAMILIES[family] + of + suffix)  # of a second bias a part or none
            free = 0 if values is None else len(values)
            with torch.no_grad():
                parameter.zero_()
                if values is not None:
                    parameter[-free:] = values
            if free < len(parameter):
                _hold_still(parameter, free)

    def forward(
        self,
        input: Tensor,
        state: Any = None,
        lengths: Tensor | None = None,
        *,
        resets: None = None,
        reset_state: None = None,
    ) -> tuple[Tensor, Any]:
        """As our layers."""
        assert resets is None, "torch.nn has no resets"
        if lengths is None or not self.layers.bidirectional:
            return self.layers(input, state)
        return padded(self.layers, input, state, lengths)


def _hold_still(bias: nn.Parameter, free: int) -> None:
    """Train only the last elements of a second bias: the equations have no others."""
    if not free:
        bias.requires_grad_(False)
        return
    mask = torch.zeros_like(bias)
    mask[-free:] = 1
    bias.register_hook(lambda gradient: gradient * mask)


class Bypass(nn.Module):
    """What costs nearly nothing in the place of recurrent layers, with outputs of their size."""

    def __init__(self, ours: Recurrent) -> None:
        super().__init__()
        self.size = ours.output_size * (1 + ours.bidirectional)
        self.ours = ours  # its weights are updated, too

    def forward(
        self, input: Tensor, state: Any = None, lengths: Any = None, **marks: Any
    ) -> tuple[Tensor, Any]:
        """As our layers: the input, cut or continued with zeros, beside the state."""
        output = nn.functional.pad(input, (0, self.size - input.shape[-1]))
        state = state[0] if isinstance(state, tuple) else state  # the first one of a cell
        output = output if state is None else output + state[0][:, None]
        return output, output[None, :, -1]
