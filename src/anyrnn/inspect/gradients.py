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
    evaluating,
    instead,
    joined,
    layers_of,
    number_of,
    without_all_states,
)
from anyrnn.kernels.run import Array
from anyrnn.torch.layer import Layer
from anyrnn.torch.shifts import Shifts

SHARE = 0.01
_EXPLODED = 100.0


@dataclass(frozen=True)
class Flow:
    """How the gradient of the states of a layer goes back from the end of a sequence.

    Attributes:
        name: The layer and direction, such as `l0` or `l1_reverse`; `all layers` for all of them.
        norms: The norm of the gradient with respect to all its states together, by the number of
            steps before the end of a sequence, (batch, steps); NaN where a sequence has no such
            step.
        share: What is left of that at the end of a sequence, (steps): the median over sequences.
    """

    name: str
    norms: Array
    share: Array

    def steps_left(self, share: float = SHARE) -> int | None:
        """The number of steps after which no more than a share is left; None if more is left at
        the first step of the longest sequence.
        """
        above = np.flatnonzero(self.share > share)
        last = int(above[-1]) if len(above) else -1
        return None if last + 1 >= len(self.share) else last + 1

    @property
    def per_step(self) -> float:
        """By what the gradient is multiplied at each step back, on average over all steps where it
        is not zero: below 1 it vanishes, above 1 it explodes. NaN for a single step.
        """
        steps = np.flatnonzero(self.share > 0)
        if len(steps) < 2:
            return float("nan")
        logarithms = np.log(self.share[steps])
        return float(np.exp(np.polyfit(steps, logarithms, 1)[0]))

    @property
    def verdict(self) -> str:
        """`vanishes` if no more than 1 % is left somewhere, `explodes` if it grows a hundredfold,
        `keeps` if neither.
        """
        if not np.isfinite(self.share).all() or self.share.max(initial=0) > _EXPLODED:
            return "explodes"
        return "keeps" if self.steps_left() is None else "vanishes"


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
    layers: Sequence[str] | None = None,
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
        layers: The names of the recurrent layers in the model to follow; all of them by default.
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
    calls: dict[str, list[Shifts]] = {name: [] for name in followed}

    def made(name: str, layer: Layer) -> Callable[..., Any]:
        def forward(*given: Any, **others: Any) -> Any:
            calls[name].append(Shifts(end))
            return layer.shifted(calls[name][-1], *given, **without_all_states(others))

        return forward

    with evaluating(model), torch.enable_grad():
        with instead(followed, made):
            value = number_of(model(*inputs, **options), of)
        return _flow(value, calls)


def _flow(value: Tensor, calls: dict[str, list[Shifts]]) -> GradientFlow:
    called = {name: each for name, each in calls.items() if each}
    if not called:
        raise InputError(f"the model did not call its recurrent layers: {', '.join(calls)}")
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
        flows += [
            _from_end(label(module, suffix[1:]), np.sqrt(square), suffix.endswith("_reverse"))
            for suffix, square in squares.items()
        ]
    return GradientFlow(value.item(), norms, tuple(flows), _whole(flows))


def _from_end(name: str, norms: Array, reverse: bool) -> Flow:
    """Norms by step, (batch, time), as norms by the number of steps before the end."""
    rows = [row[~np.isnan(row)] for row in norms]
    rows = [row if reverse else row[::-1] for row in rows]
    longest = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), longest), np.nan)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return _measured(name, padded)


def _measured(name: str, norms: Array) -> Flow:
    """The flow of norms by the number of steps before the end."""
    present = norms[norms[:, 0] > 0] if norms.size else norms
    if not len(present):  # no gradient at all
        return Flow(name, norms, np.zeros(norms.shape[1]))
    share = (present / present[:, :1])[:, ~np.isnan(present).all(axis=0)]
    return Flow(name, norms, np.nanmedian(share, axis=0))


def _whole(flows: Sequence[Flow]) -> Flow:
    """The flow of the network of these layers and directions."""
    if len(flows) == 1:
        return flows[0]
    if any(flow.name.endswith("_reverse") for flow in flows):
        forwards, backwards = flows[-2:]
        steps = [flow.steps_left() for flow in (forwards, backwards)]
        longer = steps[1] is None or (steps[0] is not None and steps[1] > steps[0])
        return backwards if longer and steps[0] is not None else forwards
    if len({flow.norms.shape for flow in flows}) > 1:
        return flows[-1]
    squares = [flow.norms**2 for flow in flows]
    return _measured("all layers", np.sqrt(np.sum(squares, axis=0)))
