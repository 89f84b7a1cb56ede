"""`SimpleRNN`, `LSTM`, `GRU` and `RNN` in the place of those of Keras.

They are subclasses: constructors, weights, masks and files are Keras' own; the computation is ours.
"""

from __future__ import annotations

from typing import Any, TypeVar

import keras

from anyrnn.errors import InputError
from anyrnn.keras.compiled_layer import CompiledLayer
from anyrnn.keras.saving import as_keras_own

Model = TypeVar("Model", bound=keras.Layer)


@as_keras_own
class SimpleRNN(CompiledLayer, keras.layers.SimpleRNN):
    """keras.layers.SimpleRNN with our computation; the same arguments, weights and results.

    Example:
        >>> import keras
        >>> from anyrnn.keras import SimpleRNN
        >>> tuple(SimpleRNN(5, activation="relu")(keras.ops.ones((2, 7, 3))).shape)
        (2, 5)
    """


@as_keras_own
class LSTM(CompiledLayer, keras.layers.LSTM):
    """keras.layers.LSTM with our computation; the same arguments, weights and results.

    Example:
        >>> import keras
        >>> from anyrnn.keras import LSTM
        >>> layer = LSTM(5, return_sequences=True)
        >>> tuple(layer(keras.ops.ones((2, 7, 3))).shape)
        (2, 7, 5)
        >>> layer.compute_path.name
        'compiled'
    """


@as_keras_own
class GRU(CompiledLayer, keras.layers.GRU):
    """keras.layers.GRU with our computation; the same arguments, weights and results.

    Example:
        >>> import keras
        >>> from anyrnn.keras import GRU
        >>> model = keras.Sequential([keras.layers.Embedding(9, 3, mask_zero=True), GRU(5)])
        >>> tuple(model(keras.ops.convert_to_tensor([[4, 7, 0], [1, 2, 3]])).shape)
        (2, 5)
    """


@as_keras_own
class RNN(CompiledLayer, keras.layers.RNN):
    """keras.layers.RNN with our computation: for Keras' three cells, ours, and stacks of them.

    A cell of another class runs in Keras' own loop.

    Example:
        >>> import keras
        >>> from anyrnn.keras import GRUCell, LSTMCell, RNN
        >>> layer = RNN([LSTMCell(5), GRUCell(4)])
        >>> tuple(layer(keras.ops.ones((2, 7, 3))).shape)
        (2, 4)
        >>> layer.compute_path.name
        'compiled'
    """


OURS: dict[type, type] = {cls.__bases__[1]: cls for cls in (SimpleRNN, LSTM, GRU, RNN)}


def replace_layers(model: Model) -> Model:
    """Have the recurrent layers of a model of Keras computed by ours, in place.

    Weights, names, configuration and the state of the optimiser stay as they are.

    Args:
        model: A model or a layer, such as one loaded with `keras.saving.load_model`.

    Returns:
        The model itself.

    Raises:
        InputError: It is none, or it is a recurrent layer itself that has no twin here.

    Example:
        >>> import keras
        >>> from anyrnn.keras import replace_layers
        >>> model = keras.Sequential([keras.Input((7, 3)), keras.layers.LSTM(5)])
        >>> replace_layers(model).layers[0].compute_path.name
        'compiled'
    """
    if not isinstance(model, keras.Layer):
        raise InputError(
            f"replace_layers takes a model or a layer of Keras, not a {type(model).__name__}"
        )
    parts: list[Any] = model._flatten_layers()
    for layer in parts:
        if type(layer) in OURS:
            layer.__class__ = OURS[type(layer)]
        if isinstance(layer, keras.Model):  # what is traced already has the old layers
            layer.train_function = layer.test_function = layer.predict_function = None
    return model
