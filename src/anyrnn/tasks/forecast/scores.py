"""How good forecasts are: the measures of each value, and their means over windows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from anyrnn.tasks.forecast.heads import Head
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.task import Scores

MASE = Figure("mase", "MASE", larger_is_better=False)
SMAPE = Figure("smape", "sMAPE", percent=True, larger_is_better=False)
MAE = Figure("mae", "MAE", larger_is_better=False)
RMSE = Figure("rmse", "RMSE", larger_is_better=False)
MSE = Figure("mse", "MSE", larger_is_better=False)
CRPS = Figure("crps", "CRPS", larger_is_better=False)
# Beside these, tables of methods tell RMSE and MSE.
FIGURES = (MASE, SMAPE, MAE, CRPS, LOSS)

_BATCH_OF_PAPERS = 32


@dataclass(frozen=True)
class Scaling:
    """What undoes the scaling of the targets of a batch, (batch, 1, targets) each.

    Attributes:
        centre, spread: See `Scales`.
        deviation: The standard deviation in the training part.
        seasonal: The unit of MASE.
        own_units: Whether errors are told in the unit of the data, not in standard deviations.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    deviation: torch.Tensor
    seasonal: torch.Tensor
    own_units: bool

    @classmethod
    def of(
        cls, tensors: Mapping[str, torch.Tensor], series: torch.Tensor, own_units: bool
    ) -> "Scaling":
        """The scaling of the series of a batch."""
        rows = {name: each.to(series.device)[series][:, None] for name, each in tensors.items()}
        return cls(**rows, own_units=own_units)

    def undone(self, values: torch.Tensor) -> torch.Tensor:
        """Values in the unit of the data."""
        return values * self.spread + self.centre

    @property
    def unit(self) -> torch.Tensor:
        """What an error of scaled values is multiplied with before it is told."""
        return self.spread if self.own_units else self.spread / self.deviation


def measures(
    head: Head,
    output: torch.Tensor,
    target: torch.Tensor,
    scaling: Scaling,
    intervals: Sequence[int] = (),
) -> dict[str, torch.Tensor]:
    """Each measure of each value, (batch, horizon, targets).

    Args:
        head: What the outputs mean.
        output: What was said, of scaled values.
        target: The truth, scaled.
        scaling: What undoes it.
        intervals: The per cent of outcomes of each interval of which coverage is told.
    """
    middle = head.middle(output)
    error = (middle - target).abs()
    truth, forecast = scaling.undone(target), scaling.undone(middle)
    size = (truth.abs() + forecast.abs()).clamp_min(torch.finfo(error.dtype).tiny)
    found = {
        "mae": error * scaling.unit,
        "mse": (error * scaling.unit).square(),
        "mase": error * scaling.spread / scaling.seasonal,
        "smape": 2 * (truth - forecast).abs() / size,
        "crps": head.crps(output, target) * scaling.unit,
        "standard_mae": error * scaling.spread / scaling.deviation,
        "standard_mse": (error * scaling.spread / scaling.deviation).square(),
    }
    for percent in intervals:
        lower, upper = head.interval(output, percent)
        found[f"inside_{percent}"] = ((lower <= target) & (target <= upper)).to(error.dtype)
        found[f"width_{percent}"] = (upper - lower) * scaling.unit
    return found


@dataclass
class Tally:
    """Sums of measures over windows, for each step and target.

    Attributes:
        sums: By measure, (horizon, targets), float64.
        counts: The number of known values.
    """

    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    counts: torch.Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, found: Mapping[str, torch.Tensor], known: torch.Tensor) -> None:
        """Add the measures of a batch.

        Args:
            found: What `measures` gave.
            known: Which values are known, (batch, horizon, targets).
        """
        self.counts = self.counts + known.sum(0).double().cpu()
        for name, values in found.items():
            total = torch.where(known, values, 0).double().sum(0).cpu()
            self.sums[name] = self.sums.get(name, 0) + total

    def mean(self, name: str) -> float:
        """A measure over all steps and targets."""
        return float(self.sums[name].sum() / self.counts.sum())

    def by_step(self, name: str) -> list[float | None]:
        """A measure of each step of the horizon."""
        return _divided(self.sums[name].sum(1), self.counts.sum(1))

    def by_target(self, name: str) -> list[float | None]:
        """A measure of each target."""
        return _divided(self.sums[name].sum(0), self.counts.sum(0))

    def figures(self) -> dict[str, float]:
        """The figures that all methods have."""
        found = {name: self.mean(name) for name in ("mase", "smape", "mae", "mse", "crps")}
        return {**found, "rmse": math.sqrt(found["mse"])}


def _divided(sums: torch.Tensor, counts: torch.Tensor) -> list[float | None]:
    return [
        float(total / count) if count else None for total, count in zip(sums, counts, strict=True)
    ]


@dataclass(frozen=True)
class MethodScore:
    """The figures of one way to forecast.

    Attributes:
        name: Its name.
        figures: Its figures.
        chance: How probable a difference of its MAE to the network's as large as this one would be
            if both were equally good; see `chance`.
    """

    name: str
    figures: dict[str, float]
    chance: float | None = None


@dataclass(frozen=True)
class Example:
    """A forecast beside the truth, for a picture, in the unit of the data.

    Attributes:
        title: Whose forecast it is, and when.
        times: The times of `history` and then of the horizon.
        history: The look-back, or its end; `None` where a value is missing.
        truth: What came.
        forecasts: Of the network and of what it is compared with, by name.
        intervals: The lower and upper ends of each interval of the network, by its per cent.
    """

    title: str
    times: list[str]
    history: list[float | None]
    truth: list[float | None]
    forecasts: dict[str, list[float]]
    intervals: dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class ForecastScores(Scores):
    """The figures of one network on the windows of one part.

    Attributes:
        unit: In what errors are told.
        methods: The network and the simple methods on the same windows, all of them.
        backtest: The same and exponential smoothing at some windows, fitted anew at each.
        backtest_origins: The number of those windows.
        targets: MAE by target and method, in the unit of the target.
        steps: MASE of each step of the horizon, by method.
        intervals: The coverage and the mean width of each interval, by its per cent.
        standard: MSE and MAE of standardised values; also without the last windows that fill no
            batch of 32, as many papers have it.
        examples: Some forecasts.
    """

    unit: str
    methods: list[MethodScore]
    backtest: list[MethodScore]
    backtest_origins: int
    targets: dict[str, dict[str, float | None]]
    steps: dict[str, list[float | None]]
    intervals: dict[str, dict[str, float]]
    standard: dict[str, float]
    examples: list[Example]

    def verdict(self) -> list[str]:
        """Whether the network is better than the simple methods, in words."""
        network, *others = self.methods
        lines = [_compared(network, other, f"{self.count:,} windows") for other in others]
        if self.backtest:
            ours, theirs = self.backtest[0], self.backtest[-1]
            lines.append(_compared(ours, theirs, f"{self.backtest_origins} of them"))
        return lines


_SURE = 0.05


def _compared(network: MethodScore, other: MethodScore, where: str) -> str:
    ours, theirs = network.figures["mae"], other.figures["mae"]
    figures = f"MAE {ours:.4g} against {theirs:.4g} over {where}"
    if other.chance is not None and other.chance > _SURE:
        return (
            f"not better than {other.name} beyond chance: {figures}; equally good forecasts would "
            f"differ as much with a probability of {other.chance:.2f}"
        )
    if ours < theirs:
        return f"better than {other.name} by {100 * (1 - ours / theirs):.0f} %: {figures}"
    return f"not better than {other.name}: {figures}"


def chance(differences: torch.Tensor, horizon: int) -> float:
    """The two-sided p-value of the test of Diebold and Mariano (1995) for equal mean errors.

    Args:
        differences: The error of one forecast less that of another at each window, in the order of
            time; windows that overlap are not independent, so their covariances are counted, too
            (with Bartlett's weights).
        horizon: The number of steps of a window.
    """
    count = len(differences)
    centred = differences - differences.mean()
    variance = centred.square().mean()
    for lag in range(1, min(horizon + 1, count)):
        weight = 1 - lag / (horizon + 1)
        variance = variance + 2 * weight * (centred[lag:] * centred[:-lag]).sum() / count
    if variance <= 0:
        return 1.0
    return float(torch.special.erfc(differences.mean().abs() / (2 * variance / count).sqrt()))


def standard(
    squares: torch.Tensor, absolutes: torch.Tensor, counts: torch.Tensor
) -> dict[str, float]:
    """The published protocols, from sums of each window, in the order of time."""
    found: dict[str, Any] = {}
    whole = len(counts) // _BATCH_OF_PAPERS * _BATCH_OF_PAPERS
    for suffix, last in (("", len(counts)), ("_whole_batches", whole)):
        total = counts[:last].sum()
        if total:
            found[f"mse{suffix}"] = float(squares[:last].sum() / total)
            found[f"mae{suffix}"] = float(absolutes[:last].sum() / total)
    return found
