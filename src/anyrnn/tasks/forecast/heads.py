"""What a network says of a future value: one number, quantiles, or a normal distribution."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch.nn import functional

_SMALLEST_SCALE = 1e-3
_PATHS = 20
# How many values stand for a distribution in a mixture.
_SHARES = 50


class Head(ABC):
    """The last axis of a network's outputs, `outputs` numbers for each future value.

    Attributes:
        outputs: The number of them.
        paths: How many paths a recursive forecast draws.
    """

    outputs: int
    paths: int

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

    @abstractmethod
    def interval(self, output: torch.Tensor, percent: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The ends of the central interval with so many per cent of outcomes."""

    @abstractmethod
    def drawn(self, raw: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        """The quantile of each distribution, less its level, (...): a draw, if the probability is
        drawn uniformly.

        Args:
            raw: The raw outputs.
            probability: That of each, (...), between 0 and 1.
        """

    @abstractmethod
    def mixed(self, raw: torch.Tensor) -> torch.Tensor:
        """The raw outputs for a mixture, from those of its parts, (parts, ..., outputs)."""


class PointHead(Head):
    """One number; its intervals are as wide as the errors on the validation part.

    Conformal prediction (Vovk, Gammerman and Shafer 2005): of the absolute errors at a step of the
    horizon, an interval's half width is the quantile.

    Args:
        loss: The squared or the absolute error.
        intervals: The per cent of outcomes that each interval holds.
    """

    outputs = 1
    paths = 1

    def __init__(self, loss: Literal["mse", "mae"] = "mse", intervals: Sequence[int] = ()) -> None:
        self._loss = loss
        self.intervals = tuple(intervals)

    def widths(self, errors: torch.Tensor) -> torch.Tensor:
        """Half the width of each interval, (horizon, targets, intervals).

        Args:
            errors: The absolute errors, (windows, horizon, targets); NaN where the truth is not
                known.
        """
        ordered = errors.sort(0).values  # NaN at last
        counts = (~errors.isnan()).sum(0)
        found = []
        for percent in self.intervals:
            # Of n + 1 exchangeable errors the new one is as likely at each rank.
            rank = torch.ceil((counts + 1) * percent / 100).long().minimum(counts) - 1
            width = ordered.gather(0, rank.clamp_min(0)[None])[0]
            found.append(width.where(counts > 0, errors.nan_to_num(0).max()))
        return torch.stack(found, -1)

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

    def interval(self, output: torch.Tensor, percent: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The number and the width, which stands after it, to both sides."""
        width = output[..., 1 + self.intervals.index(percent)]
        return output[..., 0] - width, output[..., 0] + width

    def drawn(self, raw: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        """The number itself."""
        return raw[..., 0]

    def mixed(self, raw: torch.Tensor) -> torch.Tensor:
        """The only part."""
        return raw[0]


class QuantileHead(Head):
    """Deciles and the ends of intervals.

    Args:
        intervals: The per cent of outcomes that each interval holds.
    """

    paths = _PATHS

    def __init__(self, intervals: Sequence[int]) -> None:
        # In thousandths, so that the same quantile is not there twice.
        wanted = {100 * i for i in range(1, 10)}
        wanted |= {end for percent in intervals for end in (500 - 5 * percent, 500 + 5 * percent)}
        self._thousandths = sorted(wanted)
        self._levels = torch.tensor([level / 1000 for level in self._thousandths])
        self.outputs = len(wanted)
        borders = [0, *((a + b) / 2 for a, b in pairwise(self._thousandths)), 1000]
        self._weights = torch.tensor([(b - a) / 1000 for a, b in pairwise(borders)])

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

    def drawn(self, raw: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        """By the quantile function."""
        return self._at(raw, probability[..., None])[..., 0]

    def mixed(self, raw: torch.Tensor) -> torch.Tensor:
        """Quantiles of values that stand for equal shares of each part."""
        shares = (torch.arange(_SHARES, device=raw.device, dtype=raw.dtype) + 0.5) / _SHARES
        values = self._at(raw, shares.expand(*raw.shape[:-1], _SHARES))
        every = values.movedim(0, -2).flatten(-2).sort(-1).values
        place = self._levels.to(raw) * every.shape[-1] - 0.5
        place = place.clamp(0, every.shape[-1] - 1)
        lower, upper = every[..., place.floor().long()], every[..., place.ceil().long()]
        return lower + (upper - lower) * place.frac()

    def _at(self, raw: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """The quantile function at shares, (..., shares): straight between the quantiles, and on
        beyond the outermost ones.
        """
        ordered, levels = raw.sort(-1).values, self._levels.to(raw)
        upper = torch.searchsorted(levels, shares.contiguous()).clamp(1, self.outputs - 1)
        below, above = ordered.gather(-1, upper - 1), ordered.gather(-1, upper)
        first, last = levels[upper - 1], levels[upper]
        return below + (above - below) * (shares - first) / (last - first)


class GaussianHead(Head):
    """The mean and the standard deviation of a normal distribution."""

    outputs = 2
    paths = _PATHS

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

    def drawn(self, raw: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        """By the quantile function of the normal distribution."""
        return raw[..., 0] + functional.softplus(raw[..., 1]) * torch.special.ndtri(probability)

    def mixed(self, raw: torch.Tensor) -> torch.Tensor:
        """The moments of the mixture."""
        mean, scale = raw[..., 0], functional.softplus(raw[..., 1])
        variance = scale.square().mean(0) + mean.var(0, correction=0)
        deviation = variance.sqrt().clamp_min(1e-6)
        # The inverse of softplus, which is applied later.
        return torch.stack([mean.mean(0), deviation + torch.log(-torch.expm1(-deviation))], -1)
