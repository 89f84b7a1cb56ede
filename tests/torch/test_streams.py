"""Truncated backpropagation through time: the state goes on, the gradient does not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, Recurrent, truncated
from checks import one_line


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 10, 40])
def test_pieces_are_the_sequence(steps: int, batch_first: bool) -> None:
    torch.manual_seed(0)
    layer = LSTM(3, [5, 4], batch_first=batch_first, learn_initial_state=True).double()
    time = 1 if batch_first else 0
    x = torch.randn(10, 10, 3, dtype=torch.float64)
    for given in (x, x[0]):
        axis = time if given.dim() == 3 else 0
        outputs, states = zip(*truncated(layer, given, steps), strict=True)
        assert len(outputs) == -(-10 // steps)
        wanted, last = layer(given)
        torch.testing.assert_close(torch.cat(outputs, axis), wanted)
        torch.testing.assert_close(states[-1], last)


def test_gradients_go_back_through_one_piece() -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm_peephole", 3, 5, dtype=torch.float64)
    x = torch.randn(9, 2, 3, dtype=torch.float64, requires_grad=True)
    state: Any = (torch.randn(1, 2, 5, dtype=torch.float64), torch.zeros(1, 2, 5).double())
    plain_state = state
    pieces = truncated(layer, x, 4, state)
    for start, (output, after) in zip((0, 4, 8), pieces, strict=True):
        leaves = [x, *layer.parameters()]
        found = torch.autograd.grad(output.square().sum() + after[1].sum(), leaves)
        inside = torch.zeros(9, 1, 1, dtype=torch.bool)
        inside[start : start + 4] = True
        assert torch.equal(found[0] != 0, inside.expand(9, 2, 3))
        wanted, last = layer(x[start : start + 4], tuple(part.detach() for part in plain_state))
        loss = wanted.square().sum() + last[1].sum()
        torch.testing.assert_close(found, torch.autograd.grad(loss, leaves))
        plain_state = last


def test_an_endless_stream_is_learned() -> None:
    """To tell what came two steps ago, from parts of any lengths."""
    torch.manual_seed(0)
    layer, dense = GRU(1, 16), nn.Linear(16, 1)
    source = torch.Generator().manual_seed(1)
    waiting: list[Tensor] = []

    def stream() -> Iterator[Tensor]:
        before = torch.zeros(2, 16, 1)
        for length in count(30):
            part = torch.randint(2, (length % 50 + 5, 16, 1), generator=source).float()
            whole = torch.cat([before, part])
            waiting.extend(whole[:-2].split(20))
            before = whole[-2:]
            yield part

    optimizer = torch.optim.Adam([*layer.parameters(), *dense.parameters()], lr=0.01)
    losses = []
    for output, _ in islice(truncated(layer, stream(), steps=20), 150):
        loss = nn.functional.binary_cross_entropy_with_logits(dense(output), waiting.pop(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.6
    assert sum(losses[-10:]) / 10 < 0.2


X = torch.zeros(4, 2, 3)


@pytest.mark.parametrize(
    ("layer", "given", "steps", "message"),
    [
        (GRU(3, 5, bidirectional=True), X, 2, "cannot be run by a bidirectional layer"),
        (nn.GRU(3, 5), X, 2, "cannot be run by GRU; expected a layer of anyrnn.torch"),
        (GRU(3, 5), X, 0, "steps=0; expected a whole number of at least 1"),
        (GRU(3, 5), X, 2.0, "steps=2.0; expected a whole number"),
        (GRU(3, 5), pack_sequence([X[:, 0]]), 2, "a part of a stream is a PackedSequence"),
        (GRU(3, 5), [pack_sequence([X[:, 0]])], 2, "a part of a stream is a PackedSequence"),
        (GRU(3, 5), [3], 2, "a part of a stream is a int; expected a tensor"),
        (GRU(3, 5), X[0, 0, 0], 2, "the input has shape ()"),
        (GRU(3, 5), X[..., :2], 2, "the input has 2 features"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_mistakes(layer: Any, given: Any, steps: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        next(truncated(layer, given, steps))
    assert message in one_line(caught.value)
