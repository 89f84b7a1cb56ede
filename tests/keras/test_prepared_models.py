"""Prepared layers of Keras on PyTorch: the same bits as without, and never a stale weight."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

from keras import ops  # noqa: E402

from anyrnn import keras as ours  # noqa: E402
from anyrnn.errors import InputError  # noqa: E402
from anyrnn.keras import prepare, unprepare  # noqa: E402
from anyrnn.kernels.packed_weights import Packing  # noqa: E402

pytestmark = pytest.mark.skipif(keras.config.backend() != "torch", reason="on PyTorch only")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 4)).astype("float32")
MASK = np.array([[1, 1, 0, 1, 0, 0], [1] * 6, [0] * 6], bool)


def flat(found: Any) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(part)) for part in keras.tree.flatten(found)]


def call(layer: Any, x: Any = X, **given: Any) -> list[np.ndarray]:
    with torch.no_grad():
        return flat(layer(ops.convert_to_tensor(x), training=False, **given))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, one, other))


def recurrent(layer: Any) -> list[Any]:
    return [part for part in layer._flatten_layers() if hasattr(part, "keep_weights")]


def packings(layer: Any) -> list[Packing]:
    """What a layer has packed."""
    parts = [kept for part in recurrent(layer) for kept in part._kept or ()]
    return [found for kept in parts for found in kept.packed._kept.values()]


def stored(layer: Any) -> list[Packing]:
    """What a layer has laid out."""
    parts = [kept for part in recurrent(layer) for kept in part._kept or ()]
    return [found for kept in parts for found in kept._stored._kept.values()]


@contextmanager
def unprepared(layer: Any) -> Iterator[None]:
    """Meanwhile weights are packed in each call."""
    kept = [(part, part._kept) for part in recurrent(layer)]
    for part, _ in kept:
        part._kept = None
    yield
    for part, before in kept:
        part._kept = before


LAYERS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: ours.LSTM(5, return_sequences=True, return_state=True),
    "gru": lambda: ours.GRU(17, go_backwards=True),
    "reset before": lambda: ours.GRU(5, reset_after=False, use_bias=False),
    "rnn": lambda: ours.SimpleRNN(1, activation="relu", recurrent_dropout=0.5),
    "float64": lambda: ours.LSTM(5, dtype="float64"),
    "both ways": lambda: keras.layers.Bidirectional(ours.GRU(5)),
    "cells": lambda: ours.RNN([ours.LSTMCell(5), ours.GRUCell(3)], return_state=True),
    "peephole": lambda: ours.Recurrent("lstm_peephole", 5, return_sequences=True),
    "projection": lambda: ours.Recurrent("lstm_projection", 5, projection_size=3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_bits_of_an_unprepared_layer(name: str) -> None:
    layer = LAYERS[name]()
    layer.build(X.shape)
    masked = {"mask": ops.convert_to_tensor(MASK)}
    for x, given in ((X, {}), (X, masked), (X[:, :1], {}), (X[:1, :2], {})):
        wanted = call(layer, x, **given)
        prepare(layer)
        assert same(call(layer, x, **given), wanted)
        assert same(call(layer, x, **given), wanted)
        assert len(x[0]) == 1 or packings(layer)
        assert {part.compute_path.name for part in recurrent(layer)} == {"compiled"}
        unprepare(layer)
        assert not packings(layer)


def test_weights_are_packed_once() -> None:
    model = prepare(keras.Sequential([keras.Input((6, 4)), ours.LSTM(5)]))
    first = model.predict(X, verbose=0)
    (kept,) = packings(model)
    assert same([model.predict(X, verbose=0)], [first])
    assert same(call(model.layers[0]), [first])
    assert packings(model) == [kept]
    prepare(model)
    assert packings(model) == [kept]


def compiled_model() -> Any:
    model = keras.Sequential([keras.Input((6, 4)), ours.GRU(5, recurrent_dropout=0.3)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def others(model: Any) -> list[np.ndarray]:
    return [RNG.normal(size=weight.shape).astype("float32") for weight in model.weights]


def fitted(model: Any, folder: Path) -> None:
    model.fit(X, np.ones((3, 5)), verbose=0)


def trained_on_a_batch(model: Any, folder: Path) -> None:
    model.train_on_batch(X, np.ones((3, 5)))


def assigned(model: Any, folder: Path) -> None:
    kernel = model.layers[0].cell.recurrent_kernel
    kernel.assign(ops.convert_to_tensor(kernel) * 1.5)


def one_bit(model: Any, folder: Path) -> None:
    bias = model.layers[0].cell.bias
    value = bias.numpy().copy()
    value[-1, -1] += 1e-3
    bias.assign(value)


def loaded(model: Any, folder: Path) -> None:
    other = keras.models.clone_model(model)
    other.set_weights(others(model))
    other.save_weights(folder / "other.weights.h5")
    model.load_weights(folder / "other.weights.h5")


def by_an_optimiser(model: Any, folder: Path) -> None:
    gradients = [ops.ones(weight.shape) for weight in model.trainable_variables]
    keras.optimizers.Adam(0.1).apply_gradients(
        zip(gradients, model.trainable_variables, strict=True)
    )


def in_place(model: Any, folder: Path) -> None:
    with torch.no_grad():
        model.layers[0].cell.recurrent_kernel.value.mul_(1.5)


def in_inference_mode(model: Any, folder: Path) -> None:
    with torch.inference_mode():
        model.layers[0].cell.kernel.value.add_(0.5)


def by_data(model: Any, folder: Path) -> None:
    value = model.layers[0].cell.kernel.value
    value.data = torch.randn(value.shape)


def read_in_another_order(model: Any, folder: Path) -> None:
    """The same memory."""
    value = model.layers[0].cell.recurrent_kernel.value
    value.data = value.data.as_strided((5, 15), (1, 5))


def by_torch(model: Any, folder: Path) -> None:
    weights = [variable.value for variable in model.trainable_variables]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    torch.optim.AdamW(weights, lr=0.1, fused=True).step()


def by_state_dict(model: Any, folder: Path) -> None:
    model.load_state_dict({n: v + torch.randn(v.shape) for n, v in model.state_dict().items()})


def trained_unnoticed(model: Any, folder: Path) -> None:
    """A training may do anything."""
    model(X, training=True)
    model.layers[0].cell.kernel.value.data.mul_(1.5)


CHANGES: dict[str, Callable[[Any, Path], Any]] = {
    "set_weights": lambda model, folder: model.set_weights(others(model)),
    "fit": fitted,
    "train_on_batch": trained_on_a_batch,
    "assign": assigned,
    "one number": one_bit,
    "load_weights": loaded,
    "an optimiser": by_an_optimiser,
    "in place": in_place,
    "in inference mode": in_inference_mode,
    "data": by_data,
    "strides": read_in_another_order,
    "an optimiser of PyTorch": by_torch,
    "load_state_dict": by_state_dict,
    "a training": trained_unnoticed,
}


def test_a_change_is_noticed(tmp_path: Path) -> None:
    """By `predict`, whose graph was traced before, and by a call."""
    model = prepare(compiled_model())
    model.predict(X, verbose=0)
    for name, change in CHANGES.items():
        before, kept = model.predict(X, verbose=0), packings(model)
        change(model, tmp_path)
        after, called = model.predict(X, verbose=0), call(model)
        assert not np.array_equal(before, after), name
        assert same(called, [after]), name
        assert packings(model)[0] not in kept, name
        assert len(stored(model)) == 1, name
        with unprepared(model):
            assert same(call(model), [after]), name


def test_a_copy_is_not_prepared() -> None:
    model = prepare(compiled_model())
    wanted = call(model)
    for other in (keras.models.clone_model(model), pickle.loads(pickle.dumps(model))):
        assert [layer._kept for layer in recurrent(other)] == [None]
    assert same(call(copy.deepcopy(model)), wanted)


def test_what_was_traced_before() -> None:
    model = compiled_model()
    wanted = model.predict(X, verbose=0)
    score = model.evaluate(X, wanted + 1, verbose=0)
    prepare(model)
    assert same([model.predict(X, verbose=0)], [wanted])
    assert packings(model)
    unprepare(model)
    assert same([model.predict(X, verbose=0)], [wanted])
    assert model.evaluate(X, wanted + 1, verbose=0) == score
    assert not packings(model)


def test_gradients_of_a_prepared_layer() -> None:
    """Of a call that does not train, they are as ever."""
    layer = prepare(ours.LSTM(5))
    layer.build(X.shape)
    for _ in range(2):
        call(layer)
        found = gradients(layer)
        with unprepared(layer):
            assert same(found, gradients(layer))
        layer.set_weights(others(layer))


def gradients(layer: Any) -> list[np.ndarray]:
    """Those of the sum of the outputs."""
    weights = [weight.value for weight in layer.weights]
    return flat(torch.autograd.grad(layer(X, training=False).sum(), weights))


def test_what_is_not_counted_is_not_noticed() -> None:
    """As documented, with the way out."""
    layer = prepare(ours.LSTM(5))
    layer.build(X.shape)
    before = call(layer)
    layer.cell.kernel.value.data.mul_(2)
    assert same(call(layer), before)
    after = call(prepare(unprepare(layer)))
    assert not same(after, before)
    with unprepared(layer):
        assert same(call(layer), after)


def test_weights_that_count_no_changes_are_packed_in_each_call() -> None:
    with torch.inference_mode():
        layer = prepare(ours.GRU(5))
        layer.build(X.shape)
        for _ in range(2):
            before = call(layer)
            layer.cell.kernel.assign(2 * layer.cell.kernel)
            assert not same(call(layer), before)
        assert not packings(layer)


def test_several_threads_while_weights_change() -> None:
    """Each result is that of one of the two."""
    layer = prepare(ours.LSTM(5, return_sequences=True))
    layer.build(X.shape)
    weights = [others(layer), others(layer)]
    wanted = []
    for each in weights:
        layer.set_weights(each)
        wanted += call(layer)
    found: list[np.ndarray] = []
    for each in weights:
        layer.set_weights(each)
        threads = [
            Thread(target=lambda: found.extend(call(layer)[0] for _ in range(20))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 120
    assert all(any(np.array_equal(result, each) for each in wanted) for result in found)


def test_what_cannot_be_prepared() -> None:
    for function in (prepare, unprepare):
        with pytest.raises(
            InputError, match=r"^Sequential has no recurrent layer of anyrnn\.keras"
        ):
            function(keras.Sequential([keras.Input((6, 4)), keras.layers.LSTM(5)]))
        with pytest.raises(InputError, match=r"^a list was given; expected a model or a layer"):
            function([])
