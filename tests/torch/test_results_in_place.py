"""Results are changed in place, as those of torch.nn can be, and gradients stay right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from anyrnn.torch import GRU, LSTM, GRUCell, LSTMCell, Recurrent, RNNCell
from anyrnn.torch.execute import forced

STEPS = 6


def packed(x: Tensor) -> PackedSequence:
    return pack_padded_sequence(x, [4, 6, 1], enforce_sorted=False)


def batch_first(x: Tensor) -> Tensor:
    return x.transpose(0, 1)


ENTRIES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Any]]] = {
    "GRU": (lambda: GRU(4, 5), lambda layer, x: layer(x)),
    "LSTM, batch first": (
        lambda: LSTM(4, 5, batch_first=True),
        lambda layer, x: layer(batch_first(x)),
    ),
    "LSTM, layers and directions": (
        lambda: LSTM(4, 5, 2, bidirectional=True),
        lambda layer, x: layer(x),
    ),
    "any cell": (lambda: Recurrent("lstm_peephole", 4, 5), lambda layer, x: layer(x)),
    "layers that differ": (lambda: Recurrent("gru", 4, [5, 3]), lambda layer, x: layer(x)),
    "one sequence": (lambda: GRU(4, 5), lambda layer, x: layer(x[:, 0])),
    "one step": (lambda: LSTM(4, 5), lambda layer, x: layer(x[:1])),
    "packed": (lambda: GRU(4, 5), lambda layer, x: layer(packed(x))),
    "lengths": (lambda: GRU(4, 5), lambda layer, x: layer(x, lengths=[6, 0, 2])),
    "all states": (lambda: LSTM(4, 5), lambda layer, x: layer(x, return_states="all")),
    "step": (lambda: LSTM(4, 5), lambda layer, x: layer.step(x[0])),
    "step of one row": (lambda: LSTM(4, 5), lambda layer, x: layer.step(x[0, 0])),
    "low memory": (lambda: LSTM(4, 5, memory="low"), lambda layer, x: layer(x)),
    "dropout": (lambda: Recurrent("gru", 4, 5, zoneout=0.4), lambda layer, x: layer(x)),
    "RNNCell": (lambda: RNNCell(4, 5), lambda cell, x: (cell(x[0]),)),
    "GRUCell": (lambda: GRUCell(4, 5), lambda cell, x: (cell(x[0, 0]),)),
    "LSTMCell": (lambda: LSTMCell(4, 5), lambda cell, x: cell(x[0])),
}


def tensors(results: Any) -> list[Tensor]:
    """Every tensor of results."""
    if isinstance(results, Tensor):
        return [results]
    if isinstance(results, PackedSequence):
        return [results.data]
    return [tensor for part in results for tensor in tensors(part)]


def gradients(entry: str, change: Callable[[Tensor], Tensor]) -> list[Tensor]:
    torch.manual_seed(0)
    make, call = ENTRIES[entry]
    layer, x = make(), torch.randn(STEPS, 3, 4, requires_grad=True)
    found = [change(tensor) for tensor in tensors(call(layer, x))]
    sum(tensor.square().sum() for tensor in found).backward()  # type: ignore[union-attr]
    return [part.grad for part in (x, *layer.parameters())]  # type: ignore[misc]


def set_first(tensor: Tensor) -> Tensor:
    tensor[0] = 0.5
    return tensor


def with_first(tensor: Tensor) -> Tensor:
    return torch.cat([torch.full_like(tensor[:1], 0.5), tensor[1:]])


CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "multiplied": (lambda tensor: tensor.mul_(0.5), lambda tensor: tensor * 0.5),
    "a part is set": (set_first, with_first),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_gradients_of_results_that_are_changed(entry: str, change: str) -> None:
    in_place, apart = CHANGES[change]
    for ours, wanted in zip(gradients(entry, in_place), gradients(entry, apart), strict=True):
        assert torch.equal(ours, wanted)


def test_gradients_of_results_that_are_changed_after_they_were_used() -> None:
    layer, x = GRU(4, 5), torch.randn(STEPS, 3, 4, requires_grad=True)
    found = []
    for change in (lambda tensor: tensor, lambda tensor: tensor.zero_()):
        output, _ = layer(x)
        loss = (output * 2).sum()
        change(output.detach())
        found.append(torch.autograd.grad(loss, [x, *layer.parameters()]))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("entry", ENTRIES)
def test_results_are_detached_in_place(entry: str, train: bool) -> None:
    make, call = ENTRIES[entry]
    with torch.set_grad_enabled(train):
        results = tensors(call(make(), torch.randn(STEPS, 3, 4)))
    for tensor in results:
        assert not tensor.detach_().requires_grad
        tensor.mul_(2)


@pytest.mark.parametrize("path", ["compiled", "operations"])
def test_truncated_backpropagation_as_courses_teach_it(path: str) -> None:
    layer, theirs = GRU(4, 5), nn.GRU(4, 5)
    theirs.load_state_dict(layer.state_dict())
    found: list[Tensor] = []
    with forced(path):
        for module in (layer, theirs):
            torch.manual_seed(1)
            state: Tensor | None = None
            for _ in range(3):
                if state is not None:
                    state.detach_()
                output, state = module(torch.randn(STEPS, 3, 4), state)
                output.sum().backward()
            found.append(module.weight_hh_l0.grad)
    assert torch.allclose(*found, atol=1e-4)


def test_inspected_values_are_changed_in_place() -> None:
    values = LSTM(4, 5).inspect(torch.randn(STEPS, 3, 4))
    values["f"].detach_().zero_()
    assert values["i"].abs().sum() > 0
