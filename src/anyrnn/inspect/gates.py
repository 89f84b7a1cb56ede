"""The values that a cell's equations name at every step, and how saturated its gates are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anyrnn.inspect.calls import (
    Labels,
    called_only,
    evaluating,
    instead,
    joined,
    layers_of,
    without_all_states,
)
from anyrnn.inspect.limits import Limits, limits_of
from anyrnn.kernels.run import Array
from anyrnn.torch.layer import Layer
from anyrnn.torch.shifts import laid_out, row_numbers
from anyrnn.transforms import outputs as state_outputs

_NEAR = 0.1  # of what limits allow around their middle, how near is saturated


@dataclass(frozen=True)
class Saturation:
    """How often a value is so near to a limit that hardly any gradient goes through it.

    Attributes:
        low: The share of values near the lower limit: below 0.1 of a sigmoid, below -0.9 of a tanh,
            0 of a relu.
        high: The share near the upper limit: above 0.9.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Gates:
    """Every value that the equations name.

    Attributes:
        values: By name, such as `f` or `f_l1_reverse`, (batch, time, size); NaN at steps that do
            not count.
        limits: By name, the limits of those values that are activations.
    """

    values: dict[str, Array]
    limits: dict[str, Limits]

    @property
    def gates(self) -> list[str]:
        """The names of the values between 0 and 1."""
        return [name for name, limits in self.limits.items() if limits.is_gate]

    @property
    def saturation(self) -> dict[str, Saturation]:
        """By name, how saturated each value is that has limits."""
        return {name: _saturation(self.values[name], each) for name, each in self.limits.items()}


def _saturation(values: Array, limits: Limits) -> Saturation:
    present = values[~np.isnan(values)]
    if not len(present):
        return Saturation(float("nan"), float("nan"))
    if np.isinf([limits.low, limits.high]).any():
        low, high = present <= limits.low, present >= limits.high
    else:
        # a sigmoid is as near at 0.1 as a tanh at -0.9
        near = _NEAR * (limits.high - limits.low) * (0.5 if limits.activation == "tanh" else 1)
        low, high = present < limits.low + near, present > limits.high - near
    return Saturation(float(low.mean()), float(high.mean()))


def gates(
    model: nn.Module,
    *inputs: Any,
    layers: Sequence[str] | None = None,
    calls: int | None = None,
    **options: Any,
) -> Gates:
    """Every value that the equations of a model's cells name, at every step: gates, candidates, new
    states.

    The model runs once, in evaluation mode; the cells run a second time, as compiled code of their
    own that also outputs these values.

    Args:
        model: A recurrent layer, or any module with such layers in it.
        *inputs: What the model is called with.
        layers: The names of the recurrent layers in the model to look at; all of them by default.
        calls: How many calls of each layer are looked into, where a model calls it several times,
            as a decoder does; those after them run as usual. All of them by default.
        **options: What else the model is called with.

    Returns:
        The values, and between which limits activations keep them.

    Raises:
        InputError: The model has no such layer, or does not call it.

    Example:
        >>> import torch
        >>> from anyrnn.inspect import gates
        >>> from anyrnn.torch import LSTM
        >>> found = gates(LSTM(3, 5), torch.randn(7, 2, 3))
        >>> found.gates, found.values["f"].shape
        (['i', 'f', 'o'], (2, 7, 5))
    """
    followed = layers_of(model, layers)
    met: dict[str, list[dict[tuple[str, str], Tensor]]] = {name: [] for name in followed}
    limits: dict[tuple[str, str, str], Limits] = {}

    def made(name: str, layer: Layer) -> Callable[..., Any]:
        usual = layer.forward

        def forward(*given: Any, **others: Any) -> Any:
            marks = without_all_states(others)
            marks.pop("padding", None)
            rows, parts = layer.named_values(*given, **marks)
            numbers, found = row_numbers(rows), {}
            for part, values in parts:
                nodes = state_outputs.values(part.cell)
                for value, tensor in values.items():
                    found[value, part.suffix] = laid_out(tensor.flatten(0, -2), numbers)
                    if known := limits_of(nodes[value]):
                        limits[name, value, part.suffix] = known
            met[name].append(found)
            return usual(*given, **others)

        return forward

    with evaluating(model), torch.no_grad(), instead(followed, made, calls):
        model(*inputs, **options)
    called = called_only(met)
    label, values, known = Labels(len(called) > 1), {}, {}
    for module, each in called.items():
        several = len({suffix for _, suffix in each[0]}) > 1
        for value, suffix in each[0]:
            name = label(module, value, suffix * several)
            values[name] = joined([call[value, suffix] for call in each]).cpu().numpy()
            if (module, value, suffix) in limits:
                known[name] = limits[module, value, suffix]
    return Gates(values, known)
