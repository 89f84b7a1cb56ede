"""Layers prepared with weights in int8, against PyTorch operations that quantise likewise."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from test_prepared_layers import CHANGES, flat, packings, unprepared
from torch import Tensor, nn

import anyrnn
from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, RNN, Recurrent, prepare
from anyrnn.torch.execute import forced
from anyrnn.torch.layer import Layer
from anyrnn.torch.torch_ops import TORCH

EDGE = 0.05  # what a number is wrong by that is rounded to the other one of two


def integers(rows: Tensor) -> tuple[Tensor, Tensor]:
    peak = rows.abs().amax(-1, keepdim=True)
    into = torch.where(peak > 0, 127 / peak, 0.0)
    return torch.round(rows * into).double(), (peak / 127).double()


def product(matrix: Tensor, vectors: Tensor) -> Tensor:
    (left, left_scale), (right, right_scale) = integers(vectors), integers(matrix)
    return ((left @ right.mT) * left_scale * right_scale.mT).float()


@contextmanager
def quantising() -> Iterator[None]:
    with forced("operations"), mock.patch.dict(TORCH, product=product):
        yield


def by_sequence(layer: Layer, results: Any) -> list[Tensor]:
    output, *states = flat(results)
    return [output.movedim(0 if layer.batch_first else 1, 0), *(s.movedim(-2, 0) for s in states)]


def is_close(layer: Layer, found: Any, wanted: Any) -> None:
    """In at most one sequence the kernels may have rounded another way what is in the middle of two
    integers.
    """
    wrong = torch.zeros(())
    for ours, theirs in zip(by_sequence(layer, found), by_sequence(layer, wanted), strict=True):
        assert ours.shape == theirs.shape
        wrong = torch.maximum(wrong, (ours - theirs).abs().flatten(1).amax(1))
    assert wrong.max() < EDGE
    assert (wrong > 1e-5).sum() <= 1, wrong


LAYERS: dict[str, Callable[[], Layer]] = {
    "lstm": lambda: LSTM(3, 5),
    "gru": lambda: GRU(17, 33, 2, bidirectional=True, batch_first=True),
    "rnn": lambda: RNN(1, 1, nonlinearity="relu"),
    "projection": lambda: LSTM(4, 7, 2, proj_size=3),
    "norm": lambda: LSTM(5, 6, norm="layer"),
    "peephole": lambda: Recurrent("lstm_peephole", 4, 6, 3, bidirectional=True),
    "qrnn": lambda: Recurrent("qrnn", 5, 7),
    "highway": lambda: GRU(5, 5, 3, highway=True, learn_initial_state=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_structures(name: str) -> None:
    """Twice, with lengths, masks and resets; one sequence, one step, many."""
    torch.manual_seed(0)
    layer = LAYERS[name]().eval()
    other, layer = copy.deepcopy(layer), prepare(layer, weights="int8")
    for time, batch in ((4, 3), (1, 1), (1, 5), (3, 13)):
        shape = (batch, time) if layer.batch_first else (time, batch)
        marks = torch.rand(shape) < 0.7
        x = torch.randn(*shape, layer.input_size)  # type: ignore[call-overload]
        given = {"lengths": torch.arange(batch) % time + 1}, {"mask": marks}, {"resets": marks}
        with torch.no_grad():
            for options in ({}, *given):
                for _ in range(2):
                    found = layer(x, **options)
                    with quantising():
                        is_close(layer, found, other(x, **options))
    assert packings(layer)
    with torch.no_grad():  # one number is its row's largest, and exact
        assert name == "rnn" or (layer(x)[0] - other(x)[0]).abs().max() > 1e-4
    assert str(layer.path).endswith(", products in int8")
    assert "int8" not in str(layer.train().path)


def test_a_stream() -> None:
    """The bits of calls with one step; into given tensors, too."""
    torch.manual_seed(0)
    layer = prepare(LSTM(7, 9).eval(), weights="int8")
    state = wanted_state = out = None
    with torch.no_grad():
        for count, x in enumerate(torch.randn(6, 3, 7)):
            wanted, wanted_state = layer(x[None], wanted_state)
            found = layer.step(x, state, out=out)
            output, *new = flat(found)
            assert torch.equal(output, wanted[0])
            assert all(map(torch.equal, new, wanted_state))
            state = found[1]
            out = None if count < 2 else (torch.empty_like(output), tuple(map(torch.clone, new)))


@pytest.mark.parametrize("name", ["in place", "load_state_dict", "a training"])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_change_is_noticed(name: str, batch: int) -> None:
    torch.manual_seed(0)
    layer, x = prepare(LSTM(3, 5).eval(), weights="int8"), torch.randn(6, batch, 3)
    state = torch.randn(1, batch, 5), torch.randn(1, batch, 5)
    with torch.no_grad():
        for _ in range(2):
            layer(x)
            before, step = layer(x)[0].clone(), layer.step(x[0], state)[0].clone()
            CHANGES[name](layer)
            fresh = prepare(copy.deepcopy(layer), weights="int8")
            assert not torch.equal(layer(x)[0], before)
            assert not torch.equal(layer.step(x[0], state)[0], step)
            assert torch.equal(layer(x)[0], fresh(x)[0])
            assert torch.equal(layer.step(x[0], state)[0], fresh.step(x[0], state)[0])


def test_what_is_kept_and_saved_is_float32() -> None:
    """Training is with the parameters; copies are prepared in the same way."""
    torch.manual_seed(0)
    layer, x = LSTM(3, 5), torch.randn(6, 2, 3)
    state = copy.deepcopy(layer.state_dict())
    prepare(layer, weights="int8").eval()
    with torch.no_grad():
        found = layer(x)[0]
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(other(x)[0], found)
        assert torch.equal(layer.train()(x)[0], unprepared(layer)(x)[0])
        assert torch.equal(layer.eval()(x)[0], found)
        prepare(layer)
        assert torch.equal(layer(x)[0], unprepared(layer)(x)[0])
        layer.prepare("int8")
        assert torch.equal(layer(x)[0], found)
    assert state.keys() == layer.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in layer.state_dict().items())


def test_in_a_graph() -> None:
    torch.manual_seed(0)
    layer, x = prepare(Recurrent("gru", 3, 5).eval(), weights="int8"), torch.randn(4, 2, 3)
    with torch.no_grad():
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        for given in (x, x[:1]):
            assert torch.equal(compiled(given)[0], layer(given)[0])


def test_values_of_the_equations() -> None:
    torch.manual_seed(0)
    layer, x = prepare(LSTM(3, 5).eval(), weights="int8"), torch.randn(4, 2, 3)
    with torch.no_grad():
        assert torch.equal(layer.inspect(x)["h"], layer(x)[0])


@anyrnn.cell
def matrixless(x, h, *, w, b):
    return anyrnn.tanh(w * x + b) + h * 0.5


@pytest.mark.parametrize(
    ("layer", "weights", "message"),
    [
        (lambda: GRU(3, 5), "int4", r"^weights='int4'; expected 'int8', or None"),
        (lambda: GRU(3, 5).double(), "int8", r"^GRU: weights='int8' cannot be: .* torch.float64"),
        (
            lambda: GRU(3, 5).bfloat16(),
            "int8",
            r"torch.bfloat16, and what is quantised is float32$",
        ),
        (lambda: Recurrent(matrixless, 3, 3), "int8", r"the cell 'matrixless' has no matrix$"),
    ],
)
def test_what_cannot_be_prepared(layer: Callable[[], Layer], weights: str, message: str) -> None:
    """Then none of the layers is."""
    model = nn.ModuleList([RNN(3, 5), layer()])
    with pytest.raises(InputError, match=message):
        prepare(model, weights=weights)
    assert all(part._prepared is None for part in model)


def test_calls_that_are_refused() -> None:
    layer, x = prepare(LSTM(3, 5).eval(), weights="int8"), torch.randn(4, 2, 3)
    for given in (x, x[:1]):
        with pytest.raises(
            InputError, match=r"no derivative: run without a gradient \(torch.no_gr"
        ):
            layer(given)
    with pytest.raises(InputError, match="no derivative"):
        layer.step(x[0])
    with torch.no_grad():
        with forced("operations"), pytest.raises(InputError, match="computed by operations: asked"):
            layer(x)
        with torch.autocast("cpu"), pytest.raises(InputError, match=r"under torch\.autocast; prep"):
            layer(x)
        with pytest.raises(InputError, match=r"^the layer is .* tensors are not float32; prepare"):
            layer.double()(x.double())
        layer.unprepare()
        assert layer(x.double())[0].dtype is torch.float64
