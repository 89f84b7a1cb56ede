"""Scales of columns, learned from the training part alone, and the arrays that networks read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy
import torch

from anyrnn.errors import DataError
from anyrnn.tasks.data.frequency import Cycle, calendar
from anyrnn.tasks.forecast.columns import Columns
from anyrnn.tasks.forecast.panel import Panel

_ARRAYS = ("centre", "spread", "deviation", "seasonal")
# The quartiles of a normal distribution are so many deviations apart.
_QUARTILES_APART = 1.349
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Scales:
    """The scale of each column of each series.

    Attributes:
        names: The names of the series.
        centre, spread: What is subtracted from each column of a panel, and what it is divided by,
            (series, columns).
        deviation: The standard deviation of each target, (series, targets); 1 if it is constant.
        seasonal: The unit of MASE; see `_unit_of_mase`.
    """

    names: list[str]
    centre: numpy.ndarray
    spread: numpy.ndarray
    deviation: numpy.ndarray
    seasonal: numpy.ndarray

    @classmethod
    def of(
        cls,
        panel: Panel,
        ends: numpy.ndarray,
        season: int,
        scaling: Literal["standard", "robust", "none"],
    ) -> Self:
        """The scales of a panel.

        Args:
            panel: The series.
            ends: The step of each series up to which values count.
            season: The number of steps of a season.
            scaling: The kind.
        """
        count = len(panel.columns.targets)
        found: list[tuple[numpy.ndarray, ...]] = []
        for number, end in enumerate(ends):
            values = panel.values[panel.starts[number] : end]
            _, deviation = _scale(values[:, :count], "standard")
            seasonal = _unit_of_mase(values[:, :count], season, deviation)
            found.append((*_scale(values, scaling), deviation, seasonal))
        return cls(panel.names, *map(numpy.stack, zip(*found, strict=True)))

    def state(self) -> dict[str, Any]:
        """The scales as JSON knows them."""
        return {"names": self.names} | {name: getattr(self, name).tolist() for name in _ARRAYS}

    @classmethod
    def restored(cls, state: Mapping[str, Any], columns: Columns) -> Self:
        """The scales that `state` gave.

        Raises:
            TypeError, ValueError: They are no scales of these columns.
        """
        names = list(state["names"])
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a series has a name that is no text")
        values, targets = len(columns.values), len(columns.targets)
        widths = dict(zip(_ARRAYS, (values, values, targets, targets), strict=True))
        arrays = (
            numpy.asarray(state[name], numpy.float64).reshape(len(names), width)
            for name, width in widths.items()
        )
        return cls(names, *arrays)

    def of_series(self, names: Sequence[str], others: "Scales | None" = None) -> "Scales":
        """The scales of series in another order.

        Args:
            names: Their names.
            others: The scales of those of them that are not known, by the same names.
        """
        every = [*(others.names if others else ()), *self.names]
        number_of = {name: number for number, name in enumerate(every)}
        rows = [number_of[name] for name in names]
        arrays = (
            numpy.concatenate([*([getattr(others, name)] if others else ()), getattr(self, name)])
            for name in _ARRAYS
        )
        return Scales(list(names), *(each[rows] for each in arrays))

    def scaled(self, panel: Panel) -> numpy.ndarray:
        """The columns of a panel, scaled, (steps, columns); NaN where missing."""
        sizes = numpy.diff(panel.starts)
        centre, spread = (numpy.repeat(each, sizes, axis=0) for each in (self.centre, self.spread))
        return (panel.values - centre) / spread

    def arrays(self, panel: Panel, cycles: Sequence[Cycle]) -> dict[str, numpy.ndarray]:
        """What windows are cut from.

        Args:
            panel: The series, in the order of the scales.
            cycles: The periods of the calendar that are read.

        Returns:
            For each step: `target`, whether it is `observed`, `features` (all covariates) and
            `known` (those known in advance). What is missing is the last value before, or 0.
        """
        count = len(panel.columns.targets)
        values = carried(panel, self.scaled(panel)).astype(numpy.float32)
        times = (calendar(panel.times, [name]).astype(numpy.float32) for name in cycles)
        features = numpy.concatenate([values[:, count:], *times], 1)
        return {
            "target": numpy.ascontiguousarray(values[:, :count]),
            "observed": ~numpy.isnan(panel.targets),
            "features": features,
            "known": features[:, len(panel.columns.past) :],
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """What undoes the scaling of targets, (series, targets) each."""
        count = self.deviation.shape[1]
        return {name: torch.from_numpy(getattr(self, name)[:, :count]).float() for name in _ARRAYS}


def carried(panel: Panel, values: numpy.ndarray) -> numpy.ndarray:
    """Values in which the last one of the same series stands for a missing one; 0 if none was."""
    if not numpy.isnan(values).any():
        return values
    steps = numpy.arange(len(values))[:, None]
    starts = numpy.repeat(panel.starts[:-1], numpy.diff(panel.starts))[:, None]
    last = numpy.maximum.accumulate(numpy.where(numpy.isnan(values), starts, steps), axis=0)
    return numpy.nan_to_num(numpy.take_along_axis(values, last, axis=0))


def check_targets(panel: Panel, ends: numpy.ndarray) -> None:
    """Refuse targets from whose training part nothing can be learned.

    Raises:
        DataError: A target has no value there, or none varies.
    """
    constant: list[str] = []
    for number, end in enumerate(ends):
        values = panel.targets[panel.starts[number] : end]
        for column, name in enumerate(panel.columns.targets):
            known = values[:, column][~numpy.isnan(values[:, column])]
            if not len(known):
                raise DataError(
                    f"{panel.label}: {name!r} has no value in the training part of "
                    f"{panel.series(number)}, until {panel.time(int(end) - 1)}"
                )
            if known.min() == known.max():
                constant.append(f"always {known[0]:g}")
    if len(constant) == len(ends) * len(panel.columns.targets):
        raise DataError(
            f"{panel.label}: {panel.columns.targets[0]!r} is {constant[0]} in the training part; "
            "there is nothing to learn"
        )


def _scale(values: numpy.ndarray, scaling: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The centre and the spread of each column; of a constant one, 1."""
    count = values.shape[1]
    if scaling == "none":
        return numpy.zeros(count), numpy.ones(count)
    centre, spread = numpy.zeros(count), numpy.ones(count)
    for column in range(count):
        known = values[:, column][~numpy.isnan(values[:, column])]
        if not len(known):
            continue
        if scaling == "robust":
            low, centre[column], high = numpy.quantile(known, (0.25, 0.5, 0.75))
            width = (high - low) / _QUARTILES_APART or known.std()
        else:
            centre[column], width = known.mean(), known.std()
        # The deviation of equal numbers may not be quite 0.
        if known.min() < known.max() and width > 0:
            spread[column] = width
    return centre, spread


def _unit_of_mase(targets: numpy.ndarray, season: int, deviation: numpy.ndarray) -> numpy.ndarray:
    """The mean absolute difference of each target over a season; if a season repeats itself, from
    step to step; if that is 0, too, the deviation.
    """
    unit = deviation
    for lag in (1, season):
        if len(targets) > lag:
            found = _means(numpy.abs(targets[lag:] - targets[:-lag]))
            # What is left of equal numbers by rounding is no difference.
            unit = numpy.where(found > _ROUNDING * deviation, found, unit)
    return unit


def _means(values: numpy.ndarray) -> numpy.ndarray:
    """The mean of each column's known values; 0 if there is none."""
    known = ~numpy.isnan(values)
    return numpy.where(known, values, 0).sum(0) / numpy.maximum(1, known.sum(0))
