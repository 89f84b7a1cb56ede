"""Forecasts of what comes after the end of series, as a data frame."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pandas

from anyrnn.errors import DataError, RunError, option_name
from anyrnn.tasks.forecast.columns import Columns, frame_table
from anyrnn.tasks.forecast.data import table
from anyrnn.tasks.forecast.panel import Panel, panel
from anyrnn.tasks.forecast.scales import Scales
from anyrnn.tasks.forecast.scores import Scaling
from anyrnn.tasks.forecast.scoring import BATCH_SIZE
from anyrnn.tasks.forecast.windows import Part, batches
from anyrnn.tasks.options.declaration import replaced
from anyrnn.tasks.task import check_finite, steps

if TYPE_CHECKING:
    from anyrnn.tasks.forecast.network import ForecastNetwork
    from anyrnn.tasks.forecast.task import Forecast


def forecast_frame(task: Forecast, network: ForecastNetwork, inputs: Any) -> pandas.DataFrame:
    """What comes after the end of each series; see `Forecast.predict`."""
    made = series_of(task, inputs)
    forecast = task.options.forecast
    scales = scales_of_series(task, made)
    arrays, tensors = scales.arrays(made, task.cycles), scales.tensors()
    part = Part(made, made.ends, made.ends)
    source = batches(part, arrays, task.options, BATCH_SIZE, None)
    columns: dict[tuple[str, int], list[numpy.ndarray]] = {}
    for batch, step in steps(task, network, source, lambda: None):
        check_finite(step.output)
        said = {"": task.head.middle(step.output)}
        for percent in task.intervals:
            ends = task.head.interval(step.output, percent)
            said |= {f"-lo-{percent}": ends[0], f"-hi-{percent}": ends[1]}
        scaling = Scaling.of(tensors, batch["series"], own_units=True)
        for suffix, values in said.items():
            undone = scaling.undone(values).double().flatten(0, 1).cpu().numpy()
            for i in range(undone.shape[1]):
                columns.setdefault((suffix, i), []).append(undone[:, i])
    frame = made.rows(made.ends, made.ends + forecast.horizon)
    frame = frame.drop(columns=[name for name, _ in task.columns.values])
    if not task.columns.time:
        frame["step"] = numpy.tile(numpy.arange(1, forecast.horizon + 1), len(made))
    for i, name in enumerate(task.columns.targets):
        for suffix, number in columns:
            if number == i:
                frame[name + suffix] = numpy.concatenate(columns[suffix, i])
    return frame


def series_of(task: Forecast, inputs: Any) -> Panel:
    """The series to forecast from, with the steps of the horizon after each."""
    options = replaced(task.options.data, until=None)
    if inputs is None:
        known = frame_table(_context(task.context, task.columns), "the end of the training data")
        # It is written as pandas writes, not as the user's table is.
        options = type(options)(data=options.data)
    elif isinstance(inputs, pandas.DataFrame):
        known = frame_table(inputs)
    else:
        known = table(replaced(options, data=Path(inputs)), task.columns)
    horizon = task.options.forecast.horizon
    made = panel(known, options, columns=task.columns, frequency=task.frequency, ahead=horizon)
    for number in range(len(made)):
        _check_enough(task, made, number)
    return made


def _context(text: str, columns: Columns) -> pandas.DataFrame:
    kinds: Any = {columns.group: str} if columns.group else None
    try:
        return pandas.read_csv(
            io.StringIO(text), dtype=kinds, keep_default_na=False, na_values=[""]
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"the run is damaged: the end of its training data cannot be read: {reason}"
        ) from None


def scales_of_series(task: Forecast, made: Panel) -> Scales:
    """The scales of the run; those of a series that it does not know are from its own rows."""
    own = None
    if set(made.names) - set(task.scales.names):
        own = Scales.of(made, made.ends, task.season, task.options.forecast.scaling)
    return task.scales.of_series(made.names, own)


def _check_enough(task: Forecast, made: Panel, number: int) -> None:
    """Refuse a series that is too short, or whose future is not known.

    Raises:
        DataError: It is.
    """
    read, horizon = task.options.forecast.steps_read, task.options.forecast.horizon
    end = int(made.ends[number])
    length = end - int(made.starts[number])
    if length < read:
        raise DataError(
            f"{made.label}: {made.series(number)} has {length} steps, but the network reads {read}"
        )
    for column, name in enumerate(task.columns.future):
        unknown = numpy.flatnonzero(numpy.isnan(made.future[end : end + horizon, column]))
        if len(unknown):
            raise DataError(
                f"{made.label}: {name!r} of {made.series(number)} has to be known until "
                f"{made.time(end + horizon - 1)}, {horizon} steps after the last target, but has "
                f"no value at {made.time(end + int(unknown[0]))}; give a table in which it has, "
                f"with {option_name('data', 'FILE')}"
            )
