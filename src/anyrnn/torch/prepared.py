"""Layers that keep packed weights between calls: for inference, call after call."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from anyrnn.errors import InputError
from anyrnn.torch.layer import Layer

Module = TypeVar("Module", bound=nn.Module)


def prepare(module: Module, weights: str | None = None) -> Module:
    """Have the layers of a module keep packed weights from one call to the next.

    Kernels read matrices in an order of their own. Usually each call packs them anew; a prepared
    layer in evaluation mode, without a gradient, does so when they have changed. Results are the
    same to the last bit. Memory is that of the parameters a second time.

    A change is noticed if PyTorch counts it or if the parameter is elsewhere in memory: by an
    optimiser, an operation in place, `load_state_dict`, `to`, another parameter in its place. What
    PyTorch does not count is not noticed: writing into the memory behind it, as
    `parameter.data.add_(1)`, through a NumPy array or from another process. Call `prepare` again
    after that, or `layer.unprepare()` for a layer that packs in each call.

    With weights in int8 each row of a matrix is quantised when it is packed, and each row of what
    it multiplies in each call; sums of products are int32, all else is float32. Parameters stay as
    they are, and training is with them; a call in evaluation mode that wants a gradient is refused.

    Args:
        module: A layer, or a module with layers in it.
        weights: `int8` to multiply in int8: faster, and less exact. None for the same results.

    Returns:
        The module itself.

    Raises:
        InputError: It has no layer of anyrnn; or one whose weights cannot be int8, as those of
            another type than float32, or without a matrix.

    Example:
        >>> import torch
        >>> from anyrnn.torch import LSTM, prepare
        >>> layer = prepare(LSTM(3, 5).eval())
        >>> with torch.inference_mode():
        ...     layer(torch.randn(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])
    """
    parts = module.modules() if isinstance(module, nn.Module) else ()
    found = [part for part in parts if isinstance(part, Layer)]
    if not found:
        raise InputError(
            f"{type(module).__name__} has no layer of anyrnn.torch that could be prepared; "
            "single-step modules (LSTMCell) need not be, and models of Keras are prepared by "
            "anyrnn.keras.prepare"
        )
    for layer in found:
        layer.check_prepared(weights)
    for layer in found:
        layer.prepare(weights)
    return module
