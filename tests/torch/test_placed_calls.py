"""Calls with lengths, masks and resets copy no rows, with a gradient or without, and compute the
same bits as those that do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from anyrnn.torch import GRU, LSTM, Recurrent
from anyrnn.torch import layer as layer_module
from anyrnn.torch.packed_rows import RowIndex

TIME, BATCH = 7, 6


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The copies of rows that were made."""
    found: list[str] = []
    for name in ("taken", "placed"):
        method = getattr(RowIndex, name)

        def noted(self: RowIndex, array: Tensor, method: Any = method, name: str = name) -> Tensor:
            found.append(name)
            return method(self, array)

        monkeypatch.setattr(RowIndex, name, noted)
    return found


def by_copies(layer: Any, *given: Any, **marks: Any) -> Any:
    """The results of a call that gathers rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "run_placed", lambda *_: None)
        return layer(*given, **marks)


def same(found: Any, wanted: Any) -> None:
    """Results are the same, bit by bit."""
    if isinstance(found, Tensor):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        return
    for ours, theirs in zip(found, wanted, strict=True):
        same(ours, theirs)


def calls(batch_first: bool) -> list[dict[str, Any]]:
    """What calls say about their steps."""
    random = torch.Generator().manual_seed(0)
    shape = (BATCH, TIME) if batch_first else (TIME, BATCH)
    lengths = torch.tensor([0, 7, 3, 1, 5, 3])
    mask, resets = (torch.rand(shape, generator=random) < share for share in (0.6, 0.3))
    state = torch.rand(1, BATCH, 5, generator=random)
    return [
        {"lengths": lengths},
        {"lengths": [2, 2, 2, 2, 2, 2]},
        {"mask": mask},
        {"resets": resets, "reset_state": None},
        {"lengths": lengths, "mask": mask, "resets": resets, "reset_state": state},
    ]


@pytest.mark.parametrize("batch_first", [False, True])
def test_no_row_is_copied(batch_first: bool, copied: list[str]) -> None:
    torch.manual_seed(0)
    layer = GRU(3, 5, batch_first=batch_first).eval()
    x = torch.randn(*((BATCH, TIME) if batch_first else (TIME, BATCH)), 3)
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    state, found = torch.randn(1, BATCH, 5), []
    with torch.no_grad():
        for marks in calls(batch_first):
            found += [
                layer(given, state, **marks)
                for given in (x, turned, x[..., :2].repeat(1, 1, 2)[..., :3])
            ]
            assert copied == []
            found.append(by_copies(layer, x, state, **marks))
            copied.clear()
            same(found[-4], found[-1])
            same(found[-3], found[-1])


def test_prepared_layers_and_int8() -> None:
    torch.manual_seed(0)
    for weights in (None, "int8"):
        layer, x = LSTM(3, 5).eval(), torch.randn(TIME, BATCH, 3)
        layer.prepare(weights)
        with torch.no_grad():
            for marks in calls(False)[:4] * 2:
                same(layer(x, **marks), by_copies(layer, x, **marks))
                layer.get_parameter("weight_ih_l0").mul_(1.5)


def test_what_has_to_be_copied(copied: list[str]) -> None:
    """A further layer or direction, a carried output; and a single step."""
    torch.manual_seed(0)
    x, lengths = torch.randn(TIME, BATCH, 3), torch.tensor([0, 7, 3, 1, 5, 3])
    plain, single = GRU(3, 5).eval(), lengths.clamp(max=1)
    with torch.no_grad():
        for layer in (GRU(3, 5, num_layers=2), GRU(3, 5, bidirectional=True)):
            layer(x, lengths=lengths)
            assert copied == ["taken", "placed"]
            copied.clear()
        plain(x, lengths=single)
        assert copied == ["taken", "placed"]
        copied.clear()
        Recurrent("gru", 3, 5)(x, lengths=lengths, padding="carry")
        assert copied == ["taken"]
        copied.clear()


def results(call: Callable[..., Any], layer: Any, x: Tensor, state: Any, **marks: Any) -> Any:
    """The results of a call, and the gradients of all that it is given."""
    x, state = x.clone().requires_grad_(), state.clone().requires_grad_()
    again = marks.get("reset_state")
    if isinstance(again, Tensor):
        marks["reset_state"] = again = again.clone().requires_grad_()
    output, last = call(x, state, **marks)
    random = torch.Generator().manual_seed(1)
    weights = [torch.randn(part.shape, generator=random) for part in (output, last)]
    given = [x, state, *layer.parameters(), *[again] * isinstance(again, Tensor)]
    return output, last, torch.autograd.grad([output, last], given, weights)


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"memory": "low"}])
def test_no_row_is_copied_for_a_gradient(options: dict[str, Any], copied: list[str]) -> None:
    torch.manual_seed(0)
    layer, batch_first = Recurrent("gru", 3, 5, **options), "batch_first" in options
    x = torch.randn(*((BATCH, TIME) if batch_first else (TIME, BATCH)), 3)
    state = torch.randn(1, BATCH, 5)
    for marks in calls(batch_first):
        found = results(layer, layer, x, state, **marks)
        turned = x.transpose(0, 1).contiguous().transpose(0, 1)
        others = results(layer, layer, turned, state, **marks)
        assert copied == []
        wanted = results(partial(by_copies, layer), layer, x, state, **marks)
        assert copied
        copied.clear()
        same(found, wanted)
        same(others, wanted)


def test_padding_reaches_no_gradient() -> None:
    """Whatever is in the padding, of the input and of the gradient of the output."""
    torch.manual_seed(0)
    layer, lengths = LSTM(3, 5), torch.tensor([0, 7, 3, 1, 5, 3])
    x, above = torch.randn(TIME, BATCH, 3), torch.randn(TIME, BATCH, 5)
    there = torch.arange(TIME)[:, None] < lengths
    found = []
    for number in (0.0, torch.nan):
        given, weight = (part.masked_fill(~there[..., None], number) for part in (x, above))
        given.requires_grad_()
        output, _ = layer(given, lengths=lengths)
        assert (output[~there] == 0).all()
        output.backward(weight)
        assert given.grad is not None
        assert (given.grad[~there] == 0).all()
        found.append([output.detach(), given.grad, *(p.grad for p in layer.parameters())])
        layer.zero_grad()
    same(*found)


def test_second_derivatives_and_several_gradients() -> None:
    """They are computed by operations, and are those of a call that gathers rows."""
    torch.manual_seed(0)
    layer = GRU(3, 5).double()
    x, state = torch.randn(TIME, BATCH, 3).double(), torch.randn(1, BATCH, 5).double()

    def derivatives(call: Callable[..., Any], marks: dict[str, Any]) -> list[Any]:
        x.requires_grad_().grad = None
        given = [x, state.requires_grad_(), *layer.parameters()]
        output, last = call(x, state, **marks)
        first = torch.autograd.grad(output.square().sum() + last.sum(), given, create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), given)
        output, last = call(x, state, **marks)
        several = torch.stack([torch.ones_like(output), output.detach()])
        many = torch.autograd.grad(output, given, several, is_grads_batched=True)
        return [*first, *second, *many]

    for marks in calls(False)[:4]:
        found = derivatives(layer, marks)
        for ours, theirs in zip(found, derivatives(partial(by_copies, layer), marks), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_part_of_the_gradients() -> None:
    """Of what is not asked for, and of results that nothing depends on."""
    torch.manual_seed(0)
    layer, x = LSTM(3, 5), torch.randn(TIME, BATCH, 3, requires_grad=True)
    layer.get_parameter("weight_hh_l0").requires_grad_(False)
    for marks in calls(False)[:4]:
        marks.pop("reset_state", None)
        for place in range(3):
            found = []
            for call in (layer, partial(by_copies, layer)):
                output, states = call(x, **marks)
                (output, *states)[place].sum().backward()
                found.append([x.grad, *(part.grad for part in layer.parameters())])
                x.grad = None
                layer.zero_grad()
            assert found[0][2] is found[1][2] is None
            same(*([part for part in each if part is not None] for each in found))


def test_a_changed_input_is_told() -> None:
    """As without lengths."""
    layer, x = LSTM(3, 5), torch.randn(TIME, BATCH, 3)
    output, _ = layer(x, lengths=[2, 7, 3, 1, 5, 3])
    output.mul_(2)
    x.zero_()
    with pytest.raises(RuntimeError, match="inplace"):
        output.sum().backward()


def test_a_result_may_be_changed_and_memory_used_again() -> None:
    torch.manual_seed(0)
    layer, lengths = LSTM(3, 400).eval(), torch.tensor([0, 70, 3, 1, 50, 3])
    with torch.no_grad():
        for _ in range(3):
            x = torch.randn(70, BATCH, 3)
            output, states = layer(x, lengths=lengths)
            same((output, states), by_copies(layer, x, lengths=lengths))
            assert not any(part._is_view() for part in (output, *states))
            for place in range(2):
                states[place].fill_(torch.nan)
            output.fill_(torch.nan)
            del output, states  # the next ones get this memory


def test_one_sequence_and_double_precision() -> None:
    torch.manual_seed(0)
    layer, x = GRU(3, 5).double().eval(), torch.randn(TIME, 3, dtype=torch.float64)
    mask = torch.tensor([True, False, True, True, False, True, False])
    with torch.no_grad():
        same(layer(x, mask=mask), by_copies(layer, x, mask=mask))
