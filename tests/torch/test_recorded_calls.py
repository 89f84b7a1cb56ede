"""Calls with a gradient that are known from one before: the same bits, and the usual way if not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from anyrnn.torch import GRU, LSTM, RNN, Recurrent
from anyrnn.torch.execute import forced
from anyrnn.torch.layer import Layer
from anyrnn.torch.recorded_call import RecordedCall

LAYERS: dict[str, Callable[[], Layer]] = {
    "lstm": lambda: LSTM(3, 5),
    "gru": lambda: GRU(3, 5),
    "projection": lambda: LSTM(3, 5, proj_size=2),
    "float64": lambda: Recurrent("gru_reset_before", 3, 5, dtype=torch.float64),
    "norm": lambda: RNN(3, 5, norm="layer"),
    "zoneout": lambda: GRU(3, 5, zoneout=0.5),
    "two layers": lambda: LSTM(3, 5, 2),
}


def both(layer: Layer, x: Tensor, state: Any = None) -> list[Tensor]:
    """Results, and the gradients of all that is given and of the parameters."""
    given = [x, *(state if isinstance(state, tuple) else () if state is None else (state,))]
    leaves = [each for each in (*given, *layer.parameters()) if each.requires_grad]
    torch.manual_seed(1)
    output, last = layer(x, state)
    last = last if isinstance(last, tuple) else (last,)
    loss = sum((n * part.square()).sum() for n, part in enumerate((output, *last), 1))
    assert isinstance(loss, Tensor)
    return [output.detach(), *torch.autograd.grad(loss, leaves)]


def states(layer: Layer, x: Tensor, wants: bool) -> Any:
    with torch.no_grad():
        _, last = layer(x)
    made = last if isinstance(last, tuple) else (last,)
    found = tuple(torch.randn_like(each).requires_grad_(wants) for each in made)
    return found if isinstance(last, tuple) else found[0]


@pytest.mark.parametrize("name", LAYERS)
def test_the_bits_of_a_first_call(name: str) -> None:
    """In turn with and without a state, of several shapes, with and without a gradient of each."""
    torch.manual_seed(0)
    layer = LAYERS[name]()
    dtype = next(layer.parameters()).dtype
    for time, batch in ((4, 2), (7, 1), (4, 2), (2, 3), (4, 2)):
        x = torch.randn(time, batch, 3, dtype=dtype)
        for wants, state in ((True, None), (False, None), (True, states(layer, x, True))):
            x.requires_grad_(wants)
            fresh = copy.deepcopy(layer)
            fresh._prepared = None
            for ours, wanted in zip(both(layer, x, state), both(fresh, x, state), strict=True):
                assert torch.equal(ours, wanted)


def test_a_known_call_is_taken_and_left() -> None:
    layer, x = LSTM(3, 5), torch.randn(4, 2, 3, requires_grad=True)
    taken = []
    record = RecordedCall.__call__

    def counted(self: RecordedCall, *given: Any) -> Any:
        found = record(self, *given)
        taken.append(found is not None)
        return found

    with mock.patch.object(RecordedCall, "__call__", counted):
        layer(x)
        assert taken == []
        for call, was_taken in (
            (lambda: layer(x), [True]),
            (lambda: layer(x.detach()), [True]),  # the parameters want gradients
            (lambda: layer(x.transpose(0, 1).contiguous().transpose(0, 1)), [False]),
            (lambda: layer(x, lengths=[4, 3]), []),
        ):
            taken.clear()
            call()
            assert taken == was_taken
        for enter in (torch.no_grad(), forced("operations")):
            taken.clear()
            with enter:
                layer(x)
            assert True not in taken
        layer.memory = "low"
        taken.clear()
        layer(x)
        assert taken == []


def test_second_derivatives_and_transforms_of_a_known_call() -> None:
    torch.manual_seed(0)
    layer, x = GRU(3, 5, dtype=torch.float64), torch.randn(3, 2, 3, dtype=torch.float64)
    x.requires_grad_()

    def squares() -> Tensor:
        (gradient,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    torch.testing.assert_close(squares(), squares(), rtol=0, atol=0)
    wanted = torch.autograd.grad(layer(x)[0].sum(), x)[0]
    found = torch.func.grad(lambda given: layer(given)[0].sum())(x.detach())
    torch.testing.assert_close(found, wanted)


def test_results_of_a_known_call_are_ones_own() -> None:
    layer, x = GRU(3, 5), torch.randn(4, 2, 3, requires_grad=True)
    for _ in range(2):
        output, last = layer(x)
        wanted = torch.autograd.grad(output.sum(), x, retain_graph=True)[0]
        output.detach_()
        last.detach().zero_()
        assert wanted.shape == x.shape
        assert torch.count_nonzero(output)
