"""Models of Keras with a recurrent layer, of Keras' own or of ours, in `fit` and `predict`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from benchmarks.cases import DROPOUT, LENGTHS, OPTIONS
from benchmarks.models import EPSILON, LAYERS, PREDICT, RATE, Model, ModelData
from benchmarks.peers import Run


def theirs(case: Model, data: ModelData) -> Run:
    """A layer of Keras."""
    return _model(keras.layers, case, data)[0]


def ours(case: Model, data: ModelData) -> Run:
    """Our layer in its place."""
    import anyrnn.keras
    from anyrnn.kernels.cpu.machine.team import trust_threads

    trust_threads()  # the process that forks this one has computed nothing
    run, layer = _model(anyrnn.keras, case, data)

    def read(raw: Any) -> dict[str, Any]:
        if layer.compute_path.name != "compiled":
            raise RuntimeError(str(layer.compute_path))
        return run.read(raw)

    return replace(run, read=read)


def _model(layers: Any, case: Model, data: ModelData) -> tuple[Run, Any]:
    batch, time, inputs, hidden = case.shape
    kind = LAYERS[case.cell]
    options: dict[str, Any] = {"reset_after": case.cell == "gru"} if kind == "GRU" else {}
    if case.option == DROPOUT:
        options |= {**OPTIONS[DROPOUT], "seed": 0}
    masking = [keras.layers.Masking()] if case.option == LENGTHS else []
    layer = getattr(layers, kind)(hidden, **options)
    start = keras.Input((time, inputs))
    model = keras.Sequential([start, *masking, layer, keras.layers.Dense(1)])
    model.set_weights(data.weights)
    model.compile(keras.optimizers.Adam(RATE, epsilon=EPSILON), "mse")
    arrays = (data.x,) if case.mode == PREDICT else (data.x, data.targets)
    given, options = _given(batch, arrays)
    if case.mode == PREDICT:
        run = Run(lambda _: (model.predict(*given, **options), None), lambda x: {"output": x})
        return run, layer

    def fit(_: None) -> tuple[Any, None]:
        return model.fit(*given, **options, shuffle=False), None

    return Run(fit, lambda _: data.changes(model.get_weights())), layer


def _given(batch: int, arrays: tuple[np.ndarray, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Data as `fit` and `predict` take it, and their options.

    TensorFlow tunes what it reads arrays with in a thread that may sleep on after an epoch, for
    about as long as the epoch has taken; without that, the time is that of the model.
    """
    if keras.config.backend() != "tensorflow":
        return arrays, {"batch_size": batch, "verbose": 0}
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    parts = tuple(array.reshape(-1, batch, *array.shape[1:]) for array in arrays)
    return (tf.data.Dataset.from_tensor_slices(parts).with_options(options),), {"verbose": 0}
