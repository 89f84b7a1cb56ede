"""Recurrent dropout and zoneout of layers: in training and after it, on both paths."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from anyrnn.errors import CellError
from anyrnn.torch import GRU, LSTM, RNN, Recurrent
from anyrnn.torch.execute import forced

LAYERS = {
    "lstm": lambda: LSTM(5, 9, 2, bidirectional=True, recurrent_dropout=0.3, zoneout={"c": 0.2}),
    "gru": lambda: GRU(5, 9, zoneout=0.3, recurrent_dropout=0.2, memory="low"),
    "rnn": lambda: RNN(5, 9, recurrent_dropout=0.5, residual=False),
    "peepholes": lambda: Recurrent("lstm_peephole", 5, 9, zoneout=0.1, norm="rms"),
}


def run(layer: nn.Module, x: torch.Tensor, **options) -> list[torch.Tensor]:
    """Outputs and all gradients, with the same draws each time."""
    torch.manual_seed(3)
    layer.zero_grad()
    x = x.detach().requires_grad_()
    output, _ = layer(x, **options)
    (output * output).sum().backward()
    return [output.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.mark.parametrize("name", LAYERS)
def test_both_paths_draw_the_same(name) -> None:
    layer = LAYERS[name]().double()
    x = torch.randn(6, 3, 5, dtype=torch.float64)
    for options in ({}, {"lengths": [2, 6, 5]}):
        found = run(layer, x, **options)
        with forced("operations"):
            wanted = run(layer, x, **options)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)
    assert not torch.equal(layer(x)[0], layer(x)[0])  # every call draws anew


@pytest.mark.parametrize("name", LAYERS)
def test_after_training_nothing_is_drawn(name) -> None:
    layer = LAYERS[name]().eval()
    x = torch.randn(4, 2, 5)
    torch.testing.assert_close(layer(x)[0], layer(x)[0], atol=0, rtol=0)
    torch.testing.assert_close(layer.step(x[0])[0], layer(x[:1])[0][0]) if name != "lstm" else None


def test_one_mask_serves_all_steps_and_follows_its_equations() -> None:
    layer = RNN(4, 3, recurrent_dropout=0.5, dtype=torch.float64)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    torch.manual_seed(1)
    output, _ = layer(x)
    masks = [torch.tensor([[a, b, c]]) for a in (0, 2) for b in (0, 2) for c in (0, 2)]
    for row in range(2):
        matches = []
        for mask in masks:
            h, right = torch.zeros(1, 3, dtype=torch.float64), True
            for x_t, wanted in zip(x[:, row : row + 1], output[:, row : row + 1], strict=True):
                h = torch.tanh(
                    nn.functional.linear(x_t, layer.weight_ih_l0, layer.bias_ih_l0)
                    + nn.functional.linear(mask * h, layer.weight_hh_l0, layer.bias_hh_l0)
                )
                right &= torch.allclose(h, wanted)
            matches.append(right)
        assert sum(matches) == 1


def test_zoneout_keeps_as_often_as_it_should() -> None:
    layer = GRU(3, 64, zoneout=0.25)
    state = torch.randn(1, 50, 64)
    output, last = layer(torch.randn(1, 50, 3), state)
    kept = (output[0] == state[0]).float().mean()
    assert 0.2 < kept < 0.3
    torch.testing.assert_close(output[0], last[0], atol=0, rtol=0)
    expected = layer.eval()(torch.randn(1, 50, 3), state)[0]
    assert not (expected[0] == state[0]).any()


def test_the_mean_over_masks_is_what_comes_after_training() -> None:
    layer = RNN(3, 4, nonlinearity="relu", recurrent_dropout=0.3, dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0, 0.3)  # nothing is negative, so that the relu is linear
    x, state = torch.rand(1, 1, 3).double(), torch.rand(1, 1, 4).double()
    many = layer(x.expand(1, 20000, 3), state.expand(1, 20000, 4).contiguous())[0].mean(1)
    torch.testing.assert_close(many, layer.eval()(x, state)[0][0], atol=0.01, rtol=0.02)


def test_in_graphs_that_are_traced() -> None:
    torch._dynamo.reset()
    layer = Recurrent("gru", 5, 9, recurrent_dropout=0.5)
    traced = torch.compile(layer, backend="aot_eager", fullgraph=True)
    output, _ = traced(torch.randn(4, 2, 5))
    output.sum().backward()
    assert not torch.equal(traced(torch.ones(4, 2, 5))[0], traced(torch.ones(4, 2, 5))[0])


def test_layers_are_copied_and_saved_with_their_options() -> None:
    layer = LAYERS["lstm"]()
    x = torch.randn(4, 2, 5)
    for found, wanted in zip(run(copy.deepcopy(layer), x), run(layer, x), strict=True):
        torch.testing.assert_close(found, wanted, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recurrent_dropout": 1}, "recurrent_dropout=1; expected a probability"),
        ({"recurrent_dropout": -0.1}, "recurrent_dropout=-0.1"),
        ({"recurrent_dropout": "0.5"}, "recurrent_dropout='0.5'"),
        ({"zoneout": 1.0}, "zoneout=1.0"),
        ({"zoneout": {"d": 0.1}}, "has no state 'd'; its states are: h, c"),
        ({"recurrent_dropout": 0.1, "independent": True}, "has no recurrent matrix"),
    ],
)
def test_wrong_rates(options, message) -> None:
    with pytest.raises(CellError, match=message):
        LSTM(3, 5, **options)
