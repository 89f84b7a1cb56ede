"""The layers in the place of Keras': which way they take, files, wrappers, dropout."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers, ops  # noqa: E402

from anyrnn import keras as ours  # noqa: E402
from anyrnn.graph.interpret import evaluate  # noqa: E402
from anyrnn.graph.nodes import make  # noqa: E402
from anyrnn.graph.operations import Type  # noqa: E402
from anyrnn.graph.randomness import EVERY_STEP, uniform  # noqa: E402
from anyrnn.graph.sizes import Size  # noqa: E402
from anyrnn.keras.activations import ACTIVATIONS, name_of  # noqa: E402
from anyrnn.keras.cells import read  # noqa: E402

KINDS = ("SimpleRNN", "LSTM", "GRU")
BATCH, TIME, INPUT, UNITS = 3, 5, 4, 6
RNG = np.random.default_rng(5)
X = RNG.normal(size=(BATCH, TIME, INPUT)).astype("float32")
MASK = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], bool)


def pair(kind: str, **options: Any) -> tuple[Any, Any]:
    """Keras' own layer and ours, with the same weights."""
    both = [getattr(library, kind)(UNITS, **options) for library in (layers, ours)]
    for layer in both:
        layer.build(X.shape)
    weights = [RNG.normal(size=array.shape) / 2 for array in both[0].get_weights()]
    for layer in both:
        layer.set_weights(weights)
    return both[0], both[1]


def flat(values: Any) -> list[np.ndarray]:
    return [ops.convert_to_numpy(value) for value in keras.tree.flatten(values)]


def assert_same(left: Any, right: Any, tolerance: float = 2e-5) -> None:
    for a, b in zip(flat(left), flat(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def trained(layer: Any, **call: Any) -> list[np.ndarray]:
    """The weights of a layer after a step of gradient descent."""
    inputs = keras.Input(batch_shape=X.shape)
    model = keras.Model(inputs, layer(inputs, **call))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.train_on_batch(X, np.ones(model.output_shape, "float32"))
    return layer.get_weights()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_bias": False, "go_backwards": True},
        {"zero_output_for_mask": True, "return_sequences": True},
        {"unroll": True, "activation": "relu"},
    ],
    ids=str,
)
def test_outputs_and_gradients_are_those_of_keras(kind: str, options: dict[str, Any]) -> None:
    theirs, mine = pair(kind, return_state=True, **options)
    for mask in (None, MASK):
        if not (options.get("unroll") and mask is not None):
            assert_same(mine(X, mask=mask), theirs(X, mask=mask))
    assert mine.compute_path.name == "compiled"
    theirs, mine = pair(kind, **options)
    assert_same(trained(mine), trained(theirs))


def test_the_gate_before_the_product() -> None:
    theirs, mine = pair("GRU", reset_after=False, implementation=1)
    assert_same(mine(X), theirs(X))
    assert_same(trained(mine), trained(theirs))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_functions_of_keras(name: str) -> None:
    values = np.array([*np.linspace(-7, 7, 29), -0.2, 0.3], "float32")
    size = Size.of("hidden")
    leaf = make("state", name="h", type=Type((size,), per_row=True))
    result = ACTIVATIONS[name](leaf)
    found = evaluate([result], {"h": values[None]}, {"hidden": 31}, np.dtype("float32"))[result]
    function = getattr(keras.activations, name)
    assert_same(found, function(ops.convert_to_tensor(values[None])))
    assert name_of(function) == name


def test_chosen_activations() -> None:
    options = {"activation": "elu", "recurrent_activation": "softmax"}
    for kind in ("LSTM", "GRU"):
        theirs, mine = pair(kind, **options)
        assert_same(mine(X, mask=MASK), theirs(X, mask=MASK))
        assert mine.compute_path.name == "compiled"
    theirs, mine = pair("SimpleRNN", activation=None)
    assert_same(trained(mine), trained(theirs))


def test_what_is_not_compiled_says_why() -> None:
    def squashed(value: Any) -> Any:
        return ops.tanh(value) / 2

    theirs, mine = pair("LSTM", activation=squashed)
    assert str(mine.compute_path) == "keras: activation=squashed is not in the language of cells"
    assert_same(mine(X, mask=MASK), theirs(X, mask=MASK))
    assert mine.compute_path.name == "keras"
    mixed = ours.GRU(UNITS, dtype="mixed_bfloat16", recurrent_dropout=0.5)
    assert str(mixed.compute_path) == "keras: tensors of bfloat16"
    assert mixed(X, training=True).shape == (BATCH, UNITS)
    assert str(mixed.compute_path) == "keras: tensors of bfloat16"

    class Changed(layers.LSTMCell):  # type: ignore[misc]
        pass

    assert ours.LSTM(UNITS).compute_path.name == "compiled"  # before it is built
    layer = ours.RNN(Changed(UNITS))
    layer(X)
    assert str(layer.compute_path) == "keras: a cell of the class Changed"


def test_stacked_cells_run_compiled() -> None:
    cells = [layers.LSTMCell(3), layers.GRUCell(4, reset_after=False), layers.SimpleRNNCell(5)]
    options = {"return_sequences": True, "return_state": True, "go_backwards": True}
    theirs = layers.RNN(cells, **options)
    mine = ours.RNN(cells, **options)
    for mask in (None, MASK):
        assert_same(mine(X, mask=mask), theirs(X, mask=mask))
    assert mine.compute_path.name == "compiled"


def test_states_go_on() -> None:
    theirs, mine = pair("GRU", stateful=True)
    for _ in range(2):
        assert_same(mine(X), theirs(X))
    mine.reset_state()
    theirs.reset_state()
    assert_same(mine(X), theirs(X))
    initial = [RNG.normal(size=(BATCH, UNITS)).astype("float32") for _ in range(2)]
    theirs, mine = pair("LSTM", return_sequences=True, return_state=True)
    for mask in (None, MASK):
        args = {"initial_state": initial, "mask": mask}
        assert_same(mine(X, **args), theirs(X, **args))


def masks_drawn(cell: Any, seed: int) -> tuple[list[Any], list[Any]]:
    """The dropout masks of the input and of the state that our equations draw, gate by gate."""
    parts = read(cell, training=True)
    assert not isinstance(parts, str)
    found: dict[str, dict[str, Any]] = {"W": {}, "U": {}}
    rates = {"W": cell.dropout, "U": cell.recurrent_dropout}
    for node in parts.cell.graph.nodes():
        drawn = _random(node) if node.operation == "product" else []
        if drawn:
            family, _, member = node.arguments[0].name.partition(".")
            units = drawn[0].type.shape[0].evaluate(parts.sizes)
            numbers = uniform(seed, drawn[0].attributes["stream"], EVERY_STEP, BATCH, units)
            rate = rates[family]
            mask = np.where(numbers >= rate, 1 / (1 - rate), 0)
            found[family][member] = ops.convert_to_tensor(mask, "float32")
    order = {
        stored.name: [member.partition(".")[2] for member in stored.members]
        for stored in parts.cell.parameters
    }
    inputs, states = ([found[f][g] for g in order[f] if g in found[f]] for f in ("W", "U"))
    return inputs, states


def _random(product: Any) -> list[Any]:
    """The random number that a product's vector is multiplied with itself, if any."""
    vector = product.arguments[1]
    if vector.operation != "multiply" or vector.arguments[0].operation != "where":
        return []
    return [vector.arguments[0].arguments[0].arguments[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_that_of_keras_with_our_masks(kind: str) -> None:
    theirs, mine = pair(kind, recurrent_dropout=0.4, dropout=0.3 * (kind != "SimpleRNN"))
    mine.cell.seed_generator = mock.Mock(next=lambda: ops.convert_to_tensor([7], "int32"))
    inputs, states = masks_drawn(mine.cell, 7)
    output = mine(X, training=True)
    assert mine.compute_path.name == "compiled"
    theirs.cell.get_dropout_mask = mock.Mock(return_value=inputs or None)
    drawn = states[0] if kind == "SimpleRNN" else states
    theirs.cell.get_recurrent_dropout_mask = mock.Mock(return_value=drawn)
    assert_same(output, theirs(X, training=True))
    assert_same(mine(X), theirs(X))


def test_dropout_of_the_input_is_keras_own() -> None:
    theirs, mine = pair("LSTM", dropout=0.5, seed=3)
    assert_same(mine(X, training=True), theirs(X, training=True))


def test_dropout_differs_from_call_to_call() -> None:
    _, mine = pair("LSTM", recurrent_dropout=0.5)
    first, second = (flat(mine(X, training=True))[0] for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def a_model() -> Any:
    return keras.Sequential(
        [
            keras.Input((TIME,)),
            layers.Embedding(9, INPUT, mask_zero=True),
            layers.Bidirectional(ours.LSTM(3, return_sequences=True)),
            ours.GRU(3, return_sequences=True, name="between"),
            ours.RNN([ours.LSTMCell(3), ours.GRUCell(2)], return_sequences=True),
            layers.TimeDistributed(layers.Dense(2)),
            ours.SimpleRNN(2),
        ]
    )


TEXTS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])


def test_files_of_either_load_in_the_other(tmp_path: Path) -> None:
    model = a_model()
    assert [type(model.layers[2]), type(model.layers[1].backward_layer)] == [ours.GRU, ours.LSTM]
    wanted = model.predict(TEXTS, verbose=0)
    model.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    assert type(again.layers[1].forward_layer) is ours.LSTM
    assert_same(again.predict(TEXTS, verbose=0), wanted)

    with mock.patch.dict(keras.saving.get_custom_objects(), clear=True):  # as without anyrnn
        plain = keras.saving.load_model(tmp_path / "ours.keras")
    assert type(plain.layers[2]) is layers.GRU
    assert type(plain.layers[1].backward_layer) is layers.LSTM
    assert_same(plain.predict(TEXTS, verbose=0), wanted)

    plain.save(tmp_path / "theirs.keras")
    plain.save_weights(tmp_path / "theirs.weights.h5")
    again = keras.saving.load_model(tmp_path / "theirs.keras")
    assert type(again.layers[2]) is layers.GRU
    assert ours.replace_layers(again) is again
    assert type(again.layers[2]) is ours.GRU
    assert type(again.layers[1].backward_layer) is ours.LSTM
    assert_same(again.predict(TEXTS, verbose=0), wanted)
    assert again.layers[2].compute_path.name == "compiled"
    model.set_weights([array * 0 for array in model.get_weights()])
    model.load_weights(tmp_path / "theirs.weights.h5")
    assert_same(model.predict(TEXTS, verbose=0), wanted)


def test_configurations_and_names_are_those_of_keras() -> None:
    for kind in KINDS:
        theirs, mine = pair(kind, name="here", dropout=0.5, kernel_regularizer="l2")
        assert mine.get_config() == theirs.get_config()
        paths = [[weight.path for weight in layer.weights] for layer in (mine, theirs)]
        assert paths[0] == paths[1]
        assert mine.path == theirs.path


def test_copies() -> None:
    model = a_model()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again.layers[2]) is ours.GRU
        assert_same(again(TEXTS), model(TEXTS))
    again = pickle.loads(pickle.dumps(model.layers[2]))
    assert type(again) is ours.GRU


def test_fit_and_predict() -> None:
    model = a_model()
    model.compile("adam", "mse")
    goal = np.array([[1.0, 0.0], [0.0, 1.0]])
    losses = model.fit(TEXTS, goal, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    names = [str(part.compute_path) for part in model._flatten_layers() if type(part) is ours.GRU]
    assert all(name.startswith("compiled") for name in names)
    replaced = ours.replace_layers(
        keras.Sequential([keras.Input((TIME, INPUT)), layers.LSTM(2, recurrent_dropout=0.5)])
    )
    replaced.compile("adam", "mse")
    replaced.fit(X, np.ones((BATCH, 2)), verbose=0)
    assert replaced.layers[0].compute_path.name == "compiled"


def test_a_state_of_one_row_is_that_of_every_sequence() -> None:
    x, layer = np.ones((3, 4, 2), np.float32), ours.LSTM(5)
    states = [keras.random.normal((1, 5)) for _ in range(2)]
    repeated = [keras.ops.repeat(state, 3, axis=0) for state in states]
    found, wanted = (layer(x, initial_state=given) for given in (states, repeated))
    assert np.allclose(*map(keras.ops.convert_to_numpy, (found, wanted)))
