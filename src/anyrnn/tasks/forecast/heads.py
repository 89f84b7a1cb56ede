"""What a network says of a future value: one number, quantiles, or a normal distribution."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch.nn import functional

_SMALLEST_SCALE = 1e-3


class Head(ABC):
    """The last axis of a network's outputs, `outputs` numbers for each future value."""

    outputs: int

    @abstractmethod
    def finish(
        self, raw: torch.Tensor, level: torch.Tensor, deviation: torch.Tensor
    ) -> torch.Tensor:
        """Outputs for the data as it is, from those for the look-back less its level.

        Args:
            raw: The outputs, (batch, horizon, targets, outputs).
            level, deviation: What was subtracted, and what the rest was divided by.
        """

    @abstractmethod
    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each value."""

    @abstractmethod
    def middle(self, output: torch.Tensor) -> torch.Tensor:
        """The point forecast."""

    @abstractmethod
    def crps(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The continuous ranked probability score of each value, in its unit."""

    def interval(self, output: torch.Tensor, percent: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The ends of the central interval with so many per cent of outcomes."""
        raise NotImplementedError


class PointHead(Head):
    """One number."""

    outputs = 1

    def __init__(self, loss: Literal["mse", "mae"] = "mse") -> None:
        self._loss = loss

    def finish(
        self, raw: torch.Tensor, level: torch.Tensor, deviation: torch.Tensor
    ) -> torch.Tensor:
        """The number itself."""
        return raw * deviation + level

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The squared or the absolute error."""
        error = output[..., 0] - target
        return error.square() if self._loss == "mse" else error.abs()

    def middle(self, output: torch.Tensor) -> torch.Tensor:
        """The number itself."""
        return output[..., 0]

    def crps(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The absolute error."""
        return (output[..., 0] - target).abs()


class QuantileHead(Head):
    """Deciles and the ends of intervals.

    Args:
        intervals: The per cent of outcomes that each interval holds.
    """

    def __init__(self, intervals: Sequence[int]) -> None:
        # In thousandths, so that the same quantile is not there twice.
        wanted = {100 * i for i in range(1, 10)}
        wanted |= {end for percent in intervals for end in (500 - 5 * percent, 500 + 5 * percent)}
        self._thousandths = sorted(wanted)
        self._levels = torch.tensor(self._thousandths) / 1000
        self.outputs = len(wanted)
        borders = [0, *((a + b) / 2 for a, b in pairwise(self._thousandths)), 1000]
        self._weights = torch.tensor(borders).diff() / 1000

    def finish(
        self, raw: torch.Tensor, level: torch.Tensor, deviation: torch.Tensor
    ) -> torch.Tensor:
        """The quantiles, none below a lower one."""
        return (raw * deviation + level).sort(-1).values

    def _pinball(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        error = target[..., None] - output
        levels = self._levels.to(output.device)
        return torch.maximum(levels * error, (levels - 1) * error)

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean pinball loss."""
        return self._pinball(output, target).mean(-1)

    def middle(self, output: torch.Tensor) -> torch.Tensor:
        """The median."""
        return output[..., self._thousandths.index(500)]

    def crps(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Twice the pinball loss, integrated over the quantiles."""
        return 2 * (self._pinball(output, target) * self._weights.to(output.device)).sum(-1)

    def interval(self, output: torch.Tensor, percent: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Two of the quantiles."""
        lower, upper = (self._thousandths.index(500 + sign * 5 * percent) for sign in (-1, 1))
        return output[..., lower], output[..., upper]


class GaussianHead(Head):
    """The mean and the standard deviation of a normal distribution."""

    outputs = 2

    def finish(
        self, raw: torch.Tensor, level: torch.Tensor, deviation: torch.Tensor
    ) -> torch.Tensor:
        """Mean and deviation."""
        scale = functional.softplus(raw[..., 1:]) + _SMALLEST_SCALE
        return torch.cat([raw[..., :1] * deviation + level, scale * deviation], -1)

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The negative logarithm of the density, in nats."""
        z = (target - output[..., 0]) / output[..., 1]
        return 0.5 * z.square() + output[..., 1].log() + 0.5 * math.log(2 * math.pi)

    def middle(self, output: torch.Tensor) -> torch.Tensor:
        """The mean."""
        return output[..., 0]

    def crps(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """In closed form (Gneiting and Raftery 2007, equation 21)."""
        z = (target - output[..., 0]) / output[..., 1]
        below = torch.special.ndtr(z)
        density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
        return output[..., 1] * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))

    def interval(self, output: torch.Tensor, percent: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean and so many deviations to both sides."""
        times = float(torch.special.ndtri(torch.tensor(0.5 + percent / 200)))
        return output[..., 0] - times * output[..., 1], output[..., 0] + times * output[..., 1]
