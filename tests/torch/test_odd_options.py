"""Options of other kinds than expected, attributes that are set later, modules around a layer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import anyrnn
from anyrnn.errors import ArrayError, InputError, SizeError
from anyrnn.torch import GRU, LSTM, GRUCell, LSTMCell, Recurrent, RNNCell, truncated
from checks import one_line

X = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("bidirectional", "yes", "bidirectional='yes'; expected True or False"),
        ("bidirectional", 2, "bidirectional=2; expected True or False"),
        ("bidirectional", None, "bidirectional=None; expected True or False"),
        ("bias", "no", "bias='no'; expected True or False"),
        ("batch_first", 1, "batch_first=1; expected True or False"),
        ("dropout", None, "dropout=None; expected a probability, from 0 to 1"),
        ("input_dropout", None, "input_dropout=None; expected a probability, from 0 to 1"),
        ("weight_dropout", "1", "weight_dropout='1'; expected a probability, from 0 to 1"),
        ("hidden_size", True, "hidden_size=True: a size is a whole number"),
        ("num_layers", 2.0, "num_layers=2.0; expected a whole number of at least 1"),
    ],
)
def test_options_of_another_kind(option: str, value: object, message: str) -> None:
    kinds: list[Callable[..., Any]] = [lambda *sizes, **more: Recurrent("gru", *sizes, **more)]
    if option in ("bidirectional", "input_dropout", "weight_dropout"):
        kinds.append(GRU)
    for kind in kinds:
        with pytest.raises((InputError, SizeError)) as caught:
            kind(**{"input_size": 4, "hidden_size": 5, option: value})
        assert one_line(caught.value) == message


def test_numbers_of_numpy_are_numbers() -> None:
    layer = Recurrent(
        "lstm", np.int64(4), np.int32(6), np.int8(2), proj_size=np.int64(3), dropout=np.float32(0)
    )
    assert layer(X)[0].shape == (6, 3, 3)
    for value in (layer.input_size, layer.hidden_size, layer.num_layers):
        assert type(value) is int
    changed = Recurrent("gru", 4, 6, heads=np.int64(2), clip_state=np.float32(0.5))
    assert float(changed(X)[0].detach().abs().max()) <= 0.5
    pieces = [output for output, _ in truncated(layer, X, np.int64(4))]
    assert [len(piece) for piece in pieces] == [4, 2]


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, RNNCell])
def test_sizes_of_single_steps(kind: Any) -> None:
    plain = kind(4, 5)
    for size in (np.int64(5), torch.tensor(5)):  # torch's modules take them
        step = kind(torch.tensor(4), size)
        step.load_state_dict(plain.state_dict())
        torch.testing.assert_close(step(X[0]), plain(X[0]))
    plain.hidden_size = torch.tensor(5)
    plain(X[0])
    for size in (0, True):
        with pytest.raises(SizeError) as caught:
            kind(4, size)(X[0])
        message = f"hidden_size={size}; expected a whole number of at least 1"
        assert one_line(caught.value) == message


def test_a_bias_that_a_single_step_has_or_not() -> None:
    ours, theirs = LSTMCell(4, 5, bias=False), nn.LSTMCell(4, 5, bias=False)
    ours.load_state_dict(theirs.state_dict())
    ours.bias_ih = theirs.bias_ih = nn.Parameter(torch.randn(20))
    ours.bias_hh = theirs.bias_hh = nn.Parameter(torch.randn(20))
    torch.testing.assert_close(ours(X[0]), theirs(X[0]))
    ours.bias = theirs.bias = True
    torch.testing.assert_close(ours(X[0]), theirs(X[0]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell", anyrnn.get("gru")),
        ("num_layers", 3),
        ("hidden_size", 6),
        ("input_size", 6),
        ("proj_size", 3),
        ("bidirectional", True),
        ("bias", False),
        ("sizes", {}),
    ],
)
def test_what_a_layer_is_made_of_is_not_changed_in_silence(name: str, value: object) -> None:
    layer = Recurrent("lstm", 4, 5, num_layers=2)
    for made in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        setattr(made, name, getattr(made, name))
        with pytest.raises(InputError, match=f"{name} cannot be changed in a layer that is made"):
            setattr(made, name, value)
        made.batch_first, made.dropout, made.memory = True, 0.5, "low"
        assert made(X)[1][0].shape == (2, 6, 5)


def test_a_parametrization_is_computed_once_a_call() -> None:
    calls = []

    class Counted(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            calls.append(weight)
            return 2 * weight

    for layer in (LSTM(4, 5), Recurrent("gru", 4, 5)):
        first = next(iter(layer._parameters))
        nn.utils.parametrize.register_parametrization(layer, first, Counted())
        calls.clear()
        layer(X)
        assert len(calls) == 1
    ours, theirs = LSTM(4, 5), nn.LSTM(4, 5)
    ours.load_state_dict(theirs.state_dict())
    for layer in (ours, theirs):
        torch.manual_seed(0)
        spectral_norm(layer, "weight_ih_l0").eval()  # torch's layer estimates four times a call
    torch.testing.assert_close(ours(X), theirs(X))


class Model(nn.Module):
    """A sequence to a row, by a layer and a single step."""

    def __init__(self, layer: nn.Module, step: nn.Module) -> None:
        super().__init__()
        self.layer, self.step, self.dense = layer, step, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        output, (h, _) = self.layer(self.dense(x))
        return self.step(output[-1], (h[0], h[0])), h


def test_torch_fx_takes_layers_as_one_node() -> None:
    ours = Model(LSTM(4, 5), LSTMCell(5, 5))
    theirs = Model(nn.LSTM(4, 5), nn.LSTMCell(5, 5))
    theirs.load_state_dict(ours.state_dict())
    traced, wanted = torch.fx.symbolic_trace(ours), torch.fx.symbolic_trace(theirs)
    assert traced.code == wanted.code
    torch.testing.assert_close(traced(X), ours(X))

    class Marked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Recurrent("gru", 4, 5)

        def forward(self, x: Tensor, h: Tensor, lengths: Any) -> Any:
            return self.layer(x, h, lengths, padding="carry", return_states="all")

    marked, h = Marked(), torch.randn(1, 3, 5)
    again = torch.fx.symbolic_trace(marked)
    torch.testing.assert_close(again(X, h, [6, 2, 3]), marked(X, h, [6, 2, 3]))
    with pytest.raises(InputError, match="trace a module that contains it"):
        torch.fx.symbolic_trace(LSTM(4, 5))


def test_streams_through_modules_that_call_a_layer() -> None:
    layer = Recurrent("gru", 4, 5, batch_first=True)
    wanted = [output for output, _ in truncated(layer, X, 3)]
    for around in (nn.DataParallel(layer), torch.compile(layer, backend="eager")):
        found = [output for output, _ in truncated(around, X, 3)]
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GRU(4, 5), None, 2), "the stream is a NoneType; expected a tensor, or any number"),
        ((GRU(4, 5), 5, 2), "the stream is a int; expected a tensor, or any number of them"),
        ((GRU(4, 5), X, 2, 5), "the state h is a int; expected a tensor"),
        ((LSTM(4, 5), X, 2, 5), "1 initial states were given; expected 2: (h, c)"),
        ((nn.Sequential(GRU(4, 5)), X, 2), "a stream cannot be run by Sequential"),
    ],
)
def test_mistakes_in_a_stream(arguments: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(truncated(*arguments))
    assert message in one_line(caught.value)


class Column:
    """A column of a table, which NumPy reads, with an index of its own and memory of another."""

    def __init__(self, numbers: list[int]) -> None:
        self.array = np.array(numbers)
        self.array.flags.writeable = False

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array

    def __getitem__(self, place: int) -> int:
        raise KeyError(place)

    def __len__(self) -> int:
        return len(self.array)


def test_lengths_of_a_table() -> None:
    layer = GRU(4, 5)
    wanted = layer(X, lengths=[6, 2, 0])
    torch.testing.assert_close(layer(X, lengths=Column([6, 2, 0])), wanted)
    assert layer(X[:, :0], lengths=[])[0].shape == (6, 0, 5)
    with pytest.raises(InputError, match="lengths is a masked array"):
        layer(X, lengths=np.ma.array([6, 2, 0], mask=[0, 1, 0]))
    with pytest.raises(InputError, match="reset_state='last'; expected 'given', a state, or None"):
        layer(X, reset_state="last")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("time", [1, 4])
def test_tensors_without_a_shape(time: int) -> None:
    layer = LSTM(4, 5)
    nested = torch.nested.nested_tensor([X[:time, 0], X[:1, 1]])
    with pytest.raises(InputError, match="the input is a nested tensor; convert it"):
        layer(nested)
    freed = torch.zeros(1, 3, 5)
    freed.untyped_storage().resize_(0)
    with pytest.raises(InputError, match="initial state has no memory"):
        layer(X[:time], (freed, freed))
    layer.weight_hh_l0 = nn.UninitializedParameter()
    with pytest.raises(ArrayError) as caught:
        layer(X[:time])
    message = "the parameter weight_hh_l0 has no shape yet; expected (20, 5)"
    assert one_line(caught.value) == message


def test_float64_under_autocast() -> None:
    layer, double = GRU(4, 5), GRU(4, 5).double()
    calls: list[tuple[Callable[..., Any], tuple[Tensor, ...], str]] = [
        (layer, (X.double(),), "the input is torch.float64"),
        (layer, (X, torch.zeros(1, 3, 5).double()), "the state h is torch.float64"),
        (double, (X,), "the input is torch.float32"),
        (GRUCell(4, 5), (X[0].double(),), "the input is torch.float64"),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        for call, given, message in calls:
            with pytest.raises(InputError) as caught:
                call(*given)
            assert message in one_line(caught.value)
            assert "torch.autocast leaves torch.float64" in one_line(caught.value)
        assert double(X.double())[0].dtype == torch.float64
