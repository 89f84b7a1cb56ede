"""Layers that keep packed weights from one call to the next, for inference call after call."""

from __future__ import annotations

from typing import Any, TypeVar

import keras

from anyrnn.errors import InputError
from anyrnn.keras.compiled_layer import CompiledLayer

Model = TypeVar("Model", bound=keras.Layer)


def prepare(model: Model) -> Model:
    """Have the layers of a model keep packed weights from one call to the next.

    Kernels read matrices in an order of their own. Usually each call packs them anew; a prepared
    layer on the PyTorch backend does so when they have changed, in calls without a gradient that do
    not train: in `predict`, in `evaluate`, under `torch.no_grad()`. Results are the same to the
    last bit. Memory is that of the weights twice more.

    A change is noticed if PyTorch counts it or if the tensor is elsewhere in memory: by `assign`,
    `set_weights`, `load_weights`, `fit`, an optimiser. What PyTorch does not count is not noticed:
    writing into the memory behind it, as `variable.value.data.add_(1)`, through a NumPy array or
    from another process. Call `unprepare` and `prepare` after that.

    On the JAX and TensorFlow backends nothing is kept, and calls are as they were: there weights
    are packed by copying them, and to notice that they have changed would take as long.

    Args:
        model: A model or a layer.

    Returns:
        The model itself.

    Raises:
        InputError: It is none, or has no layer of anyrnn.

    Example:
        >>> import keras
        >>> from anyrnn.keras import LSTM, prepare
        >>> model = prepare(keras.Sequential([keras.Input((7, 3)), LSTM(5)]))
        >>> model.predict(keras.ops.ones((2, 7, 3)), verbose=0).shape
        (2, 5)
    """
    return _keep_weights(model, True)


def unprepare(model: Model) -> Model:
    """Have the layers of a model pack their weights in each call again, and release what they keep.

    Args:
        model: A model or a layer.

    Returns:
        The model itself.

    Raises:
        InputError: It is none, or has no layer of anyrnn.
    """
    return _keep_weights(model, False)


def _keep_weights(model: Model, keep: bool) -> Model:
    name = type(model).__name__
    if not isinstance(model, keras.Layer):
        raise InputError(
            f"a {name} was given; expected a model or a layer of Keras. A module of PyTorch is "
            "prepared by anyrnn.torch.prepare"
        )
    parts: list[Any] = model._flatten_layers()
    found = [part for part in parts if isinstance(part, CompiledLayer)]
    if not found:
        raise InputError(
            f"{name} has no recurrent layer of anyrnn.keras that could be prepared; replace_layers "
            "has those of Keras computed by ours"
        )
    for layer in found:
        layer.keep_weights(keep)
    for part in parts:
        if isinstance(part, keras.Model):  # what is traced already does as before
            part.test_function = part.predict_function = None
    return model
