"""Scales of columns, learned from the training part alone, and the arrays that networks read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy
import torch

from anyrnn.errors import DataError
from anyrnn.tasks.forecast.frequency import calendar
from anyrnn.tasks.forecast.panel import Panel

_ROLES = ("targets", "past", "future")
# The quartiles of a normal distribution are so many deviations apart.
_QUARTILES_APART = 1.349
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Scales:
    """The scale of each column of each series.

    Attributes:
        names: The names of the series.
        centre, spread: By role (targets, past, future): what is subtracted from a column, and what
            it is divided by, (series, columns).
        deviation: The standard deviation of each target, (series, targets); 1 if it is constant.
        seasonal: The unit of MASE; see `_unit_of_mase`.
    """

    names: list[str]
    centre: dict[str, numpy.ndarray]
    spread: dict[str, numpy.ndarray]
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
        centre: dict[str, list[Any]] = {role: [] for role in _ROLES}
        spread: dict[str, list[Any]] = {role: [] for role in _ROLES}
        deviation, seasonal = [], []
        for number, end in enumerate(ends):
            steps = slice(panel.starts[number], end)
            for role in _ROLES:
                values = getattr(panel, role)[steps]
                middle, width = _scale(values, scaling)
                centre[role].append(middle)
                spread[role].append(width)
            targets = panel.targets[steps]
            deviation.append(_scale(targets, "standard")[1])
            seasonal.append(_unit_of_mase(targets, season, deviation[-1]))
        return cls(
            panel.names,
            {role: numpy.stack(each) for role, each in centre.items()},
            {role: numpy.stack(each) for role, each in spread.items()},
            numpy.stack(deviation),
            numpy.stack(seasonal),
        )

    def state(self) -> dict[str, Any]:
        """The scales as JSON knows them."""
        return {
            "names": self.names,
            "centre": {role: each.tolist() for role, each in self.centre.items()},
            "spread": {role: each.tolist() for role, each in self.spread.items()},
            "deviation": self.deviation.tolist(),
            "seasonal": self.seasonal.tolist(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """The scales that `state` gave."""

        def array(values: Any) -> numpy.ndarray:
            return numpy.asarray(values, numpy.float64).reshape(len(state["names"]), -1)

        return cls(
            list(state["names"]),
            {role: array(state["centre"][role]) for role in _ROLES},
            {role: array(state["spread"][role]) for role in _ROLES},
            array(state["deviation"]),
            array(state["seasonal"]),
        )

    def of_series(self, names: Sequence[str], others: "Scales | None" = None) -> "Scales":
        """The scales of series in another order.

        Args:
            names: Their names.
            others: The scales of those of them that are not known, by the same names.
        """
        known = {name: number for number, name in enumerate(self.names)}
        theirs = {name: number for number, name in enumerate(others.names)} if others else {}

        def taken(own: numpy.ndarray, other: numpy.ndarray | None) -> numpy.ndarray:
            rows = [
                own[known[name]] if name in known else other[theirs[name]]  # type: ignore[index]
                for name in names
            ]
            return numpy.stack(rows)

        return Scales(
            list(names),
            {r: taken(self.centre[r], others and others.centre[r]) for r in _ROLES},
            {r: taken(self.spread[r], others and others.spread[r]) for r in _ROLES},
            taken(self.deviation, others and others.deviation),
            taken(self.seasonal, others and others.seasonal),
        )

    def scaled(self, panel: Panel, role: str) -> numpy.ndarray:
        """The columns of a role, scaled, (steps, columns); NaN where missing."""
        sizes = numpy.diff(panel.starts)
        centre = numpy.repeat(self.centre[role], sizes, axis=0)
        spread = numpy.repeat(self.spread[role], sizes, axis=0)
        return (getattr(panel, role) - centre) / spread

    def arrays(self, panel: Panel, cycles: Sequence[str]) -> dict[str, numpy.ndarray]:
        """What windows are cut from.

        Args:
            panel: The series, in the order of the scales.
            cycles: The periods of the calendar that are read.

        Returns:
            For each step: `target`, whether it is `observed`, `features` (all covariates) and
            `known` (those known in advance). What is missing is the last value before, or 0.
        """
        targets = self.scaled(panel, "targets")
        past, future = (carried(panel, self.scaled(panel, role)) for role in ("past", "future"))
        covariates = [past, future, *(calendar(panel.times, [name]) for name in cycles)]
        features = numpy.concatenate([each.astype(numpy.float32) for each in covariates], 1)
        return {
            "target": carried(panel, targets).astype(numpy.float32),
            "observed": ~numpy.isnan(targets),
            "features": features,
            "known": features[:, past.shape[1] :],
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """What undoes the scaling of targets, (series, targets) each."""
        return {
            "centre": torch.from_numpy(self.centre["targets"]).float(),
            "spread": torch.from_numpy(self.spread["targets"]).float(),
            "deviation": torch.from_numpy(self.deviation).float(),
            "seasonal": torch.from_numpy(self.seasonal).float(),
        }


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
