"""Layers that keep the states only for their derivative."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, RNN, Recurrent


def gradients(layer: torch.nn.Module, x: torch.Tensor, **options: object) -> list[torch.Tensor]:
    own = x.clone().requires_grad_()
    output, last = layer(own, **options)
    states = last if isinstance(last, tuple) else (last,)
    loss = output.square().sum() + sum(state.sin().sum() for state in states)
    return list(torch.autograd.grad(loss, [own, *layer.parameters()]))


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_drop_in_layers(kind, options) -> None:
    torch.manual_seed(0)
    high = kind(3, 5, dtype=torch.float64, **options)
    low = kind(3, 5, dtype=torch.float64, memory="low", **options)
    assert low.state_dict().keys() == high.state_dict().keys()
    low.load_state_dict(high.state_dict())
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    for lengths in (None, [6, 2, 5, 1]):
        found, wanted = (gradients(layer, x, lengths=lengths) for layer in (low, high))
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


def test_layer_of_any_cell() -> None:
    torch.manual_seed(0)
    high = Recurrent("lstm_peephole", 3, 5, num_layers=2, dtype=torch.float64)
    low = Recurrent("lstm_peephole", 3, 5, num_layers=2, dtype=torch.float64, memory="low")
    low.load_state_dict(high.state_dict())
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(gradients(low, x), gradients(high, x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "make", [lambda **o: GRU(3, 5, **o), lambda **o: Recurrent("gru", 3, 5, **o)]
)
def test_the_choice_stays_with_the_layer(make) -> None:
    low, high = make(memory="low"), make()
    assert (low.memory, high.memory) == ("low", "high")
    assert repr(low) == repr(high)[:-1] + ", memory=low)"
    for again in (copy.deepcopy(low), pickle.loads(pickle.dumps(low))):
        assert again.memory == "low"
    low.memory = "high"
    assert repr(low) == repr(high)
    del high.__dict__["memory"]  # as one that was pickled before there was a choice
    assert high.memory == "high"
    with pytest.raises(InputError, match="memory=3; expected 'high', or 'low' to rematerialise"):
        make(memory=3)


def kept(layer: torch.nn.Module, x: torch.Tensor) -> int:
    """The bytes that autograd keeps of what a call has computed."""
    given = {tensor.data_ptr() for tensor in (x, *layer.parameters())}
    places = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in given:
            places.append((tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(x)
    total = last = 0
    for start, stop in sorted(places):  # some are parts of others
        total += max(0, stop - max(start, last))
        last = max(last, stop)
    return total


def test_fewer_bytes_are_kept() -> None:
    x = torch.randn(50, 4, 3)
    rows = x.shape[0] * x.shape[1] * 16 * x.itemsize
    high, low = (kept(LSTM(3, 16, memory=memory), x) / rows for memory in ("high", "low"))
    assert 7 < high < 7.1  # 7 numbers for each row and unit, and the initial states
    assert 2 < low < 2.1
