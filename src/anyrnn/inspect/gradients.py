"""How a gradient goes back through time: its norm with respect to the states at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anyrnn.errors import InputError
from anyrnn.inspect.calls import (
    Labels,
    called_only,
    evaluating,
    instead,
    joined,
    layers_of,
    number_of,
    without_all_states,
)
from anyrnn.inspect.flow import SHARE, Flow, from_start, whole
from anyrnn.kernels.run import Array
from anyrnn.torch.layer import Layer
from anyrnn.torch.shifts import Shifts


@dataclass(frozen=True)
class GradientFlow:
    """The gradients of a number with respect to the states at each step.

    Attributes:
        value: The number.
        norms: By state, such as `h_l0`, the norm of the gradient with respect to that state after
            each step, (batch, time); NaN at steps that do not count.
        flows: The same for all states of each layer and direction, from the end of each sequence.
        whole: The flow of the whole network: of all layers together; where layers run in both
            directions, of that direction of the last layer that keeps the gradient longer.
    """

    value: float
    norms: dict[str, Array]
    flows: tuple[Flow, ...]
    whole: Flow = field(repr=False)

    def steps_left(self, share: float = SHARE) -> int | None:
        """As `Flow.steps_left`, of the whole network."""
        return self.whole.steps_left(share)


def gradient_flow(
    model: nn.Module,
    *inputs: Any,
    of: Callable[[Any], Tensor] | None = None,
    end: bool = True,
    at: int | None = None,
    layers: Sequence[str] | None = None,
    calls: int | None = None,
    **options: Any,
) -> GradientFlow:
    """The norm of the gradient with respect to the states at each step, of any cell.

    The states after a step, such as h and c of an LSTM, count as independent of each other: their
    gradient is what all later steps, and the output of this one, pass back to them. It is computed
    by one forward and one backward run of compiled code, in time and memory that grow linearly
    with the steps. The model runs in evaluation mode.

    Args:
        model: A recurrent layer, or any module with such layers in it.
        *inputs: What the model is called with.
        of: What of the model's result is differentiated: gives one number. By default half the sum
            of the squares of the first tensor in it.
        end: Whether only that part of the gradient counts which enters the outputs of the last
            layer at the end of a sequence (its last step; for a layer that runs backwards its
            first one), so that all of it has to go back through time. With False, what each step
            contributes by itself is in it too.
        at: A step, from 0, that takes the place of the end: for an output of that step.
        layers: The names of the recurrent layers in the model to follow; all of them by default.
        calls: How many calls of each layer are followed, where a model calls it several times,
            as a decoder does; those after them run as usual. All of them by default.
        **options: What else the model is called with.

    Returns:
        Norms by state, batch and time, and how much is left after how many steps.

    Raises:
        InputError: The model has no such layer, or does not call it; there is no number to
            differentiate; or the memory that is free does not suffice.

    Example:
        >>> import torch
        >>> from anyrnn.inspect import gradient_flow
        >>> from anyrnn.torch import GRU
        >>> flow = gradient_flow(GRU(3, 5), torch.randn(20, 2, 3))
        >>> flow.norms["h"].shape, flow.flows[0].share.shape
        ((2, 20), (20,))
    """
    followed = layers_of(model, layers)
    met: dict[str, list[Shifts]] = {name: [] for name in followed}

    def made(name: str, layer: Layer) -> Callable[..., Any]:
        def forward(*given: Any, **others: Any) -> Any:
            met[name].append(Shifts(end, at))
            return layer.shifted(met[name][-1], *given, **without_all_states(others))

        return forward

    with evaluating(model), torch.enable_grad():
        with instead(followed, made, calls):
            value = number_of(model(*inputs, **options), of)
        return _flow(value, met, at)


def _flow(value: Tensor, calls: dict[str, list[Shifts]], at: int | None) -> GradientFlow:
    called = called_only(calls)
    if not value.requires_grad:
        raise InputError(
            "the number to differentiate does not depend on the recurrent layers' outputs: it is "
            "detached from them, or computed under torch.no_grad()"
        )
    tensors = [tensor for each in called.values() for shifts in each for tensor in shifts.tensors]
    gradients = iter(torch.autograd.grad(value, tensors, allow_unused=True))
    norms: dict[str, Array] = {}
    flows: list[Flow] = []
    label = Labels(len(called) > 1)
    for module, each in called.items():
        parts = [shifts.by_state([next(gradients) for _ in shifts.tensors]) for shifts in each]
        squares: dict[str, Array] = {}
        several = len({suffix for suffix, _ in parts[0]}) > 1
        for suffix, state in parts[0]:
            found = joined([part[suffix, state] for part in parts]).double()
            found = found.norm(dim=-1).cpu().numpy()
            norms[label(module, state, suffix * several)] = found
            squares[suffix] = squares.get(suffix, 0) + found**2
        for suffix, square in squares.items():
            reverse, found = suffix.endswith("_reverse"), np.sqrt(square)
            if at is not None:
                found = found[:, at:] if reverse else found[:, : at + 1]
            flows.append(from_start(label(module, suffix[1:]), found, backwards=not reverse))
    return GradientFlow(value.item(), norms, tuple(flows), whole(flows))
