"""Tensors whose memory is not their elements, and kinds of tensors that layers do not take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, GRUCell, Recurrent, prepare
from checks import one_line


def negated(tensor: Tensor) -> Tensor:
    """The negatives of a tensor, with its memory, as `torch.imag` of a conjugate has them."""
    return torch._neg_view(tensor)


def no_memory(shape: Sequence[int]) -> Tensor:
    """Zeros without memory, as forward-mode differentiation has them."""
    zeros: Any = torch
    return zeros._efficientzerotensor(shape)


def freed(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().resize_(0)
    return tensor


def packed(x: Tensor) -> PackedSequence:
    return PackedSequence(x.flatten(0, 1), torch.tensor([2] * len(x)))


def results(call: Callable[..., Any], *given: Any) -> list[Tensor]:
    """The output and the last state of the third call: calls that came before go shorter ways."""
    found: Any = [call(*given) for _ in range(3)][-1]
    output, last = found if isinstance(found, tuple) else (found, found)
    return [output.data if isinstance(output, PackedSequence) else output, last]


WAYS = "run", "one step", "step", "prepared", "int8", "lengths", "packed"


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_negatives(way: str, recorded: bool) -> None:
    torch.manual_seed(0)
    layer, x, h = Recurrent("gru", 3, 4), torch.randn(5, 2, 3), torch.randn(1, 2, 4)
    call: Callable[..., Any] = layer
    if way in ("prepared", "int8"):
        if way == "int8" and recorded:
            return
        call = prepare(layer.eval(), weights="int8" if way == "int8" else None)
    if way in ("one step", "step"):
        x = x[:1] if way == "one step" else x[0]
        call = layer if way == "one step" else layer.step
    if way == "lengths":
        call = lambda x, h: layer(x, h, lengths=[5, 2])  # noqa: E731
    form: Callable[[Tensor], Any] = packed if way == "packed" else lambda x: x
    with torch.set_grad_enabled(recorded):
        wanted = results(call, form(-x), -h)
        for ours, theirs in zip(results(call, form(negated(x)), negated(h)), wanted, strict=True):
            assert torch.equal(ours, theirs)
        layer.U_l0 = nn.Parameter(-layer.U_l0)
        wanted = results(call, form(x), h)
        layer.U_l0 = nn.Parameter(negated(-layer.U_l0.detach()))
        for ours, theirs in zip(results(call, form(x), h), wanted, strict=True):
            assert torch.equal(ours, theirs)


def test_negatives_in_a_cell_and_where_results_are_written() -> None:
    torch.manual_seed(0)
    cell, layer, x = GRUCell(3, 4), Recurrent("gru", 3, 4), torch.randn(2, 3)
    assert torch.equal(cell(negated(x)), cell(-x))
    with torch.no_grad():
        assert torch.equal(cell(negated(x)), cell(-x))
        wanted, new = layer.step(x)
        for _ in range(3):
            out = negated(torch.zeros_like(wanted)), torch.zeros_like(new)
            layer.step(x, out=out)
            assert torch.equal(out[0], wanted)
            assert torch.equal(out[1], new)


@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_gradients_that_are_negatives_or_zeros(lengths: Any) -> None:
    torch.manual_seed(0)
    layer, x, above = LSTM(3, 4), torch.randn(5, 2, 3).requires_grad_(), torch.randn(5, 2, 4)
    zeros = no_memory(above.shape)
    for _ in range(3):
        output, _ = layer(x, lengths=lengths)
        found = [
            torch.autograd.grad(output, x, gradient, retain_graph=True)[0]
            for gradient in (negated(above), -above, zeros)
        ]
        assert torch.equal(found[0], found[1])
        assert found[0].any()
        assert not found[2].any()


def test_zeros_without_memory_as_input() -> None:
    layer, shape = GRU(3, 4), (5, 2, 3)
    wanted, _ = layer(torch.zeros(shape))
    assert torch.equal(layer(no_memory(shape))[0], wanted)


FREED: dict[str, Callable[[Recurrent, Tensor], Any]] = {
    "the input": lambda layer, x: layer(freed(x)),
    "the input of a step": lambda layer, x: layer.step(freed(x[0].clone())),
    "lengths": lambda layer, x: layer(x, lengths=freed(torch.tensor([5, 3]))),
    "mask": lambda layer, x: layer(x, mask=freed(torch.ones(5, 2, dtype=torch.bool))),
    "resets": lambda layer, x: layer(x, resets=freed(torch.ones(5, 2, dtype=torch.bool))),
    "out": lambda layer, x: layer.step(x[0], out=(freed(torch.ones(2, 4)), torch.ones(1, 2, 4))),
}


@pytest.mark.parametrize("name", FREED)
def test_tensors_whose_storage_was_freed(name: str) -> None:
    with torch.no_grad(), pytest.raises(InputError, match="memory") as error:
        FREED[name](Recurrent("gru", 3, 4), torch.randn(5, 2, 3))
    one_line(error.value)


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors", "ignore:torch.quantize_per")
def test_kinds_of_tensors_that_are_refused() -> None:
    layer, x = Recurrent("gru", 3, 4), torch.randn(1, 2, 3)
    masked = torch.masked.masked_tensor(x, x > 0)
    quantised = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
    for given, said in (
        (masked, "MaskedTensor"),
        (quantised, "qint8"),
        (nn.UninitializedParameter(), "no shape yet"),
    ):
        for call in (layer, layer.step, GRUCell(3, 4)):
            with pytest.raises(InputError, match=said) as error:
                call(given)
            one_line(error.value)
    lengths = torch.quantize_per_tensor(torch.tensor([1.0, 1.0]), 0.1, 0, torch.qint8)
    with pytest.raises(InputError, match="whole numbers"):
        layer(x, lengths=lengths)
