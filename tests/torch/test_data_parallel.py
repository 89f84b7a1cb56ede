"""Layers in several processes, whose gradients DistributedDataParallel averages."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from anyrnn.torch import Recurrent

PROCESSES, STEPS = 2, 2


def train(
    layer: Recurrent, call: torch.nn.Module, x: Tensor, lengths: Tensor, share: float = 1.0
) -> None:
    """Some steps of gradient descent on a share of the sum, and the gradients of another one."""
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        output, (h, _) = call(x, lengths=lengths)
        (share * (output.square().sum() + h.sum())).backward()
        if step < STEPS:
            optimizer.step()


def made() -> tuple[Recurrent, Tensor, Tensor]:
    """A layer, its input, and the lengths of its sequences."""
    torch.manual_seed(0)
    layer = Recurrent("lstm_peephole", 3, 5, num_layers=2, bidirectional=True)
    return layer, torch.randn(7, 4, 3), torch.tensor([7, 2, 5, 1])


def process(rank: int, folder: str) -> None:
    """One of them: it has a part of the batch, and saves its gradients."""
    distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    try:
        layer, x, lengths = made()
        assert layer.path.name == "compiled"
        own = slice(2 * rank, 2 * rank + 2)
        train(layer, DistributedDataParallel(layer), x[:, own], lengths[own])
        gradients = {name: part.grad.numpy() for name, part in layer.named_parameters()}
        np.savez(f"{folder}/{rank}.npz", **gradients)
    finally:
        distributed.destroy_process_group()


@pytest.mark.long
def test_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    context = get_context("spawn")
    started = [
        context.Process(target=process, args=(rank, str(tmp_path))) for rank in range(PROCESSES)
    ]
    for each in started:
        each.start()
    for each in started:
        each.join(120)
    assert [each.exitcode for each in started] == [0] * PROCESSES
    layer, x, lengths = made()
    train(layer, layer, x, lengths, 1 / PROCESSES)  # gradients of processes are averaged
    for rank in range(PROCESSES):
        found = np.load(tmp_path / f"{rank}.npz")
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None
            assert np.abs(found[name]).max() > 1e-3
            np.testing.assert_allclose(found[name], parameter.grad.numpy(), 1e-4, 1e-5)
