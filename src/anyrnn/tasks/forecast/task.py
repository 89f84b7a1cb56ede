"""Forecasting as a task."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy
import pandas
import pydantic
import torch

from anyrnn.errors import DataError, OptionError, RunError, option_name
from anyrnn.tasks.data.batches import Batch, Batches
from anyrnn.tasks.data.columns import listing
from anyrnn.tasks.data.frequency import Cycle, Frequency, cycles
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.forecast.baselines import Smoothed
from anyrnn.tasks.forecast.columns import Columns
from anyrnn.tasks.forecast.data import data_of, table
from anyrnn.tasks.forecast.heads import GaussianHead, Head, PointHead, QuantileHead
from anyrnn.tasks.forecast.network import ForecastNetwork, Sizes
from anyrnn.tasks.forecast.options import DataOptions, Options, PredictOptions, check
from anyrnn.tasks.forecast.panel import panel
from anyrnn.tasks.forecast.prediction import forecast_frame
from anyrnn.tasks.forecast.report import pictures, tables
from anyrnn.tasks.forecast.scales import Scales, check_targets
from anyrnn.tasks.forecast.scores import FIGURES, ForecastScores, Scaling, measures
from anyrnn.tasks.forecast.scoring import BATCH_SIZE, score, simple_figures
from anyrnn.tasks.forecast.windows import GIVEN, Part, batches, origins
from anyrnn.tasks.options.declaration import replaced
from anyrnn.tasks.run_files import CONFIG, check_free, write_text
from anyrnn.tasks.task import Metric, ScoreTable, Step, Task, steps

_CONTEXT = "context.csv"


@dataclass(frozen=True)
class Forecast(Task[Options, Part, ForecastNetwork]):
    """One or many series of numbers, and their next values.

    Attributes:
        options: What the user chose.
        columns: Which column has which role.
        frequency: The step of time.
        season: The number of steps of a season; 1 for none.
        cycles: The periods of the calendar that are read.
        gaps: Whether the network is told which targets are missing.
        scales: The scale of each column of each series.
        context: The end of the training data, from which the network forecasts.
        smoothed: What exponential smoothing said of windows of the test part.
    """

    name = "forecast"
    options_type = Options
    title = "forecast"
    unit = "window"
    units = "windows"
    figures = FIGURES
    template = "forecast.html"

    options: Options
    columns: Columns
    frequency: Frequency
    season: int
    cycles: list[Cycle]
    gaps: bool
    scales: Scales
    context: str
    smoothed: dict[tuple[int, int, int], Smoothed] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read the table and split each series by time."""
        check(options)
        return data_of(table(options.data), options)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Learn the scales from the training part."""
        made, frequency = training.panel, training.panel.frequency
        lengths = training.borders - made.starts[:-1]
        season = options.forecast.season or frequency.season
        if options.forecast.season is None and season * 2 > lengths.max():
            season = 1
        number = int(lengths.argmax())
        first, last = made.times[[made.starts[number], training.borders[number] - 1]]
        found = cycles(frequency, int(last - first)) if options.forecast.calendar else []
        check_targets(made, training.borders)
        scales = Scales.of(made, training.borders, season, options.forecast.scaling)
        inside = numpy.concatenate(
            [numpy.arange(a, b) for a, b in zip(made.starts, training.borders, strict=False)]
        )
        read = options.forecast.steps_read
        noted(
            f"look-back: {read} steps, horizon: {options.forecast.horizon}; season: "
            f"{season if season > 1 else 'none'}; calendar: {', '.join(found) or 'none'}"
        )
        begin = numpy.maximum(made.starts[:-1], made.ends - max(read, season) - 1)
        context = made.rows(begin, made.starts[1:]).to_csv(index=False)
        gaps = bool(numpy.isnan(made.targets[inside]).any())
        return cls(options, made.columns, frequency, season, found, gaps, scales, context)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the scales and the end of the data of a run."""
        try:
            columns = _checked(Columns, state["columns"])
            if not columns.targets:
                raise ValueError("nothing is forecast")
            return cls(
                options,
                columns,
                _checked(Frequency, state["frequency"]),
                _checked(pydantic.PositiveInt, state["season"]),
                _checked(list[Cycle], state["cycles"]),
                _checked(bool, state["gaps"]),
                Scales.restored(state["scales"], columns),
                (run / _CONTEXT).read_text(encoding="utf-8"),
            )
        except OSError as error:
            raise RunError(f"the run is damaged: {error.filename}: {error.strerror}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise RunError(
                f"the run is damaged: {run / CONFIG} describes no series: {reason}"
            ) from None

    def state(self) -> dict[str, Any]:
        """Columns, step, season, calendar and scales."""
        return {
            "columns": asdict(self.columns),
            "frequency": asdict(self.frequency),
            "season": self.season,
            "cycles": self.cycles,
            "gaps": self.gaps,
            "scales": self.scales.state(),
        }

    def files(self) -> dict[str, str]:
        """The end of the training data."""
        return {_CONTEXT: self.context}

    @property
    def head(self) -> Head:
        """What the network says of a value."""
        model = self.options.model
        if model.head == "quantile":
            return QuantileHead(self.options.forecast.intervals)
        if model.head == "gaussian":
            return GaussianHead()
        return PointHead(model.point_loss, self.intervals)

    @property
    def intervals(self) -> tuple[int, ...]:
        """The per cent of outcomes of each interval, the narrowest first."""
        return tuple(sorted(set(self.options.forecast.intervals)))

    @property
    def own_units(self) -> bool:
        """Whether errors are told in the unit of the data: those of several targets are not."""
        return len(self.columns.targets) == 1

    @property
    def unit_of_errors(self) -> str:
        """In what errors are told."""
        if self.own_units:
            return f"the unit of {self.columns.targets[0]!r}"
        return "standard deviations of each target in its training part"

    def network(self, cell: str) -> ForecastNetwork:
        """A network of the chosen form."""
        known = len(self.columns.future) + 2 * len(self.cycles)
        sizes = Sizes(
            self.options.forecast.steps_read,
            self.options.forecast.horizon,
            len(self.columns.targets),
            len(self.columns.past) + known,
            known,
            self.gaps,
        )
        return ForecastNetwork(cell, sizes, self.options.model, self.head)

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Windows."""
        arrays = self.scales.of_series(part.panel.names).arrays(part.panel, self.cycles)
        return batches(part, arrays, self.options, batch_size, seed)

    def step(self, network: ForecastNetwork, batch: Batch, carried: Any = None) -> Step:
        """The loss of the head, over the known values."""
        read = network.training and self.options.model.decoding == "recursive"
        output = network(*(batch[name] for name in GIVEN), batch["target"] if read else None)
        known = batch["observed"]
        count = int(known.sum())
        losses = self.head.loss(output, batch["target"])
        return Step.mean_of(torch.where(known, losses, 0), count, output)

    def metrics(self) -> dict[str, Metric]:
        """Means of all measures."""
        from torchmetrics import MeanMetric

        return {figure.name: MeanMetric() for figure in FIGURES if figure.of_loss is None}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update them."""
        if not step.count:
            return
        scaling = Scaling.of(self.scales.tensors(), batch["series"], self.own_units)
        found = measures(self.head, step.output, batch["target"], scaling)
        for name, metric in metrics.items():
            metric.update(found[name][batch["observed"]].mean(), step.count)

    def calibrate(
        self, network: ForecastNetwork, validation: Part, check: Callable[[], None]
    ) -> None:
        """Give a point's intervals the widths of its errors on the validation part."""
        if not isinstance(self.head, PointHead):
            return
        errors = [
            torch.where(
                batch["observed"], (step.output[..., 0] - batch["target"]).abs(), torch.nan
            ).cpu()
            for batch, step in steps(
                self, network, self.batches(validation, BATCH_SIZE, None), check
            )
        ]
        widths = self.head.widths(torch.cat(errors))
        network.load_state_dict({"widths": widths}, strict=False)

    def score(
        self, network: ForecastNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> ForecastScores:
        """Measure forecasts beside those of simple methods."""
        return score(self, network, part, self.scales.of_series(part.panel.names), check)

    def baselines(self, data: Data[Part]) -> dict[str, dict[str, float]]:
        """Repeating the last value, and the last season."""
        _, part = data.measured
        return simple_figures(self, part, self.scales.of_series(part.panel.names))

    def tables(self, scores: ForecastScores) -> list[ScoreTable]:
        """The simple methods, and how many outcomes the intervals hold."""
        return tables(scores)

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read a table of the same series; every window in it is measured."""
        part = self.part_of(table(options, self.columns), options)
        return part, dict(part.panel.found)

    def part_of(self, known: Table, options: DataOptions | None = None) -> Part:
        """Every window of series that the run knows.

        Args:
            known: A table.
            options: How it is read, if not as in the training.

        Raises:
            DataError: It cannot be used, has other series, or is too short.
        """
        options = options or replaced(self.options.data, until=None)
        made = panel(known, options, columns=self.columns, frequency=self.frequency)
        for name in made.names:
            if name not in self.scales.names:
                raise DataError(
                    f"{made.label} has the series {name!r}, which the run does not know; it knows "
                    f"{listing(self.scales.names)}"
                )
        forecast = self.options.forecast
        read, horizon = forecast.steps_read, forecast.horizon
        found = origins(made, made.starts[:-1], made.ends, read, horizon)
        if not len(found):
            longest = int((made.ends - made.starts[:-1]).max())
            raise DataError(
                f"{made.label}: the longest series has {longest} steps, but {read + horizon} are "
                f"needed: a look-back of {read} and a horizon of {horizon}"
            )
        return Part(made, found, made.ends)

    def predict(self, network: ForecastNetwork, inputs: Any = None) -> pandas.DataFrame:
        """The steps after the end of each series.

        Args:
            network: The network.
            inputs: A data frame like that of the training, or the path of such a table; without
                any, the end of the training data. Future covariates reach beyond the last target.

        Returns:
            The columns of series and times (without times: `step`, from 1), and for each target its
            forecast under its own name and the ends of the intervals (`y-lo-80`, `y-hi-80`).

        Raises:
            DataError: It cannot be used, a series is too short, or a future covariate ends too
                early.
        """
        return forecast_frame(self, network, inputs)

    def answers(
        self, network: ForecastNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """A row for each series and step; with `output`, they are written to that file instead."""
        if options.output and options.output.suffix not in (".csv", ".jsonl"):
            raise OptionError(
                f"{option_name('output')} is {options.output}, but has to end in .csv or .jsonl"
            )
        if options.output:
            check_free(options.output, options.overwrite)
        frame = self.predict(network, options.data)
        if options.output is None:
            yield from _rows(frame)
        elif options.output.suffix == ".csv":
            write_text(options.output, frame.to_csv(index=False))
        else:
            lines = (json.dumps(row, ensure_ascii=False) for row in _rows(frame))
            write_text(options.output, "".join(f"{line}\n" for line in lines))

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """Forecasts with intervals, errors by step, simple methods, and a verdict in words."""
        return pictures(results)


def _checked(kind: Any, value: Any) -> Any:
    """A value of a run, of the type that it has to have; `ValueError` if it is of another."""
    return pydantic.TypeAdapter(kind).validate_python(value)


def _rows(frame: pandas.DataFrame) -> Iterator[dict[str, object]]:
    """The rows of a frame as JSON knows them."""
    dates = frame.select_dtypes("datetime")
    frame = frame.assign(**{name: dates[name].astype(str) for name in dates})
    for row in frame.to_dict("records"):
        yield {str(name): _short(value) for name, value in row.items()}


def _short(value: Any) -> Any:
    """A number with ten digits behind the point, or ten in all if it is small."""
    if not isinstance(value, float):
        return value
    return round(value, 10) if abs(value) >= 1 else float(f"{value:.10g}")
