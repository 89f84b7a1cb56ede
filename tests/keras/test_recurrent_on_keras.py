"""Layers of any cell, with the conventions of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers, ops  # noqa: E402

import anyrnn  # noqa: E402
from anyrnn import keras as ours  # noqa: E402
from anyrnn.graph.operations import LEAVES, OPERATIONS  # noqa: E402
from anyrnn.graph.unroll import interpret  # noqa: E402
from anyrnn.keras.keras_ops import KERAS  # noqa: E402
from anyrnn.keras.recurrent import kind  # noqa: E402

BATCH, TIME, UNITS = 3, 4, 5
RNG = np.random.default_rng(2)
X = RNG.normal(size=(BATCH, TIME, UNITS)).astype("float32")
MASK = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]], bool)


@anyrnn.cell
def leaky(x, h, *, W, U, b, keep=0.5):  # type: ignore[no-untyped-def]
    return keep * h + (1 - keep) * anyrnn.tanh(W @ x + U @ h + b)


@anyrnn.cell
def limited(x, h, *, W, U, g):  # type: ignore[no-untyped-def]
    """Has operations that no cell of the catalogue has."""
    h = anyrnn.clip_gradient(h, 0.1)
    n = anyrnn.layer_norm(W @ x) * g + U.T @ h
    return anyrnn.where(n > 0, anyrnn.minimum(n, 2), anyrnn.softplus(n) - anyrnn.maximum(h, 0.5))


def made(cell: Any, **options: Any) -> Any:
    equations = anyrnn.get(cell)
    sizes = {"output": 3, "projection": 2}
    further = {f"{name}_size": sizes[name] for name in equations.sizes if name in sizes}
    return ours.Recurrent(cell, UNITS, **further, **options)


def assert_same(left: Any, right: Any) -> None:
    pairs = zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True)
    for a, b in pairs:
        a, b = ops.convert_to_numpy(a), ops.convert_to_numpy(b)
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "option", ["dropout", "return_sequences", "name", "kernel_initializer", "units"]
)
def test_a_hyperparameter_called_as_an_option_of_the_layer(option: str) -> None:
    names: dict[str, Any] = {"anyrnn": anyrnn}
    source = f"def hiding(x, h, *, W, {option}=0.3):\n    return W @ x + {option} * h"
    exec(source, names)
    cell = anyrnn.cell(names["hiding"])
    with pytest.raises(
        anyrnn.errors.CellError, match=f"a hyperparameter '{option}', and the layer"
    ):
        ours.Recurrent(cell, UNITS)


FEW = ("rnn_relu", "lstm_projection", "minlstm", "article1_rnn", "article3_gru")  # all operations
CELLS = anyrnn.CATALOGUE if keras.config.backend() == "torch" else FEW


@pytest.mark.parametrize("name", CELLS)
def test_both_loops_are_the_interpreter(name: str) -> None:
    layer = made(name, return_sequences=True, return_state=True)
    found = layer(X)
    assert layer.compute_path.name == "compiled"
    own = layers.RNN(layer.cell, return_sequences=True, return_state=True)
    assert_same(own(X), found)
    cell = layer.cell
    stored = [ops.convert_to_numpy(array) for array in cell.stored()]
    names = [parameter.name for parameter in cell.definition.parameters]
    parameters = dict(zip(names, stored, strict=True))
    wanted = interpret(cell.definition, X.swapaxes(0, 1), parameters=parameters)
    assert_same(found[0], wanted.output.swapaxes(0, 1))
    masked, plain = layer(X, mask=MASK), layer(X)
    assert_same(masked[0][:, 0][:1], plain[0][:, 0][:1])
    assert_same(masked[0][0, 0], masked[0][0, 1])


def test_units_are_any_whole_number() -> None:
    layer = ours.Recurrent("gru", np.int64(4))
    assert tuple(layer(X).shape) == (BATCH, 4)
    assert type(layer.get_config()["units"]) is int


def test_every_operation_has_a_line() -> None:
    derivatives = {"outer", "batch_sum", "random"}
    assert set(KERAS) == set(OPERATIONS) - LEAVES - derivatives


def test_gradients_of_both_loops() -> None:
    goal = np.ones((BATCH, UNITS), "float32")
    layer = made(limited)
    layer.build(X.shape)
    start = layer.get_weights()
    found = []
    for each in (layer, layers.RNN(layer.cell)):
        layer.set_weights(start)
        model = keras.Sequential([keras.Input(X.shape[1:]), each])
        model.compile(keras.optimizers.SGD(1.0), "mse")
        model.train_on_batch(X, goal)
        found.append(layer.get_weights())
    assert_same(*found)
    assert max(np.abs(new - old).max() for new, old in zip(found[0], start, strict=True)) > 1e-3


def test_how_parameters_start() -> None:
    layer = made("lstm_peephole")
    layer.build(X.shape)
    W, U, p, b = layer.get_weights()
    assert [weight.name for weight in layer.weights] == ["W", "U", "p", "b"]
    assert W.shape == (UNITS, 4 * UNITS)
    assert np.abs(W).max() <= np.sqrt(6 / (5 * UNITS))
    assert_same(U @ U.T, np.eye(UNITS))
    assert_same(p, np.zeros(3 * UNITS))
    assert_same(b, np.repeat([0.0, 1.0, 0.0, 0.0], UNITS))
    layer = made("lstm", unit_forget_bias=False, initializers={"U": "zeros"}, use_bias=False)
    layer.build(X.shape)
    assert_same(layer.get_weights()[1:], [np.zeros((UNITS, 4 * UNITS))])
    kinds = {
        "qrnn": "W kernel, b bias, V kernel",
        "rnn_output": "W kernel, U recurrent, b bias, V kernel, d bias",
        "lstm_projection": "W kernel, U recurrent, b bias, P kernel",
    }
    for name, wanted in kinds.items():
        cell = anyrnn.get(name)
        assert ", ".join(f"{s.name} {kind(cell, s)}" for s in cell.parameters) == wanted


def test_penalties_and_constraints_by_family() -> None:
    layer = made(
        "gru",
        regularizers={"W": keras.regularizers.L2(1.0)},
        recurrent_constraint=keras.constraints.MaxNorm(0.25),
        bias_initializer="ones",
    )
    layer.build(X.shape)
    W, U, *_ = layer.weights
    (penalty,) = layer.losses
    assert_same(penalty, np.square(ops.convert_to_numpy(W.value)).sum())
    assert W.constraint is None
    assert U.constraint.max_value == 0.25
    assert_same(layer.get_weights()[2], np.ones(3 * UNITS))


def test_files_and_copies(tmp_path: Path) -> None:
    read_out = made("rnn_output", return_sequences=True)
    model = keras.Sequential(
        [
            keras.Input((TIME, UNITS)),
            made(leaky, keep=0.25, return_sequences=True, dropout=0.5, recurrent_dropout=0.5),
            layers.Bidirectional(made("lstm_coupled", return_sequences=True)),
            layers.RNN(ours.RecurrentCell("gru", 3), return_sequences=True),
            layers.TimeDistributed(layers.Dense(4)),
            read_out,
            ours.RNN([ours.RecurrentCell("mingru", 2), ours.GRUCell(2)], go_backwards=True),
        ]
    )
    wanted = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"leaky": leaky})
    assert_same(again.predict(X, verbose=0), wanted)
    assert again.layers[0].cell.definition.hyperparameters == {"keep": 0.25}
    for option in ("cell", "units", "keep", "dropout", "recurrent_dropout", "return_sequences"):
        configs = [found.layers[0].get_config()[option] for found in (again, model)]
        assert configs[0] == configs[1]
    clone = keras.models.clone_model(model)
    assert clone.layers[0].cell.base is leaky
    parts = [part for part in model._flatten_layers() if hasattr(part, "compute_path")]
    assert len(parts) == 5
    assert all(part.compute_path.name == "compiled" for part in parts)


def test_a_registered_cell() -> None:
    registered = keras.saving.register_keras_serializable(name="lim")(limited)
    assert made(registered).get_config()["cell"] == "Custom>lim"
    again = ours.Recurrent.from_config(made(registered).get_config())
    assert again.cell.base is limited


def test_dropout_is_of_training_only() -> None:
    layer = made("gru", recurrent_dropout=0.5, dropout=0.5)
    assert_same(layer(X), layer(X))
    first, second = (ops.convert_to_numpy(layer(X, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    own = layers.RNN(layer.cell)
    assert_same(own(X), layer(X))
    first, second = (ops.convert_to_numpy(own(X, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_states() -> None:
    layer = made("lstm_projection", stateful=True, return_state=True)
    layer(X)
    output, h, _ = layer(X)
    assert_same(output, h)
    initial = [np.zeros((BATCH, 2), "float32"), np.zeros((BATCH, UNITS), "float32")]
    after = layer(X[:, :2], initial_state=initial)[1:]
    layer.reset_state()
    assert_same(layer(X[:, 2:], initial_state=after)[1:], layer(X, initial_state=initial)[1:])


def test_models_of_classes() -> None:
    class Model(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = made("article4_gru")
            self.dense = layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.dense(self.recurrent(inputs))

    model = Model()
    model.compile("adam", "mse")
    model.fit(X, np.ones((BATCH, 1)), verbose=0)
    assert model.predict(X, verbose=0).shape == (BATCH, 1)
    assert model.recurrent.compute_path.name == "compiled"
