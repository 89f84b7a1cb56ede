"""Training on streams: the state goes on, the gradient is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from anyrnn.errors import InputError
from anyrnn.graph.sizes import as_whole
from anyrnn.torch.layer import Layer
from anyrnn.torch.layer_stack import State, detached


def truncated(
    layer: nn.Module, input: Tensor | Iterable[Tensor], steps: int, state: State | None = None
) -> Iterator[tuple[Tensor, State]]:
    """Run a layer over a stream, a piece at a time: truncated backpropagation through time.

    Each piece starts with the state that the one before has ended with, cut off from what it was
    computed from. So a gradient goes back through one piece at most, and memory is that of one.

    Args:
        layer: A layer, not bidirectional; or one in a module of PyTorch's that calls it, as
            torch.compile and DistributedDataParallel give it.
        input: The whole input, as a call of the layer takes it, without lengths; or any number of
            such inputs that follow each other. They are cut into pieces; a shorter one is a piece.
        steps: The most steps of a piece.
        state: The state before the first step; zeros, or what was learned, if not given.

    Yields:
        The outputs of a piece, laid out as the input, and the state after it, which still has its
        gradient.

    Raises:
        InputError: The layer is bidirectional, the number of steps is none, or an input is not a
            tensor that the layer takes.

    Example:
        >>> import torch
        >>> from anyrnn.torch import GRU, truncated
        >>> layer, x = GRU(3, 5), torch.randn(70, 2, 3)
        >>> for output, state in truncated(layer, x, steps=30):
        ...     output.sum().backward()
        ...     print(output.shape)
        torch.Size([30, 2, 5])
        torch.Size([30, 2, 5])
        torch.Size([10, 2, 5])
    """
    inner: object = layer
    while isinstance(inner, nn.Module) and not isinstance(inner, Layer):
        inner = getattr(inner, "_orig_mod", getattr(inner, "module", None))
    if not isinstance(inner, Layer) or inner.bidirectional:
        kind = "a bidirectional layer" if isinstance(inner, Layer) else type(layer).__name__
        raise InputError(
            f"a stream cannot be run by {kind}; expected a layer of anyrnn.torch in one direction"
        )
    number = as_whole(steps)
    if number is None or number < 1:
        raise InputError(f"steps={steps!r}; expected a whole number of at least 1")
    inputs = [input] if isinstance(input, Tensor | PackedSequence) else input
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"the stream is a {type(input).__name__}; expected a tensor, or any number of them"
        )
    return _pieces(layer, inner.batch_first, inputs, number, state)


def _pieces(
    layer: Callable[..., Any],
    batch_first: bool,
    inputs: Iterable[object],
    steps: int,
    state: State | None,
) -> Iterator[tuple[Tensor, State]]:
    for given in inputs:
        if not isinstance(given, Tensor):
            raise InputError(
                f"a part of a stream is a {type(given).__name__}; expected a tensor: sequences of "
                "several lengths are no stream"
            )
        time = int(batch_first and given.dim() == 3)
        for piece in given.split(steps, time) if given.dim() else [given]:
            output, after = layer(piece, None if state is None else detached(state))
            yield output, after
            state = after
