"""Measure a network on windows, beside the simple methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
import torch

from anyrnn.errors import RunError
from anyrnn.tasks.batches import Batch, Batches
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
from anyrnn.tasks.task import steps

if TYPE_CHECKING:
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
    network: torch.nn.Module,
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
        for name, found in scoring.simple_measures(batch):
            scoring.tally(name, found, batch["observed"])
    return {name: tally.figures() for name, tally in scoring.tallies.items()}


@dataclass
class _Scoring:
    task: Forecast
    part: Part
    scales: Scales
    tallies: dict[str, Tally] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options, panel = self.task.options.forecast, self.part.panel
        self.horizon, self.season = options.horizon, self.task.season
        self.intervals = self.task.intervals
        self.arrays = self.scales.arrays(panel, self.task.cycles)
        self.tensors = self.scales.tensors()
        self.series = numpy.searchsorted(panel.starts, self.part.origins, side="right") - 1
        count = max(1, options.backtest or _PICTURES)
        self.chosen = numpy.unique(
            numpy.linspace(0, len(self.part) - 1, min(count, len(self.part))).round().astype(int)
        )
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self.squares, self.absolutes, self.counts = torch.zeros(
            3, len(self.part), dtype=torch.double
        )
        self.differences: dict[str, torch.Tensor] = {}
        self.losses = 0.0

    def run(self, network: torch.nn.Module, check: Callable[[], None]) -> ForecastScores:
        """Measure a network."""
        for batch, step in steps(self.task, network, self.batches(), check):
            self._add(batch, step.output)
            self.losses += float(step.loss) * step.count
        return self._scores(check)

    def batches(self) -> Batches:
        """The windows in their order."""
        read = self.task.options.forecast.steps_read
        return batches(self.part, self.arrays, read, self.horizon, BATCH_SIZE, None)

    def simple_measures(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """The names and the measures of the simple methods."""
        scaling = Scaling.of(self.tensors, batch["series"], self.task.own_units)
        for name, forecast in self._simple(batch).items():
            outputs = forecast[..., None].to(batch["target"].device)
            yield name, measures(_POINT, outputs, batch["target"], scaling)

    def tally(self, name: str, found: Mapping[str, torch.Tensor], known: torch.Tensor) -> None:
        """Add the measures of a method."""
        self.tallies.setdefault(name, Tally()).add(found, known)

    def _add(self, batch: Batch, output: torch.Tensor) -> None:
        rows = batch.rows.cpu()
        if not output.isfinite().all():
            raise RunError(
                "the network gives results that are no number: its weights are too large"
            )
        scaling = Scaling.of(self.tensors, batch["series"], self.task.own_units)
        found = measures(self.task.head, output, batch["target"], scaling, self.intervals)
        known = batch["observed"]
        self.tally(_NETWORK, found, known)
        for name, simple in self.simple_measures(batch):
            self.tally(name, simple, known)
            difference = torch.where(known, found["mae"] - simple["mae"], 0).sum((1, 2))
            every = self.differences.setdefault(name, torch.zeros_like(self.counts))
            every[rows] = (difference / known.sum((1, 2)).clamp_min(1)).double().cpu()
        for name, sums in (("standard_mse", self.squares), ("standard_mae", self.absolutes)):
            sums[rows] = torch.where(known, found[name], 0).sum((1, 2)).double().cpu()
        self.counts[rows] = known.sum((1, 2)).double().cpu()
        for place, row in enumerate(rows.tolist()):
            if row in self.chosen:
                self.kept[row] = (
                    output[place].cpu(),
                    batch["target"][place].cpu(),
                    known[place].cpu(),
                )

    def _simple(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The forecasts of the simple methods, scaled."""
        found = {LAST: batch["read"][:, -1:].expand(-1, self.horizon, -1)}
        if self.season > 1:
            found[SEASONAL] = torch.from_numpy(self._seasonal(batch.rows.cpu().numpy()))
        return found

    def _seasonal(self, rows: numpy.ndarray) -> numpy.ndarray:
        starts = self.part.panel.starts[self.series[rows]]
        return seasonal_naive(
            self.arrays["target"], starts, self.part.origins[rows], self.horizon, self.season
        )

    def _scores(self, check: Callable[[], None]) -> ForecastScores:
        own = self.tallies[_NETWORK]
        names = self.part.panel.columns.targets
        figures = own.figures() | {"loss": self.losses / float(self.counts.sum())}
        smoothed = self._smoothed(check) if self.task.options.forecast.backtest else {}
        # Errors of each target in its own unit: what standardised ones were divided by.
        units = self.scales.deviation[0] if not self.task.own_units else numpy.ones(len(names))
        targets = {
            name: {
                method: value * float(units[i])
                if (value := tally.by_target("mae")[i]) is not None
                else None
                for method, tally in self.tallies.items()
            }
            for i, name in enumerate(names[:_LISTED_TARGETS])
        }
        return ForecastScores(
            count=len(self.part),
            figures=figures,
            unit=self.task.unit_of_errors,
            methods=[
                MethodScore(name, tally.figures(), self._chance(name))
                for name, tally in self.tallies.items()
            ],
            backtest=self._backtest(smoothed),
            backtest_origins=len(self.chosen) if smoothed else 0,
            targets=targets,
            steps={name: tally.by_step("mase") for name, tally in self.tallies.items()},
            intervals={
                str(percent): {
                    "coverage": own.mean(f"inside_{percent}"),
                    "width": own.mean(f"width_{percent}"),
                }
                for percent in self.intervals
            },
            standard=standard(self.squares, self.absolutes, self.counts),
            examples=self._examples(smoothed),
        )

    def _chance(self, name: str) -> float | None:
        return chance(self.differences[name], self.horizon) if name in self.differences else None

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
        if not smoothed:
            return []
        count = 1 + max(target for _, target in smoothed)
        tallies: dict[str, Tally] = {}
        errors: dict[str, list[torch.Tensor]] = {}
        for row in self.chosen.tolist():
            output, target, known = (each[None, :, :count] for each in self.kept[row])
            if not known.any():
                continue
            tensors = {name: each[:, :count] for name, each in self.tensors.items()}
            scaling = Scaling.of(tensors, torch.tensor([self.series[row]]), self.task.own_units)
            ways: dict[str, tuple[Head, torch.Tensor]] = {_NETWORK: (self.task.head, output)}
            for name, each in self._simple_at(row, smoothed, count).items():
                ways[name] = (_POINT, torch.from_numpy(each).float()[None, :, :count, None])
            for name, (head, said) in ways.items():
                found = measures(head, said, target, scaling)
                tallies.setdefault(name, Tally()).add(found, known)
                errors.setdefault(name, []).append(found["mae"][known].mean())
        if not tallies:
            return []
        ours = torch.stack(errors.pop(_NETWORK)).double()
        differences = {name: ours - torch.stack(each) for name, each in errors.items()}
        chances = {name: chance(each, 0) for name, each in differences.items()}
        return [
            MethodScore(name, tally.figures(), chances.get(name)) for name, tally in tallies.items()
        ]

    def _simple_at(
        self, row: int, smoothed: Mapping[tuple[int, int], Smoothed], count: int
    ) -> dict[str, numpy.ndarray]:
        """The forecasts of the simple methods at a window, scaled, (horizon, targets)."""
        last = self.arrays["target"][self.part.origins[row] - 1]
        found = {LAST: numpy.tile(last, (self.horizon, 1))}
        if self.season > 1:
            found[SEASONAL] = self._seasonal(numpy.array([row]))[0]
        found[ETS] = numpy.stack([smoothed[row, i].mean for i in range(count)], 1)
        return found

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
        centre = float(self.scales.centre["targets"][series, target])
        spread = float(self.scales.spread["targets"][series, target])
        length = min(self.task.options.forecast.steps_read, 3 * self.horizon)
        first = max(int(panel.starts[series]), origin - length)
        output = self.kept[row][0]

        def undone(values: Any) -> list[float]:
            return (numpy.asarray(values, numpy.float64) * spread + centre).tolist()

        head = self.task.head
        forecasts = {_NETWORK: undone(head.middle(output)[:, target])}
        if self.season > 1:
            forecasts[SEASONAL] = undone(self._seasonal(numpy.array([row]))[0, :, target])
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


def _plain(values: Sequence[float] | numpy.ndarray) -> list[float | None]:
    return [None if numpy.isnan(value) else float(value) for value in values]
