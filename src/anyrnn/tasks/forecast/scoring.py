"""Measure a network on windows, beside the simple methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
import torch

from anyrnn.tasks.data.batches import Batch, Batches
from anyrnn.tasks.forecast.baselines import (
    ETS,
    LAST,
    SEASONAL,
    Smoothed,
    exponential_smoothing,
    seasonal_naive,
)
from anyrnn.tasks.forecast.heads import Head, PointHead
from anyrnn.tasks.forecast.scales import Scales
from anyrnn.tasks.forecast.scores import (
    Example,
    ForecastScores,
    MethodScore,
    Scaling,
    Tally,
    chance,
    measures,
    standard,
)
from anyrnn.tasks.forecast.windows import Part, batches
from anyrnn.tasks.task import check_finite, steps

if TYPE_CHECKING:
    from anyrnn.tasks.forecast.network import ForecastNetwork
    from anyrnn.tasks.forecast.task import Forecast

BATCH_SIZE = 256
_NETWORK = "network"
_PICTURES = 4
# Exponential smoothing takes a second a target.
_SMOOTHED_TARGETS = 8
_LISTED_TARGETS = 40
_POINT = PointHead()
_ETS_INTERVAL = 80


def score(
    task: Forecast,
    network: ForecastNetwork,
    part: Part,
    scales: Scales,
    check: Callable[[], None],
) -> ForecastScores:
    """Measure a network; see `Task.score`.

    Args:
        task: Its task.
        network: The network, in evaluation mode.
        part: The windows.
        scales: Those of the part's series, in their order.
        check: Called now and then.
    """
    return _Scoring(task, part, scales).run(network, check)


def simple_figures(task: Forecast, part: Part, scales: Scales) -> dict[str, dict[str, float]]:
    """The figures of the methods that need no network, by their names; arguments as of `score`."""
    scoring = _Scoring(task, part, scales)
    for batch in scoring.batches():
        scoring.add(batch, {})
    return {name: tally.figures() for name, tally in scoring.comparison.tallies.items()}


@dataclass
class _Comparison:
    """Ways to forecast the same windows.

    Attributes:
        tensors: What undoes the scaling of each series.
        own_units: Whether errors are told in the unit of the data.
        intervals: The per cent of outcomes of each interval of a network.
        counts: The number of known values of each window.
        tallies: The measures of each way.
        sums: A measure of each way, summed over each window.
    """

    tensors: Mapping[str, torch.Tensor]
    own_units: bool
    intervals: Sequence[int]
    counts: torch.Tensor
    tallies: dict[str, Tally] = field(default_factory=dict)
    sums: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)

    def add(
        self,
        rows: torch.Tensor,
        series: torch.Tensor,
        target: torch.Tensor,
        known: torch.Tensor,
        ways: Mapping[str, tuple[Head, torch.Tensor]],
    ) -> None:
        """Add some windows.

        Args:
            rows: Their numbers.
            series: The series of each.
            target: The truth, scaled, (windows, horizon, targets).
            known: Which values of it are known.
            ways: What each way says of them, scaled, and what its numbers mean.
        """
        scaling = Scaling.of(self.tensors, series, self.own_units)
        self.counts[rows] = known.sum((1, 2)).double().cpu()
        for name, (head, output) in ways.items():
            intervals = () if head is _POINT else self.intervals
            found = measures(head, output.to(target.device), target, scaling, intervals)
            self.tallies.setdefault(name, Tally()).add(found, known)
            for measure in ("mae", "standard_mae", "standard_mse"):
                sums = self.sums.setdefault((name, measure), torch.zeros_like(self.counts))
                sums[rows] = torch.where(known, found[measure], 0).double().sum((1, 2)).cpu()

    def methods(self, overlap: int) -> list[MethodScore]:
        """The figures of each way.

        Args:
            overlap: How many windows on overlap, so that their errors are not independent.
        """
        there = self.counts > 0
        if not there.any():
            return []
        found = []
        for name, tally in self.tallies.items():
            differences = self.sums[_NETWORK, "mae"] - self.sums[name, "mae"]
            differences = differences[there] / self.counts[there]
            equal = None if name == _NETWORK else chance(differences, overlap)
            found.append(MethodScore(name, tally.figures(), equal))
        return found


@dataclass
class _Scoring:
    task: Forecast
    part: Part
    scales: Scales

    def __post_init__(self) -> None:
        options, panel = self.task.options.forecast, self.part.panel
        self.horizon, self.season = options.horizon, self.task.season
        self.intervals = self.task.intervals
        self.arrays = self.scales.arrays(panel, self.task.cycles)
        self.series = self.part.series
        count = max(1, options.backtest or _PICTURES)
        self.chosen = numpy.unique(
            numpy.linspace(0, len(self.part) - 1, min(count, len(self.part))).round().astype(int)
        )
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self.losses = 0.0
        self.comparison = self.compared(len(self.part), len(panel.columns.targets))

    def compared(self, windows: int, targets: int) -> _Comparison:
        """A comparison on so many windows and targets."""
        tensors = {name: each[:, :targets] for name, each in self.scales.tensors().items()}
        counts = torch.zeros(windows, dtype=torch.double)
        return _Comparison(tensors, self.task.own_units, self.intervals, counts)

    def run(self, network: ForecastNetwork, check: Callable[[], None]) -> ForecastScores:
        """Measure a network."""
        for batch, step in steps(self.task, network, self.batches(), check):
            check_finite(step.output)
            self.add(batch, {_NETWORK: (self.task.head, step.output)})
            self.losses += float(step.loss) * step.count
            each = (step.output, batch["target"], batch["observed"])
            for place, row in enumerate(batch.rows.tolist()):
                if row in self.chosen:
                    output, target, known = (values[place].cpu() for values in each)
                    self.kept[row] = (output, target, known)
        return self._scores(check)

    def batches(self) -> Batches:
        """The windows in their order."""
        return batches(self.part, self.arrays, self.task.options, BATCH_SIZE, None)

    def add(self, batch: Batch, ways: Mapping[str, tuple[Head, torch.Tensor]]) -> None:
        """Compare some ways, and the simple methods, on a batch."""
        rows = batch.rows.cpu()
        simple = {name: _as_points(each) for name, each in self._simple(rows.numpy()).items()}
        self.comparison.add(
            rows, batch["series"], batch["target"], batch["observed"], {**ways, **simple}
        )

    def _simple(self, rows: numpy.ndarray) -> dict[str, numpy.ndarray]:
        """The forecasts of the simple methods, scaled, (windows, horizon, targets)."""
        target, origins = self.arrays["target"], self.part.origins[rows]
        found = {LAST: target[origins - 1][:, None].repeat(self.horizon, 1)}
        if self.season > 1:
            starts = self.part.panel.starts[self.series[rows]]
            found[SEASONAL] = seasonal_naive(target, starts, origins, self.horizon, self.season)
        return found

    def _scores(self, check: Callable[[], None]) -> ForecastScores:
        found = self.comparison
        own = found.tallies[_NETWORK]
        names = self.part.panel.columns.targets
        figures = own.figures() | {"loss": self.losses / float(found.counts.sum())}
        smoothed = self._smoothed(check) if self.task.options.forecast.backtest else {}
        # Errors of each target in its own unit: what standardised ones were divided by.
        units = self.scales.deviation[0] if not self.task.own_units else numpy.ones(len(names))
        targets = {
            name: {
                method: value * float(units[i])
                if (value := tally.by_target("mae")[i]) is not None
                else None
                for method, tally in found.tallies.items()
            }
            for i, name in enumerate(names[:_LISTED_TARGETS])
        }
        squares, absolutes = (found.sums[_NETWORK, f"standard_{name}"] for name in ("mse", "mae"))
        return ForecastScores(
            count=len(self.part),
            figures=figures,
            unit=self.task.unit_of_errors,
            methods=found.methods(self.horizon),
            backtest=self._backtest(smoothed),
            backtest_origins=len(self.chosen) if smoothed else 0,
            targets=targets,
            steps={name: tally.by_step("mase") for name, tally in found.tallies.items()},
            intervals={
                str(percent): {
                    "coverage": own.mean(f"inside_{percent}"),
                    "width": own.mean(f"width_{percent}"),
                }
                for percent in self.intervals
            },
            standard=standard(squares, absolutes, found.counts),
            examples=self._examples(smoothed),
        )

    def _smoothed(self, check: Callable[[], None]) -> dict[tuple[int, int], Smoothed]:
        """What exponential smoothing forecasts at the chosen windows, by row and target, scaled."""
        found = {}
        for row in self.chosen.tolist():
            start, origin = self.part.panel.starts[self.series[row]], self.part.origins[row]
            for target in range(min(_SMOOTHED_TARGETS, len(self.part.panel.columns.targets))):
                check()
                key = (id(self.part), row, target)
                if key not in self.task.smoothed:
                    history = self.arrays["target"][start:origin, target].astype(numpy.float64)
                    self.task.smoothed[key] = exponential_smoothing(
                        history, self.horizon, self.season, _ETS_INTERVAL
                    )
                found[row, target] = self.task.smoothed[key]
        return found

    def _backtest(self, smoothed: Mapping[tuple[int, int], Smoothed]) -> list[MethodScore]:
        """The ways, and exponential smoothing, at the chosen windows."""
        if not smoothed:
            return []
        count, rows = 1 + max(target for _, target in smoothed), self.chosen.tolist()
        kept = zip(*(self.kept[row] for row in rows), strict=True)
        output, target, known = (torch.stack(each)[:, :, :count] for each in kept)
        simple = {name: each[:, :, :count] for name, each in self._simple(self.chosen).items()}
        simple[ETS] = numpy.stack(
            [numpy.stack([smoothed[row, i].mean for i in range(count)], 1) for row in rows]
        )
        ways = {name: _as_points(each) for name, each in simple.items()}
        comparison = self.compared(len(rows), count)
        comparison.add(
            torch.arange(len(rows)),
            torch.from_numpy(self.series[self.chosen]),
            target,
            known,
            {_NETWORK: (self.task.head, output), **ways},
        )
        return comparison.methods(0)

    def _examples(self, smoothed: Mapping[tuple[int, int], Smoothed]) -> list[Example]:
        panel, made = self.part.panel, []
        rows = self.chosen[:: max(1, len(self.chosen) // _PICTURES)][:_PICTURES]
        for number, row in enumerate(rows.tolist()):
            target = number % len(panel.columns.targets)
            made.append(self._example(row, target, smoothed.get((row, target))))
        return made

    def _example(self, row: int, target: int, smoothed: Smoothed | None) -> Example:
        panel, origin = self.part.panel, int(self.part.origins[row])
        series = int(self.series[row])
        centre, spread = self.scales.centre[series, target], self.scales.spread[series, target]
        length = min(self.task.options.forecast.steps_read, 3 * self.horizon)
        first = max(int(panel.starts[series]), origin - length)
        output = self.kept[row][0]

        def undone(values: Any) -> list[float]:
            return (numpy.asarray(values, numpy.float64) * spread + centre).tolist()

        head = self.task.head
        forecasts = {_NETWORK: undone(head.middle(output)[:, target])}
        simple = self._simple(numpy.array([row]))
        if SEASONAL in simple:
            forecasts[SEASONAL] = undone(simple[SEASONAL][0, :, target])
        if smoothed is not None:
            forecasts[ETS] = undone(smoothed.mean)
        intervals = {}
        for percent in sorted(self.intervals, reverse=True):
            lower, upper = head.interval(output, percent)
            intervals[str(percent)] = (undone(lower[:, target]), undone(upper[:, target]))
        name = panel.columns.targets[target]
        whose = f"{panel.names[series]}, {name}" if panel.columns.group else name
        return Example(
            f"{whose}, from {panel.time(origin)}",
            [panel.time(step) for step in range(first, origin + self.horizon)],
            _plain(panel.targets[first:origin, target]),
            _plain(panel.targets[origin : origin + self.horizon, target]),
            forecasts,
            intervals,
        )


def _as_points(forecast: numpy.ndarray) -> tuple[Head, torch.Tensor]:
    return _POINT, torch.from_numpy(forecast).float()[..., None]


def _plain(values: Sequence[float] | numpy.ndarray) -> list[float | None]:
    return [None if numpy.isnan(value) else float(value) for value in values]
