"""Weights of Keras and PyTorch in each other's place: real forward passes on both sides."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import torch

import anyrnn.keras
import anyrnn.torch
from anyrnn.errors import InputError
from anyrnn.keras.counterparts import constructor
from anyrnn.keras.exchange import from_torch, to_torch, torch_layers

KERAS = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
THEIRS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
OURS = {"rnn": anyrnn.torch.RNN, "lstm": anyrnn.torch.LSTM, "gru": anyrnn.torch.GRU}
FORMS = list(itertools.product(KERAS, (1, 2), (False, True), (False, True)))


def random_weights(model: Any, seed: int = 0) -> None:
    """Weights that hide nothing: no zero, no two alike."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(random.standard_normal(variable.shape) * 0.3)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3)
    return module


def stack(kind: str, layers: int, both: bool, bias: bool, **options: Any) -> Any:
    """A model of nothing but recurrent layers, built."""
    made = []
    for _ in range(layers):
        layer = KERAS[kind](5, return_sequences=True, use_bias=bias, **options)
        made.append(keras.layers.Bidirectional(layer) if both else layer)
    model = keras.Sequential(made)
    model.build((None, None, 3))
    return model


def outputs(model: Any, x: np.ndarray) -> np.ndarray:
    """What a Keras model or a module of PyTorch gives."""
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            found = model(torch.tensor(x))
        return (found[0] if isinstance(found, tuple) else found).numpy()
    return keras.ops.convert_to_numpy(model(x))


def assert_same(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


X = np.random.default_rng(1).standard_normal((2, 7, 3)).astype("float32")


@pytest.mark.parametrize(("kind", "layers", "both", "bias"), FORMS)
def test_a_stack_gives_the_same_on_both_sides(
    kind: str, layers: int, both: bool, bias: bool
) -> None:
    model = stack(kind, layers, both, bias)
    random_weights(model)
    options = {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": True}
    theirs, ours = THEIRS[kind](3, 5, **options), OURS[kind](3, 5, **options)
    state_dict = to_torch(model)
    theirs.load_state_dict(state_dict)
    ours.load_state_dict(state_dict)
    wanted = outputs(model, X)
    assert_same(outputs(theirs, X), wanted)
    assert_same(outputs(ours, X), wanted)

    again = stack(kind, layers, both, bias)
    from_torch(again, state_dict)
    for found, kept in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(values(found), values(kept))

    randomised(theirs)
    from_torch(model, theirs.state_dict())
    assert_same(outputs(model, X), outputs(theirs, X))


def values(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable.value)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_gru_with_the_reset_before_has_a_layer_of_ours(both: bool, bias: bool) -> None:
    model = stack("gru", 2, both, bias, reset_after=False)
    random_weights(model)
    ours = anyrnn.torch.Recurrent(
        "gru_reset_before", 3, 5, 2, bias=bias, batch_first=True, bidirectional=both
    )
    ours.load_state_dict(to_torch(model))
    assert_same(outputs(ours, X), outputs(model, X))
    randomised(ours)
    from_torch(model, ours.state_dict())
    assert_same(outputs(model, X), outputs(ours, X))
    with pytest.raises(InputError, match=r"reset_after=False, which torch.nn.GRU does not have"):
        from_torch(model, torch.nn.GRU(3, 5, 2, bias=bias, bidirectional=both).state_dict())


@pytest.mark.parametrize("kind", KERAS)
def test_recurrent_layers_of_ours_fill_those_of_keras(kind: str) -> None:
    ours = randomised(anyrnn.torch.Recurrent(kind, 3, 5, batch_first=True, bidirectional=True))
    model = stack(kind, 1, both=True, bias=True)
    from_torch(model, ours.state_dict())
    assert_same(outputs(model, X), outputs(ours, X))


@pytest.mark.parametrize("kind", KERAS)
def test_our_layers_convert_as_those_of_keras(kind: str) -> None:
    name = KERAS[kind].__name__
    layer = getattr(anyrnn.keras, name)(5, return_sequences=True)
    layer.build((None, None, 3))
    random_weights(layer)
    theirs = THEIRS[kind](3, 5, batch_first=True)
    theirs.load_state_dict(to_torch(layer))
    assert_same(outputs(theirs, X), outputs(layer, X))
    randomised(theirs)
    from_torch(layer, theirs.state_dict())
    assert_same(outputs(layer, X), outputs(theirs, X))
    assert layer.compute_path.name == "compiled"


def test_biases_are_split_and_joined_as_the_documents_say() -> None:
    theirs = randomised(torch.nn.LSTM(3, 5))
    model = stack("lstm", 1, both=False, bias=True)
    from_torch(model, theirs.state_dict())
    total = (theirs.bias_ih_l0 + theirs.bias_hh_l0).detach()
    found = to_torch(model)
    assert torch.equal(found["bias_ih_l0"], total)
    assert not found["bias_hh_l0"].any()


class Tagger(torch.nn.Module):
    """What people write: an embedding, recurrent layers, a dense one."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(11, 3)
        self.encoder = torch.nn.LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.decoder = torch.nn.GRU(10, 4, batch_first=True)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.decoder(self.encoder(self.words(x))[0])[0]
        return torch.softmax(self.head(found), -1)


def tagger(**options: Any) -> Any:
    inputs = keras.Input((None,), dtype="int32")
    found = keras.layers.Embedding(11, 3, name="embedding")(inputs)
    for name in ("first", "second"):
        layer = keras.layers.LSTM(5, return_sequences=True)
        found = keras.layers.Bidirectional(layer, name=name)(found)
        found = keras.layers.Dropout(0.5)(found)
    found = keras.layers.GRU(4, return_sequences=True, name="gru", **options)(found)
    dense = keras.layers.Dense(2, activation="softmax")
    return keras.Model(inputs, keras.layers.TimeDistributed(dense, name="head")(found))


def test_a_whole_model_with_other_layers_around() -> None:
    theirs, model = randomised(Tagger()), tagger()
    words = np.random.default_rng(0).integers(0, 11, (2, 7))
    from_torch(model, theirs.state_dict())
    assert_same(outputs(model, words), outputs(theirs, words))
    random_weights(model)
    names = {"embedding": "words", "first": "encoder", "gru": "decoder"}
    theirs.load_state_dict(to_torch(model, names))
    assert_same(outputs(theirs, words), outputs(model, words))
    made = {prefix: constructor(parts) for prefix, parts in torch_layers(model, names).items()}
    assert made == {
        "words": "torch.nn.Embedding(11, 3)",
        "encoder": "torch.nn.LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True)",
        "decoder": "torch.nn.GRU(10, 4, batch_first=True)",
        "head": "torch.nn.Linear(4, 2), then softmax",
    }


@pytest.mark.parametrize(
    ("kind", "options", "both", "expected"),
    [
        ("rnn", {"activation": "relu"}, None, 'torch.nn.RNN(3, 5, A, nonlinearity="relu")'),
        (
            "lstm",
            {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
            None,
            'anyrnn.torch.LSTM(3, 5, A, activations={"tanh": "relu", "sigmoid": "hard_sigmoid"})',
        ),
        ("gru", {"use_bias": False}, None, "torch.nn.GRU(3, 5, bias=False, A)"),
        ("gru", {}, "ave", 'anyrnn.torch.GRU(3, 5, A, bidirectional=True, merge="mean")'),
        ("lstm", {}, "sum", 'anyrnn.torch.LSTM(3, 5, A, bidirectional=True, merge="sum")'),
        (
            "gru",
            {"reset_after": False, "activation": "softplus"},
            None,
            'anyrnn.torch.Recurrent("gru_reset_before", 3, 5, A, activations={"tanh": "softplus"})',
        ),
    ],
)
def test_the_layer_that_is_named_computes_the_same(
    kind: str, options: dict[str, Any], both: str | None, expected: str
) -> None:
    layer = KERAS[kind](5, return_sequences=True, **options)
    if both:
        layer = keras.layers.Bidirectional(layer, merge_mode=both)
    layer.build((None, None, 3))
    random_weights(layer)
    (parts,) = torch_layers(layer).values()
    text = constructor(parts)
    assert text == expected.replace("A", "batch_first=True")
    made = eval(text, {"torch": torch, "anyrnn": anyrnn})
    made.load_state_dict(to_torch(layer))
    assert_same(outputs(made, X), outputs(layer, X))


def test_a_layer_that_reads_backwards_says_so() -> None:
    layer = keras.layers.LSTM(5, return_sequences=True, go_backwards=True)
    layer.build((None, None, 3))
    random_weights(layer)
    (parts,) = torch_layers(layer).values()
    assert constructor(parts) == "torch.nn.LSTM(3, 5, batch_first=True), of x.flip(1)"
    theirs = torch.nn.LSTM(3, 5, batch_first=True)
    theirs.load_state_dict(to_torch(layer))
    assert_same(outputs(theirs, np.flip(X, 1).copy()), outputs(layer, X))


def test_cells_in_stacks_are_layers_on_top_of_each_other() -> None:
    cells = [keras.layers.LSTMCell(units) for units in (4, 5)]
    layer = keras.layers.RNN(cells, return_sequences=True)
    layer.build((None, None, 3))
    random_weights(layer)
    (parts,) = torch_layers(layer).values()
    assert constructor(parts) == "anyrnn.torch.LSTM(3, [4, 5], batch_first=True)"
    ours = anyrnn.torch.LSTM(3, [4, 5], batch_first=True)
    ours.load_state_dict(to_torch(layer))
    assert_same(outputs(ours, X), outputs(layer, X))


def test_numbers_are_widened_but_never_rounded() -> None:
    narrow = randomised(torch.nn.GRU(3, 5)).to(torch.bfloat16)
    model = stack("gru", 1, both=False, bias=True)
    from_torch(model, narrow.state_dict())
    kept = to_torch(model)
    assert torch.equal(kept["weight_hh_l0"], narrow.weight_hh_l0.float())
    with pytest.raises(InputError, match=r"is float64, but the layer '.*' is float32; convert"):
        from_torch(model, narrow.double().state_dict())
    assert all(torch.equal(each, kept[name]) for name, each in to_torch(model).items())


def two(kind: Any = keras.layers.Dense) -> Any:
    model = keras.Sequential([kind(4, name="a"), kind(4, name="b")])
    model.build((None, 4) if kind is keras.layers.Dense else (None, None, 4))
    return model


DENSE = {"weight": torch.zeros(4, 4), "bias": torch.zeros(4)}


def named(*prefixes: str) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for prefix in prefixes for name, value in DENSE.items()}


@pytest.mark.parametrize(
    ("model", "state_dict", "names", "message"),
    [
        (two, named("x", "y"), {}, r"layer 'a' may be any of 'x', 'y', which have its sizes; name"),
        (two, named("x", "y"), {"c": "x"}, r"no layer with weights is called 'c'; there are: a, b"),
        (two, named("x", "y"), {"a": "z"}, r"nothing has the sizes of layer 'a' \(Dense: weight"),
        (two, named("a"), {}, r"nothing has the sizes of layer 'b' .*; the state_dict has nothing"),
        (two, named("a", "b", "c"), {}, r"the model has no layer for 'c' \(weight \(4, 4\)"),
        (two, named("x", "y"), {"a": "x", "b": "x"}, r"'a', 'b' cannot be one layer 'x' of Py"),
        (two, {"norm.running_mean": torch.zeros(4)}, {}, r"'norm.running_mean' of shape \(4,\)"),
        (two, {"conv.weight": torch.zeros(4, 4, 1)}, {}, r"'conv.weight' of shape \(4, 4, 1\)"),
        (
            lambda: stack("lstm", 1, False, True),
            torch.nn.LSTM(3, 5, proj_size=2).state_dict(),
            {},
            r"'weight_hr_l0' is of an LSTM with proj_size; Keras has no projection",
        ),
        (
            lambda: stack("lstm", 1, False, True),
            torch.nn.LSTM(3, 6).state_dict(),
            {},
            r"nothing has the sizes of layer 'lstm\w*' \(LSTM: weight_ih \(20, 3\), .*weight_ih "
            r"\(24, 3\)",
        ),
        (
            lambda: stack("lstm", 1, False, True),
            torch.nn.GRU(3, 5).state_dict(),
            {},
            r"nothing has the sizes of layer 'lstm",
        ),
        (
            lambda: stack("gru", 1, False, True),
            torch.nn.GRU(3, 5, bias=False).state_dict(),
            {},
            r"nothing has the sizes of layer 'gru",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    model: Any, state_dict: Any, names: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_torch(model(), state_dict, names)
    assert "\n" not in str(caught.value)


def test_names_settle_what_sizes_do_not() -> None:
    model, state_dict = two(), named("x", "y")
    state_dict["y.bias"] = torch.ones(4)
    from_torch(model, state_dict, {"a": "y"})
    assert values(model.layers[0].bias).tolist() == [1, 1, 1, 1]
    assert values(model.layers[1].bias).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.layers.Conv1D(2, 3, name="conv"), r"layer 'conv' is a Conv1D; only"),
        (lambda: keras.layers.LSTM(5, name="new"), r"layer 'lstm_cell\w*' has no weights yet"),
        (lambda: keras.layers.Dropout(0.5, name="drop"), r"'drop' has no layer with weights"),
        (
            lambda: keras.layers.RNN([keras.layers.LSTMCell(2), keras.layers.GRUCell(2)], name="m"),
            r"'m' cannot be one layer of PyTorch: they are of different kinds",
        ),
    ],
)
def test_layers_that_do_not_convert(make: Any, message: str) -> None:
    layer = make()
    if layer.name != "new":
        layer.build((None, 7, 3))
    with pytest.raises(InputError, match=message):
        to_torch(layer)


def test_an_activation_that_pytorch_has_not() -> None:
    layer = keras.layers.LSTM(5, activation="gelu", name="odd")
    layer.build((None, 7, 3))
    (parts,) = torch_layers(layer).values()
    with pytest.raises(InputError, match=r"layer 'odd' has activation=.*, which no layer of torch"):
        constructor(parts)
