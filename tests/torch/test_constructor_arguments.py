"""Constructors of layers and cells: what is wrong with an argument is told in one line of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import anyrnn
from anyrnn.errors import AnyrnnError
from anyrnn.torch import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell
from checks import one_line

KINDS = [LSTM, GRU, RNN, LSTMCell, GRUCell, RNNCell, lambda *a, **b: Recurrent("lstm", *a, **b)]
SIZES = "5", None, 2.5, -1, 0, True, 10**30, 2**40, [4.5], {}, float("nan"), b"4", int
WRONG: dict[str, tuple[Any, ...]] = {
    "input_size": SIZES,
    "hidden_size": SIZES,
    "num_layers": ("5", 2.5, -1, 0, True, 10**30, {}, float("nan")),
    "bias": ("5", None, 2.5, [], "no"),
    "batch_first": ("5", None, 2, []),
    "bidirectional": ("5", None, 0.5, []),
    "dropout": ("0.5", None, -1, 1.5, True, [0.5], float("nan"), torch.ones(2)),
    "proj_size": ("5", 2.5, -1, True, 10**30, 4),
    "nonlinearity": ("sigmoid", None, 2, [], torch.tanh),
    "device": ("abc", "5", 2.5, -1, True, 10**30, [], "cuda:99"),
    "dtype": ("float32", 5, int, torch.int64, np.float32(1), []),
    "hiden_size": (3,),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name: str) -> None:
    for kind in KINDS:
        if name == "nonlinearity" and kind is RNNCell:
            continue  # refused in a call, as torch has it
        for value in WRONG[name]:
            sizes: dict[str, Any] = {"input_size": 3, "hidden_size": 4, name: value}
            with pytest.raises(AnyrnnError) as error:
                kind(**sizes)
            one_line(error.value)
            said = str(error.value)
            told = name, "memory", "addressed", "projection_size"
            assert any(word in said for word in told), (kind, said)


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_sizes_and_python_types(kind: Any) -> None:
    layer = kind(np.int32(3), np.int64(4), dtype=float)
    assert type(layer.input_size) is type(layer.hidden_size) is int
    assert {p.dtype for p in layer.parameters()} == {torch.float64}


def test_arguments_by_position() -> None:
    """torch's RNN has the nonlinearity before the flags."""
    for ours, theirs, given in (
        (RNN, nn.RNN, (3, 4, 2, "relu", True, True, 0.5, True)),
        (GRU, nn.GRU, (3, 4, 2, False, True, 0.5, True)),
        (LSTM, nn.LSTM, (3, 4, 2, False, True, 0.5, True, 2, "cpu", torch.float64)),
        (RNNCell, nn.RNNCell, (3, 4, False, "relu", "cpu", torch.float64)),
        (LSTMCell, nn.LSTMCell, (3, 4, False, "cpu", torch.float64)),
    ):
        layer, other = ours(*given), theirs(*given)
        assert str(layer) == str(other)
        shapes = {name: (p.shape, p.dtype) for name, p in other.named_parameters()}
        assert {name: (p.shape, p.dtype) for name, p in layer.named_parameters()} == shapes
        for wrong in ((*given, *[None] * 9), given):
            with pytest.raises(AnyrnnError) as error:
                ours(*wrong, bias=True)
            one_line(error.value)


def test_the_path_of_a_layer_without_parameters() -> None:
    @anyrnn.cell
    def average(x: Any, h: Any, *, keep: float = 0.9) -> Any:
        return keep * h + (1 - keep) * x

    layer = Recurrent(average, 3)
    assert layer.path.name == "compiled"
    assert "float64" in str(layer.double().path)
    assert str(layer.to("meta").path) == "operations: tensors on meta"
    assert str(Recurrent(average, 3, dtype=torch.float16).path) == "operations: tensors of float16"
