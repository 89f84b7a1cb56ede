"""`Recurrent`: any cell with the options of torch.nn's layers."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import anyrnn
from anyrnn.errors import AnyrnnError, CellError, InputError, SizeError
from anyrnn.torch import GRU, Recurrent
from checks import close
from invented_cells import INVENTED, antisymmetric, classifier, moving_average, repeated, same_sizes

float64 = torch.float64


def parameters(layer: Recurrent, place: int, direction: int = 0) -> dict[str, np.ndarray]:
    suffix = f"_l{place}" + "_reverse" * direction
    return {
        stored.name: getattr(layer, stored.name + suffix).detach().numpy()
        for stored in layer.cell.parameters
    }


@settings(max_examples=60)
@given(data=st.data())
def test_every_option_against_the_interpreter(data: st.DataObject) -> None:
    draw = data.draw
    name = draw(
        st.sampled_from(
            ["lstm_peephole", "gru_reset_before", "rnn_output", "lstm_projection", "single_numbers"]
        )
    )
    cell = anyrnn.CATALOGUE.get(name) or INVENTED[name]
    sizes = {f"{size}_size": draw(st.integers(1, 6), size) for size in cell.free_sizes}
    chosen = {
        "num_layers": draw(st.integers(1, 3)),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    torch.manual_seed(draw(st.integers(0, 99)))
    layer = Recurrent(cell, **sizes, **chosen, dtype=float64)
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    sequences = [torch.randn(length, sizes["input_size"], dtype=float64) for length in lengths]
    packed = pack_sequence(sequences, enforce_sorted=False)
    directions = 1 + chosen["bidirectional"]
    total = chosen["num_layers"] * directions
    numbers = [size.evaluate(layer.sizes) for size in cell.state_sizes]
    state: Any = tuple(torch.randn(total, len(lengths), n, dtype=float64) for n in numbers)
    output, last = layer(packed, state if len(state) > 1 else state[0])
    padded, _ = pad_packed_sequence(output, batch_first=True)
    last = last if isinstance(last, tuple) else (last,)
    for row, sequence in enumerate(sequences):
        x = sequence[:, None].numpy()
        for place in range(chosen["num_layers"]):
            outputs = []
            for direction in range(directions):
                index = place * directions + direction
                result = anyrnn.interpret(
                    layer.cell,
                    x[::-1] if direction else x,
                    [part[index, row : row + 1].numpy() for part in state],
                    parameters=parameters(layer, place, direction),
                )
                outputs.append(result.output[::-1] if direction else result.output)
                for found, wanted in zip(last, result.states, strict=True):
                    close(found[index, row : row + 1].detach(), wanted, 1e-12)
            x = np.concatenate(outputs, axis=-1)
        close(padded[row, : len(x)].detach(), x[:, 0], 1e-12)


@pytest.mark.parametrize("name", [*anyrnn.CATALOGUE, *INVENTED])
def test_the_sequence_backwards(name: str) -> None:
    cell = anyrnn.CATALOGUE.get(name) or INVENTED[name]
    sizes = {f"{size}_size": 3 for size in cell.free_sizes}
    layer = Recurrent(cell, **sizes, bidirectional=True, dtype=float64)
    x = torch.randn(4, 2, 3, dtype=float64)
    output, _ = layer(x)
    forward, backward = output.chunk(2, dim=-1)
    for found, direction in ((forward, 0), (backward.flip(0), 1)):
        given_x = x.flip(0) if direction else x
        weights = parameters(layer, 0, direction)
        result = anyrnn.interpret(layer.cell, given_x.numpy(), parameters=weights)
        close(found.detach(), result.output, 1e-12)


def test_names_and_shapes_of_parameters() -> None:
    layer = Recurrent("gru", 3, 5, num_layers=2, bidirectional=True)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        f"{family}_l{place}{suffix}": shape
        for place, features in ((0, 3), (1, 10))
        for suffix in ("", "_reverse")
        for family, shape in {"W": (15, features), "U": (15, 5), "b": (15,), "d": (5,)}.items()
    }
    assert list(layer.state_dict()) == [name for name, _ in layer.named_parameters()]


def test_first_parameters_are_uniform() -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm", 64, 64)
    for parameter in layer.parameters():
        assert parameter.abs().max() <= 1 / 8
        assert parameter.abs().max() > 0.9 / 8
        assert parameter.mean().abs() < 0.03
    before = layer.W_l0.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.W_l0, before)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cell": "gru"}, "Recurrent(gru, input_size=3, hidden_size=5)"),
        (
            {"cell": "gru", "num_layers": 2, "batch_first": True, "bidirectional": True}
            | {"dropout": 0.5, "bias": False},
            "Recurrent(gru, input_size=3, hidden_size=5, num_layers=2, batch_first=True, "
            "bidirectional=True, bias=False, dropout=0.5)",
        ),
        (
            {"cell": "lstm_projection", "projection_size": 2},
            "Recurrent(lstm_projection, input_size=3, projection_size=2, hidden_size=5)",
        ),
    ],
)
def test_representation(options: dict[str, Any], text: str) -> None:
    assert repr(Recurrent(input_size=3, hidden_size=5, **options)) == text


def test_forms_of_the_state() -> None:
    x = torch.randn(4, 2, 3, dtype=float64)
    one = Recurrent("gru", 3, 5, dtype=float64)
    state = torch.randn(1, 2, 5, dtype=float64)
    output, last = one(x, state)
    assert isinstance(last, torch.Tensor)
    for form in ((state,), [state]):
        torch.testing.assert_close(one(x, form)[0], output)
    two = Recurrent("lstm", 3, 5, dtype=float64)
    output, last = two(x, (state, -state))
    assert isinstance(last, tuple)
    torch.testing.assert_close(two(x, [state, -state])[0], output)
    unbatched, (h, c) = two(x[:, 0], (state[:, 0], -state[:, 0]))
    torch.testing.assert_close(unbatched, output[:, 0])
    assert h.shape == c.shape == (1, 5)


def test_states_are_differentiated_in_their_order() -> None:
    layer = Recurrent("lstm_projection", 3, 5, projection_size=2, dtype=float64)
    assert layer.output_size == 2
    _, (h, c) = layer(torch.randn(4, 7, 3, dtype=float64))
    assert h.shape == (1, 7, 2)
    assert c.shape == (1, 7, 5)


def test_output_of_its_own_size() -> None:
    layer = Recurrent(classifier, 3, 5, output_size=2, num_layers=2, bidirectional=True)
    output, state = layer(torch.randn(4, 7, 3))
    assert output.shape == (4, 7, 4)
    assert state.shape == (4, 7, 5)
    assert layer.W_l1.shape == (5, 4)
    torch.testing.assert_close(output[..., :2].sum(-1), torch.ones(4, 7))


def test_hyperparameters() -> None:
    x = torch.randn(4, 2, 3, dtype=float64)
    layer = Recurrent(antisymmetric, 3, 5, step=0.1, gamma=0.9, dtype=float64)
    assert layer.cell.hyperparameters == {"step": 0.1, "gamma": 0.9}
    wanted = anyrnn.interpret(
        antisymmetric.with_hyperparameters(step=0.1, gamma=0.9),
        x.numpy(),
        parameters=parameters(layer, 0),
    )
    close(layer(x)[0].detach(), wanted.output, 1e-12)
    other = anyrnn.interpret(antisymmetric, x.numpy(), parameters=parameters(layer, 0))
    assert np.abs(other.output - wanted.output).max() > 1e-3
    assert "b_l0" not in dict(Recurrent(repeated, 3, 5, steps=1, bias=False).named_parameters())


def test_layer_is_torchs_gru() -> None:
    ours, theirs = Recurrent("gru", 3, 5, dtype=float64), nn.GRU(3, 5, dtype=float64)
    with torch.no_grad():
        ours.W_l0.copy_(theirs.weight_ih_l0)
        ours.U_l0.copy_(theirs.weight_hh_l0)
        inner = theirs.bias_hh_l0[10:]
        outer = torch.cat([theirs.bias_hh_l0[:10], torch.zeros(5)])
        ours.b_l0.copy_(theirs.bias_ih_l0 + outer)
        ours.d_l0.copy_(inner)
    x = torch.randn(4, 2, 3, dtype=float64)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "article1_rnn", "normalised"])
def test_copies_train_apart(name: str) -> None:
    layer = Recurrent(anyrnn.CATALOGUE.get(name) or INVENTED[name], 3, 5, bias=False)
    x = torch.randn(4, 2, 3)
    wanted = layer(x)[0]
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(copied(x)[0], wanted, rtol=0, atol=0)
        copied(x)[0].sum().backward()
        assert all(parameter.grad is None for parameter in layer.parameters())
    other = Recurrent(layer.cell, 3, 5, bias=False)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x)[0], wanted, rtol=0, atol=0)


def test_second_derivatives() -> None:
    layer = Recurrent(INVENTED["normalised"], 2, 3, dtype=float64)
    x = torch.randn(2, 2, 2, dtype=float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


def test_no_parameters() -> None:
    layer = Recurrent(moving_average, 3)
    assert layer.hidden_size == 3
    assert list(layer.parameters()) == []
    assert list(layer.state_dict()) == []
    output, state = layer.double()(torch.ones(2, 1, 3, dtype=float64))
    torch.testing.assert_close(output[1], torch.full((1, 3), 0.19, dtype=float64))
    torch.testing.assert_close(state[0], output[1])
    with pytest.raises(AnyrnnError, match=r"torch\.float32"):
        layer(torch.ones(2, 1, 3))


def test_states_as_large_as_the_input() -> None:
    layer = Recurrent(same_sizes, 3, num_layers=2)
    assert layer(torch.ones(2, 1, 3))[0].shape == (2, 1, 3)
    with pytest.raises(SizeError, match="second layer's input is 6, the first one's 3"):
        Recurrent(same_sizes, 3, num_layers=2, bidirectional=True)


def test_dropout_between_layers() -> None:
    layer = Recurrent("gru", 3, 50, num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 3)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    torch.manual_seed(1)
    first = layer(x)[0]
    torch.manual_seed(1)
    torch.testing.assert_close(layer(x)[0], first, rtol=0, atol=0)
    layer.eval()
    torch.testing.assert_close(layer(x)[0], layer(x)[0], rtol=0, atol=0)


def test_without_bias() -> None:
    layer = Recurrent("lstm_peephole", 3, 5, bias=False)
    assert sorted(dict(layer.named_parameters())) == ["U_l0", "W_l0", "p_l0"]
    full = Recurrent("lstm_peephole", 3, 5)
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            parameter.copy_(getattr(layer, name) if name != "b_l0" else torch.zeros(20))
    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(layer(x)[0], full(x)[0])


def test_device() -> None:
    layer = Recurrent("gru", 3, 5, device="meta", dtype=float64)
    assert layer.W_l0.device.type == "meta"
    assert layer(torch.ones(2, 1, 3, device="meta", dtype=float64))[0].shape == (2, 1, 5)


BAD_OPTIONS = [
    ({"cell": "lstn"}, "no cell is called 'lstn'; nearest: lstm"),
    ({"cell": 3}, "3 is no cell; give a name such as 'lstm'"),
    ({"input_size": 0}, "input_size=0: a size is at least 1"),
    ({"hidden_size": -5}, "hidden_size=-5: a size is at least 1"),
    ({"hidden_size": 5.0}, "hidden_size=5.0: a size is a whole number"),
    ({"hidden_size": True}, "hidden_size=True: a size is a whole number"),
    ({"hidden_size": None}, "cell 'gru' needs hidden_size"),
    ({"input_size": None}, "cell 'gru' needs input_size"),
    ({"output_size": 5}, "has no option 'output_size'; "),
    ({"hiden_size": 5}, "has no option 'hiden_size'; did you mean hidden_size?"),
    ({"cell": "rnn_output"}, "cell 'rnn_output' needs output_size"),
    ({"cell": "lstm_projection", "projection_size": 0}, "projection_size=0: a size is at least 1"),
    ({"num_layers": 0}, "num_layers=0; expected a whole number of at least 1"),
    ({"num_layers": True}, "num_layers=True; expected"),
    ({"num_layers": 2.0}, "num_layers=2.0; expected"),
    ({"dropout": -0.1}, "dropout=-0.1; expected a probability"),
    ({"dropout": 1.5}, "dropout=1.5; expected a probability"),
    ({"dropout": True}, "dropout=True; expected a probability"),
    ({"dropout": "0.5"}, "dropout='0.5'; expected a probability"),
    ({"cell": antisymmetric, "stepp": 1}, "no option 'stepp'; did you mean step?"),
    ({"cell": antisymmetric, "step": "1"}, "step='1': a hyperparameter is a number"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=lambda value: str(value)[:40])
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AnyrnnError) as caught:
        Recurrent(**{"cell": "gru", "input_size": 3, "hidden_size": 5} | options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, CellError | SizeError | KeyError)


@pytest.mark.parametrize(
    ("option", "name"), [("learn_initial_state", "h_0_l0"), ("highway", "highway_bias_l0")]
)
def test_an_option_makes_a_parameter_that_the_cell_has(option: str, name: str) -> None:
    @anyrnn.cell
    def clashing(x, h, *, W, h_0, highway_bias):  # type: ignore[no-untyped-def]
        return W @ x + h_0 * h + highway_bias

    with pytest.raises(InputError, match=f"{option}=True makes the parameter {name}, and the cell"):
        Recurrent(clashing, 3, 3, **{option: True})
    assert Recurrent(clashing, 3, 3)(torch.zeros(2, 1, 3))[0].shape == (2, 1, 3)


def test_dropout_without_effect_is_told() -> None:
    with pytest.warns(UserWarning, match=r"dropout=0\.5 acts between layers, and num_layers=1"):
        Recurrent("gru", 3, 5, dropout=0.5)


X, H = torch.zeros(4, 2, 3), torch.zeros(1, 2, 5)
BAD_INPUT: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (([1.0],), {}, "the input is a list; expected a tensor"),
    ((np.zeros((4, 2, 3)),), {}, "the input is a ndarray; expected a tensor"),
    ((None,), {}, "the input is a NoneType"),
    ((X.long(),), {}, "the input is torch.int64; expected torch.float32: embed token numbers"),
    ((X.bool(),), {}, "the input is torch.bool"),
    ((X.double(),), {}, "the input is torch.float64, but the layer's parameters are torch.float32"),
    ((X.half(),), {}, "layer.to(torch.float16)"),
    ((X.to("meta"),), {}, "the input is on meta, but the layer's parameters are on cpu"),
    ((X[0, 0],), {}, "the input has shape (3,); expected (time, batch, input), or (time, input)"),
    ((X[None],), {}, "the input has shape (1, 4, 2, 3); expected (time, batch, input)"),
    (
        (X[..., :2],),
        {},
        "the input has 2 features (shape (4, 2, 2)); the layer was made with input",
    ),
    ((X[:0],), {}, "the input has shape (0, 2, 3): a sequence length of 0"),
    ((X, H[0]), {}, "the state h has shape (2, 5); expected (1, 2, 5)"),
    ((X, H[:, :1]), {}, "the state h has shape (1, 1, 5); expected (1, 2, 5)"),
    ((X, H[..., :1]), {}, "the state h has shape (1, 2, 1); expected (1, 2, 5)"),
    ((X, H.double()), {}, "the state h is torch.float64, but the layer's parameters are"),
    ((X, H.to("meta")), {}, "the state h is on meta"),
    ((X, H.long()), {}, "the state h is torch.int64"),
    ((X, (H, H)), {}, "2 initial states were given; expected 1: (h)"),
    ((X, 3), {}, "the state h is a int; expected a tensor"),
    ((X[:, 0], H), {}, "the state h has shape (1, 2, 5); expected (1, 5)"),
    ((X,), {"lengths": [4]}, "lengths are torch.int64 of shape (1,); expected 2 whole numbers"),
    ((X,), {"lengths": [4.0, 2.0]}, "lengths are torch.float32"),
    ((X,), {"lengths": [True, True]}, "lengths are torch.bool"),
    ((X,), {"lengths": [-1, 2]}, "a length is -1; the input has 4 steps"),
    ((X,), {"lengths": [4, 5]}, "a length is 5; the input has 4 steps"),
    ((X,), {"lengths": "ab"}, "lengths='ab'; expected 2 whole numbers"),
    ((X,), {"lengths": 3}, "shape (); expected 2 whole numbers"),
    ((X[:, 0],), {"lengths": [3]}, "lengths were given for one sequence without a batch"),
    ((pack_sequence([X[:, 0]]),), {"lengths": [4]}, "besides a PackedSequence"),
    ((pack_sequence([X[:, 0, :2]]),), {}, "the input has 2 features"),
    ((pack_sequence([X[:, 0].double()]),), {}, "the input is torch.float64"),
    ((pack_sequence([X[:, 0]]), H), {}, "the state h has shape (1, 2, 5); expected (1, 1, 5)"),
]


@pytest.mark.parametrize("kind", [Recurrent, GRU])
@pytest.mark.parametrize("place", range(len(BAD_INPUT)), ids=lambda i: BAD_INPUT[i][2][:40])
def test_bad_input(kind: type[nn.Module], place: int) -> None:
    positional, keywords, message = BAD_INPUT[place]
    layer = kind("gru", 3, 5) if kind is Recurrent else kind(3, 5)
    with pytest.raises(AnyrnnError) as caught:
        layer(*positional, **keywords)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (H, "1 initial states were given; expected 2: (h, c)"),
        ((H,), "1 initial states were given; expected 2: (h, c)"),
        ((H, H, H), "3 initial states were given"),
        ((H, H[..., :1]), "the state c has shape (1, 2, 1); expected (1, 2, 5)"),
        ((H, None), "the state c is a NoneType"),
    ],
)
def test_bad_states_of_an_lstm(state: Any, message: str) -> None:
    for layer in (Recurrent("lstm", 3, 5), anyrnn.torch.LSTM(3, 5)):
        with pytest.raises(AnyrnnError) as caught:
            layer(X, state)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((X,), "the input has shape (4, 2, 3); expected (batch, 3) or (3,)"),
        ((X[0, :, :2],), "the input has shape (2, 2)"),
        ((X[0].long(),), "the input is torch.int64"),
        ((X[0].to("meta"),), "the input is on meta"),
        ((X[0], H), "the state h has shape (1, 2, 5); expected (2, 5)"),
        ((X[0], H[0].double()), "the state h is torch.float64"),
        ((X[0], (H[0], H[0])), "2 states were given; expected 1: (h)"),
        ((X[0], 3), "the state"),
        ((3,), "the input is a int"),
    ],
)
def test_bad_input_of_a_single_step(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(AnyrnnError) as caught:
        anyrnn.torch.GRUCell(3, 5)(*given)
    assert message in str(caught.value)


def test_nothing_is_changed_by_bad_input() -> None:
    layer = Recurrent("gru", 3, 5)
    before = {name: parameter.clone() for name, parameter in layer.named_parameters()}
    for positional, keywords, _ in BAD_INPUT:
        with pytest.raises(AnyrnnError):
            layer(*positional, **keywords)
    for name, parameter in layer.named_parameters():
        assert torch.equal(parameter, before[name])
