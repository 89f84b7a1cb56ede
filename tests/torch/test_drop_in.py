"""`anyrnn.torch.{RNN,LSTM,GRU}` are torch.nn's in everything a caller can see."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

import anyrnn.torch
from anyrnn.errors import AnyrnnError
from anyrnn.torch.path import ORDER, forced

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
NAMES = ("RNN", "LSTM", "GRU")
each_layer = pytest.mark.parametrize("name", NAMES)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6}


def both(name: str, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Our layer and torch's, with the same random parameters."""
    theirs = getattr(nn, name)(*arguments, **options)
    ours = getattr(anyrnn.torch, name)(*arguments, **options)
    assert ours.load_state_dict(theirs.state_dict()).missing_keys == []
    return ours, theirs


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a result, in order."""
    if isinstance(value, PackedSequence):
        assert value.batch_sizes.device.type == "cpu"
        indices = [i for i in (value.sorted_indices, value.unsorted_indices) if i is not None]
        return [value.data, value.batch_sizes, *indices]
    return [value] if isinstance(value, Tensor) else [t for part in value for t in tensors(part)]


def same(ours: Any, theirs: Any, tolerance: float = 1e-12) -> None:
    """Equal structure, types and shapes, and elements within a tolerance."""
    assert type(ours) is type(theirs)
    found, wanted = tensors(ours), tensors(theirs)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def leaf(value: Any) -> Any:
    """A copy that collects gradients of its own."""
    if value is None:
        return None
    if isinstance(value, PackedSequence):
        return value._replace(data=leaf(value.data))
    if isinstance(value, tuple):
        return tuple(map(leaf, value))
    return value.detach().clone().requires_grad_()


def run(layer: nn.Module, value: Any, state: Any, seed: int) -> tuple[Any, list[Tensor]]:
    """A result, and all gradients of a random weighting of it: of input, states, parameters."""
    value, state = leaf(value), leaf(state)
    torch.manual_seed(seed)
    result = layer(value, state)
    floats = [tensor for tensor in tensors(result) if tensor.is_floating_point()]
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(t.shape, dtype=t.dtype, generator=generator) for t in floats]
    leaves = [t for t in tensors([value, *([] if state is None else [state])]) if t.requires_grad]
    leaves += list(layer.parameters())
    torch.autograd.backward(floats, weights)
    return result, [torch.zeros_like(t) if t.grad is None else t.grad for t in leaves]


@st.composite
def options(draw: st.DrawFn, name: str) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "input_size": draw(st.sampled_from([1, 2, 3, 5, 7])),
        "hidden_size": draw(st.sampled_from([1, 2, 3, 5, 7])),
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "dtype": draw(st.sampled_from([torch.float64, torch.float64, torch.float32])),
    }
    if chosen["num_layers"] > 1:
        chosen["dropout"] = draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))
    if name == "RNN":
        chosen["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if name == "LSTM" and chosen["hidden_size"] > 1:
        chosen["proj_size"] = draw(st.integers(0, chosen["hidden_size"] - 1))
    return chosen


def draw_input(draw: st.DrawFn, chosen: dict[str, Any]) -> tuple[Any, int | None]:
    """An input of one of the accepted kinds, and its batch (None for one sequence)."""
    size, dtype = chosen["input_size"], chosen["dtype"]
    kind = draw(st.sampled_from(["batched", "batched", "unbatched", "sorted", "unsorted"]))
    time = draw(st.integers(1, 5))
    if kind == "unbatched":
        return torch.randn(time, size, dtype=dtype), None
    batch = draw(st.integers(1, 4))
    if kind == "batched":
        shape = (batch, time, size) if chosen["batch_first"] else (time, batch, size)
        return torch.randn(shape, dtype=dtype), batch
    lengths = draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch))
    if kind == "sorted":
        lengths.sort(reverse=True)
    sequences = [torch.randn(length, size, dtype=dtype) for length in lengths]
    return pack_sequence(sequences, enforce_sorted=kind == "sorted"), batch


def draw_state(draw: st.DrawFn, name: str, chosen: dict[str, Any], batch: int | None) -> Any:
    if not draw(st.booleans()):
        return None
    layers = chosen["num_layers"] * (1 + chosen["bidirectional"])
    rows = () if batch is None else (batch,)
    first = chosen.get("proj_size") or chosen["hidden_size"]
    h = torch.randn(layers, *rows, first, dtype=chosen["dtype"])
    c = torch.randn(layers, *rows, chosen["hidden_size"], dtype=chosen["dtype"])
    return (h, c) if name == "LSTM" else h


@each_layer
@pytest.mark.parametrize("path", ORDER)
@settings(max_examples=40)
@given(data=st.data())
def test_everything_equals_torch(name: str, path: str, data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 999), "seed"))
    chosen = data.draw(options(name), "options")
    ours, theirs = both(name, **chosen)
    value, batch = draw_input(data.draw, chosen)
    state = draw_state(data.draw, name, chosen, batch)
    if data.draw(st.booleans(), "eval"):
        ours.eval(), theirs.eval()
    tolerance = TOLERANCE[chosen["dtype"]]
    with forced(path):
        result, gradients = run(ours, value, state, seed=1)
    wanted, wanted_gradients = run(theirs, value, state, seed=1)
    same(result, wanted, tolerance)
    same(gradients, wanted_gradients, 10 * tolerance)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


@each_layer
@settings(max_examples=25)
@given(data=st.data())
def test_state_dict_both_ways(name: str, data: st.DataObject) -> None:
    chosen = data.draw(options(name), "options")
    torch.manual_seed(3)
    theirs = getattr(nn, name)(**chosen)
    torch.manual_seed(3)
    ours = getattr(anyrnn.torch, name)(**chosen)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, tensor in ours.state_dict().items():  # drawn from the same seed
        torch.testing.assert_close(tensor, theirs.state_dict()[key], rtol=0, atol=0)
    other = getattr(anyrnn.torch, name)(**chosen)
    theirs.load_state_dict(other.state_dict())
    value, batch = draw_input(data.draw, chosen)
    same(other.eval()(value), theirs.eval()(value), TOLERANCE[chosen["dtype"]])
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, getattr(nn, name))
    assert batch is None or batch > 0


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@settings(max_examples=40)
@given(data=st.data())
def test_single_steps(name: str, data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32]))
    arguments = [data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))]
    further: dict[str, Any] = {"bias": data.draw(st.booleans()), "dtype": dtype}
    if name == "RNNCell":
        further["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
    ours, theirs = both(name, *arguments, **further)
    rows = data.draw(st.sampled_from([(), (1,), (3,)]))
    value = torch.randn(*rows, arguments[0], dtype=dtype)
    state: Any = None
    if data.draw(st.booleans()):
        state = torch.randn(*rows, arguments[1], dtype=dtype)
        state = (state, torch.randn_like(state)) if name == "LSTMCell" else state
    result, gradients = run(ours, value, state, seed=2)
    wanted, wanted_gradients = run(theirs, value, state, seed=2)
    same(result, wanted, TOLERANCE[dtype])
    same(gradients, wanted_gradients, 10 * TOLERANCE[dtype])
    assert isinstance(ours, getattr(nn, name))
    assert repr(ours) == repr(theirs)


@each_layer
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_lengths_are_packing(
    name: str, batch_first: bool, bidirectional: bool, as_tensor: bool
) -> None:
    ours, theirs = both(
        name,
        3,
        5,
        num_layers=2,
        batch_first=batch_first,
        bidirectional=bidirectional,
        dtype=torch.float64,
    )
    lengths, value = [2, 4, 1, 4], torch.randn(6, 4, 3, dtype=torch.float64)
    value = value.transpose(0, 1) if batch_first else value
    packed = pack_padded_sequence(value, torch.tensor(lengths), batch_first, enforce_sorted=False)
    wanted, wanted_state = theirs(packed)
    wanted = nn.utils.rnn.pad_packed_sequence(wanted, batch_first, total_length=6)[0]
    output, state = ours(value, lengths=torch.tensor(lengths) if as_tensor else lengths)
    same(output, wanted)
    same(state, wanted_state)
    ended = output[0, 2:] if batch_first else output[2:, 0]
    assert torch.all(ended == 0)


@each_layer
def test_padding_has_no_influence(name: str) -> None:
    layer = getattr(anyrnn.torch, name)(2, 3, bidirectional=True, dtype=torch.float64)
    value = torch.randn(5, 3, 2, dtype=torch.float64)
    spoilt = value.clone()
    spoilt[2:, 1] = torch.nan
    spoilt.requires_grad_()
    output, state = layer(spoilt, lengths=[5, 2, 4])
    same(output, layer(value, lengths=[5, 2, 4])[0])
    (output.sum() + sum(part.sum() for part in tensors(state))).backward()
    assert spoilt.grad is not None
    assert torch.all(spoilt.grad[2:, 1] == 0)
    assert not torch.isnan(spoilt.grad).any()


@each_layer
@pytest.mark.parametrize("batch_first", [False, True])
def test_empty_batch(name: str, batch_first: bool) -> None:
    ours, theirs = both(name, 3, 5, bidirectional=True, batch_first=batch_first)
    value = torch.randn((0, 4, 3) if batch_first else (4, 0, 3))
    same(ours(value), theirs(value))


@each_layer
def test_derivatives_of_both_orders(name: str) -> None:
    torch.manual_seed(0)
    layer = getattr(anyrnn.torch, name)(2, 3, bidirectional=True, dtype=torch.float64)
    value = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    names = list(dict(layer.named_parameters()))

    def function(value: Tensor, state: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        given_state = (state, state * 0.5) if name == "LSTM" else state
        named = dict(zip(names, parameters, strict=False))
        return tuple(tensors(torch.func.functional_call(layer, named, (value, given_state))))

    arguments = (value, state, *(p.detach().clone().requires_grad_() for p in layer.parameters()))
    assert gradcheck(function, arguments)
    assert gradgradcheck(function, arguments[:4], fast_mode=True)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_single_steps_have_second_derivatives(name: str) -> None:
    layer = getattr(anyrnn.torch, name)(2, 3, dtype=torch.float64)
    value = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda value: tuple(tensors(layer(value))), (value,))


@each_layer
def test_copies_and_files(name: str, tmp_path: Path) -> None:
    layer = getattr(anyrnn.torch, name)(3, 5, num_layers=2)
    value = torch.randn(4, 2, 3)
    wanted = layer(value)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for copied in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False),
    ):
        same(copied(value), wanted)
        assert type(copied) is type(layer)
        assert copied.weight_ih_l0 is not layer.weight_ih_l0
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    other = getattr(nn, name)(3, 5, num_layers=2)
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    same(wanted, other(value), 3e-6)


@each_layer
def test_functional_call_and_frozen_parameters(name: str) -> None:
    ours, theirs = both(name, 3, 5, dtype=torch.float64)
    value = torch.randn(4, 2, 3, dtype=torch.float64)
    doubled = {key: 2 * tensor for key, tensor in ours.state_dict().items()}
    found = torch.func.functional_call(ours, doubled, (value,))
    theirs.load_state_dict(doubled)
    same(found, theirs(value))
    ours.load_state_dict(doubled)
    for layer in (ours, theirs):
        layer.weight_hh_l0.requires_grad_(False)
        layer(value)[0].sum().backward()
    assert ours.weight_hh_l0.grad is None
    same(ours.weight_ih_l0.grad, theirs.weight_ih_l0.grad)


@each_layer
def test_modes_without_gradients(name: str) -> None:
    ours, theirs = both(name, 3, 5)
    value = torch.randn(4, 2, 3)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = ours(value)
            same(found, theirs(value), 3e-6)
        assert not any(tensor.requires_grad for tensor in tensors(found))
    for layer in (ours, theirs):
        layer.requires_grad_(False)
    assert not ours(value)[0].requires_grad


@each_layer
def test_layouts_in_memory(name: str) -> None:
    ours, theirs = both(name, 3, 5, num_layers=2, dtype=torch.float64)
    wide = torch.randn(2, 4, 6, dtype=torch.float64)
    values = [
        wide.transpose(0, 1)[..., ::2],
        wide[:1, :, :3].expand(4, 4, 3),
        wide.flip(0)[..., 3:],
    ]
    for value in values:
        same(ours(value), theirs(value))
        states = torch.randn(5, value.shape[1], 2, dtype=torch.float64).permute(2, 1, 0)
        state: Any = (states, states.flip(0)) if name == "LSTM" else states
        same(ours(value, state), theirs(value, state))


@each_layer
def test_input_and_state_are_left_alone(name: str) -> None:
    layer = getattr(anyrnn.torch, name)(3, 5)
    value, state = torch.randn(4, 2, 3), torch.randn(1, 2, 5)
    kept = value.clone(), state.clone()
    layer(value, (state, state) if name == "LSTM" else state)
    assert torch.equal(value, kept[0])
    assert torch.equal(state, kept[1])


@each_layer
def test_training_a_model_step_by_step(name: str) -> None:
    class Model(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.embedding, self.layer = nn.Embedding(11, 3), layer
            self.dense = nn.Linear(10, 2)

        def forward(self, value: Tensor) -> Tensor:
            output, _ = self.layer(self.embedding(value))
            return self.dense(output.mean(dim=1))

    choices: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    ours, theirs = both(name, 3, 5, dropout=0.2, **choices)
    models = []
    for layer in (ours, theirs):
        torch.manual_seed(5)
        models.append(Model(layer).double())
    losses: list[list[float]] = []
    for model in models:
        torch.manual_seed(6)
        values, labels = torch.randint(11, (8, 6)), torch.randint(2, (8,))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
        losses.append([])
        for _ in range(6):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(values), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert losses[0][-1] < losses[0][0]


@each_layer
def test_moving_between_types(name: str) -> None:
    ours, theirs = both(name, 3, 5)
    value = torch.randn(4, 2, 3, dtype=torch.float64)
    same(ours.double()(value), theirs.double()(value))
    same(ours.float()(value.float()), theirs.float()(value.float()), 3e-6)
    ours.flatten_parameters()


def _refused(layer: nn.Module, *given: Any, **options: Any) -> bool:
    try:
        layer(*given, **options)
    except (ValueError, RuntimeError, TypeError, AssertionError):
        return True
    return False


@each_layer
@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(3),
        torch.zeros(2, 3, 4, 3),
        torch.zeros(4, 2, 2),
        torch.zeros(4, 2, 3, dtype=torch.int64),
        torch.zeros(4, 2, 3, dtype=torch.float64),
        torch.zeros(0, 2, 3),
    ],
    ids=str,
)
def test_what_torch_refuses_we_refuse(name: str, value: Tensor) -> None:
    ours, theirs = both(name, 3, 5)
    assert _refused(theirs, value)
    with pytest.raises(AnyrnnError):
        ours(value)


@each_layer
def test_torch_constructors_refuse(name: str) -> None:
    for bad in ({"num_layers": 0}, {"dropout": 2.0}, {"hidden_size": 0}, {"unknown": 1}):
        with pytest.raises((ValueError, TypeError)):
            getattr(anyrnn.torch, name)(**{"input_size": 3, "hidden_size": 5, **bad})
    with pytest.warns(UserWarning, match="dropout"):
        getattr(anyrnn.torch, name)(3, 5, dropout=0.5)


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), name=st.sampled_from(NAMES))
def test_packed_results_keep_their_order(lengths: list[int], name: str) -> None:
    assume(len(set(lengths)) > 1)
    ours, theirs = both(name, 2, 3, dtype=torch.float64)
    packed = pack_sequence(
        [torch.randn(length, 2, dtype=torch.float64) for length in lengths], enforce_sorted=False
    )
    output, state = ours(packed)
    same(output, theirs(packed)[0])
    same(state, theirs(packed)[1])
    padded, _ = nn.utils.rnn.pad_packed_sequence(output)
    alone = [ours(sequence)[0] for sequence in nn.utils.rnn.unpack_sequence(packed)]
    for place, single in enumerate(alone):
        same(padded[: len(single), place], single)


@pytest.mark.parametrize("name", ["bias_ih", "bias_hh"])
@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_a_cell_whose_bias_was_taken_away(kind: str, name: str) -> None:
    ours, theirs = getattr(anyrnn.torch, kind)(4, 5), getattr(nn, kind)(4, 5)
    ours.load_state_dict(theirs.state_dict())
    for cell in (ours, theirs):
        cell.register_parameter(name, None)
    x = torch.randn(3, 4)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found, wanted = ours(x), theirs(x)
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one, other, atol=1e-6)


def test_a_nonlinearity_that_torch_does_not_know_is_refused_when_torch_does() -> None:
    for module in (nn, anyrnn.torch):
        cell = module.RNNCell(4, 5, nonlinearity="sigmoid")
        with pytest.raises(RuntimeError, match="Unknown nonlinearity: sigmoid"):
            cell(torch.randn(3, 4))


def test_the_mode_of_a_layer_is_changed() -> None:
    ours, theirs, x = anyrnn.torch.RNN(4, 5), nn.RNN(4, 5), torch.randn(6, 3, 4)
    ours.load_state_dict(theirs.state_dict())
    ours(x)
    ours.mode = theirs.mode = "RNN_RELU"
    assert torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", 6), ("input_size", 3), ("num_layers", 2), ("bidirectional", True)],
)
def test_a_size_of_a_layer_is_changed_that_its_parameters_do_not_have(
    name: str, value: int
) -> None:
    layer = anyrnn.torch.LSTM(4, 5)
    setattr(layer, name, value)
    with pytest.raises(AnyrnnError, match=r"the parameter weight|the input has 4 features"):
        layer(torch.randn(6, 3, 4))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_module_is_loaded_with_weights_only(kind: str) -> None:
    layer, file = getattr(anyrnn.torch, kind)(4, 5, 2), io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    with torch.serialization.safe_globals([type(layer)]):
        found, x = torch.load(file, weights_only=True), torch.randn(6, 3, 4)
    assert torch.equal(found(x)[0], layer(x)[0])
