"""Resets: the state is put back to its initial value, and the gradient does not go past it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import anyrnn
from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, Recurrent, truncated
from anyrnn.torch.path import ORDER, forced
from checks import one_line
from masked_layers import make

CELLS = ["lstm", "gru", "rnn_output", "lstm_projection"]
float64 = torch.float64


def as_tuple(states: object) -> tuple[Tensor, ...]:
    return states if isinstance(states, tuple) else (states,)  # type: ignore[return-value]


@pytest.mark.parametrize("name", CELLS)
def test_pieces_are_sequences_of_their_own(name: str) -> None:
    """In both directions; the last state is that of the last piece, backwards of the first."""
    torch.manual_seed(0)
    layer = make(name, 2, True)
    x = torch.randn(9, 2, 3, dtype=float64)
    cuts = [[0, 4, 5], [0, 2]]
    resets = torch.zeros(9, 2).bool()
    for row, steps in enumerate(cuts):
        resets[steps, row] = True
    output, states = layer(x, resets=resets)
    for row, steps in enumerate(cuts):
        pieces = x[:, row].tensor_split(steps[1:])
        alone = [layer(piece) for piece in pieces]
        wanted = torch.cat([part for part, _ in alone])
        torch.testing.assert_close(output[:, row], wanted, rtol=1e-12, atol=1e-12)
        ends = [as_tuple(state) for _, state in alone]
        for place, state in enumerate(as_tuple(states)):
            # forwards and backwards of each layer, one after the other
            torch.testing.assert_close(state[0::2, row], ends[-1][place][0::2])
            torch.testing.assert_close(state[1::2, row], ends[0][place][1::2])


@pytest.mark.parametrize("path", ORDER)
def test_gradients_are_cut(path: str) -> None:
    torch.manual_seed(0)
    layer = LSTM(3, 5, num_layers=2, dtype=float64)
    x = torch.randn(8, 2, 3, dtype=float64, requires_grad=True)
    resets = torch.zeros(8, 2).bool()
    resets[5, 0] = True
    with forced(path):
        output, _ = layer(x, resets=resets)
        (found,) = torch.autograd.grad(output[7].sum(), x)
    assert not found[:5, 0].any()
    assert found[5:, 0].all()
    assert found[:, 1].all()


def test_every_piece_moves_the_initial_state() -> None:
    torch.manual_seed(0)
    layer = GRU(3, 5, learn_initial_state=True, dtype=float64)
    x = torch.randn(6, 1, 3, dtype=float64)
    resets = torch.tensor([0, 0, 1, 0, 0, 1]).bool()[:, None]
    found = torch.autograd.grad(layer(x, resets=resets)[0].sum(), layer.h_0_l0)[0]
    wanted = torch.zeros_like(found)
    for piece in x.split([2, 3, 1]):
        wanted += torch.autograd.grad(layer(piece)[0].sum(), layer.h_0_l0)[0]
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_streams_with_resets(name: str, learned: bool) -> None:
    """Chunks of any size give the same result as one call, when states go back to the usual one."""
    torch.manual_seed(0)
    layer = make(name, 2, learn_initial_state=learned)
    if learned:
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    x, resets = torch.randn(12, 3, 3, dtype=float64), torch.rand(12, 3) < 0.3
    mask = torch.rand(12, 3) < 0.7
    wanted, last = layer(x, mask=mask, resets=resets)
    for size in (1, 2, 5):
        outputs, state = [], None
        for part in zip(x.split(size), mask.split(size), resets.split(size), strict=True):
            piece, counts, back = part
            output, state = layer(piece, state, mask=counts, resets=back, reset_state=None)
            outputs.append(output)
        torch.testing.assert_close(torch.cat(outputs), wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_a_state_to_go_back_to() -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5), torch.randn(6, 2, 3)
    state, reset = (tuple(torch.randn(1, 2, 5) for _ in "hc") for _ in range(2))
    resets = torch.zeros(6, 2).bool()
    resets[4] = True
    given, _ = layer(x, state, resets=resets)
    torch.testing.assert_close(given[4:], layer(x[4:], state)[0])
    usual, _ = layer(x, state, resets=resets, reset_state=None)
    torch.testing.assert_close(usual[4:], layer(x[4:])[0])
    other, last = layer(x, state, resets=resets, reset_state=reset)
    torch.testing.assert_close(other[:4], given[:4])
    torch.testing.assert_close(other[4:], layer(x[4:], reset)[0])
    resets[0] = True
    torch.testing.assert_close(layer(x, state, resets=resets, reset_state=reset)[1], last)
    found, _ = layer(x, state, resets=resets, reset_state=reset)
    torch.testing.assert_close(found[:4], layer(x[:4], reset)[0])


def test_a_reset_at_a_step_that_does_not_count() -> None:
    """The state is put back all the same."""
    layer, x = GRU(3, 5), torch.randn(5, 1, 3)
    mask = torch.tensor([1, 1, 0, 1, 0]).bool()[:, None]
    for place in (2, 3):
        resets = torch.zeros(5, 1).bool()
        resets[place] = True
        output, last = layer(x, mask=mask, resets=resets)
        torch.testing.assert_close(output[3:4], layer(x[3:4])[0])
        torch.testing.assert_close(last, layer(x[3:4])[1])
    resets = torch.zeros(5, 1).bool()
    resets[4] = True
    state = torch.randn(1, 1, 5)
    output, last = layer(x, state, mask=mask, resets=resets, padding="carry")
    torch.testing.assert_close(last, state)
    torch.testing.assert_close(output[4], output[3])


def test_inside() -> None:
    layer, x = Recurrent("lstm", 3, 5, batch_first=True), torch.randn(2, 6, 3)
    resets = torch.zeros(2, 6).bool()
    resets[0, 3] = True
    found = layer.inspect(x, resets=resets)
    for name, value in layer.inspect(x[:1, 3:]).items():
        torch.testing.assert_close(found[name][:1, 3:], value)
    states = torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    found = layer.inspect(x, states, resets=resets, reset_state=None)
    for name, value in layer.inspect(x[:1, 3:]).items():
        torch.testing.assert_close(found[name][:1, 3:], value)


def test_dropped_features_change_with_a_piece() -> None:
    torch.manual_seed(0)
    layer = Recurrent(_echo, 16, input_dropout=0.5)
    resets = torch.zeros(6, 1).bool()
    resets[3] = True
    output, _ = layer(torch.ones(6, 1, 16), resets=resets)
    assert torch.equal(output[:3], output[:1].expand(3, 1, 16))
    assert torch.equal(output[3:], output[3:4].expand(3, 1, 16))
    assert not torch.equal(output[0], output[3])


@anyrnn.cell
def _echo(x, h):
    return x + 0 * h


def test_layers_of_several_sizes() -> None:
    """States are a tuple for each layer; so is what they go back to, or None."""
    layer, x = Recurrent(["lstm", "gru"], 3, [5, 4]), torch.randn(6, 2, 3)
    resets = torch.zeros(6, 2).bool()
    resets[2] = True
    reset = ((torch.randn(1, 2, 5), torch.randn(1, 2, 5)), None)
    output, _ = layer(x, resets=resets, reset_state=reset)
    torch.testing.assert_close(output[2:], layer(x[2:], reset)[0])
    torch.testing.assert_close(output[:2], layer(x[:2])[0])


def test_mistakes_in_what_is_gone_back_to() -> None:
    layer, x = GRU(3, 5), torch.zeros(4, 2, 3)
    resets = torch.zeros(4, 2).bool()
    for reset_state, message in (
        ("usual", "reset_state='usual'; expected 'given', a state, or None"),
        (x[:1, :1, :1], "the state h has shape (1, 1, 1); expected (1, 2, 5)"),
    ):
        with pytest.raises(InputError) as caught:
            layer(x, resets=resets, reset_state=reset_state)
        assert message.split(": ", 1)[-1] in one_line(caught.value)


def test_truncated_streams_are_plain() -> None:
    layer, x = GRU(3, 5), torch.randn(6, 2, 3)
    outputs = torch.cat([output for output, _ in truncated(layer, x, 4)])
    torch.testing.assert_close(outputs, layer(x, resets=torch.zeros(6, 2).bool())[0])
