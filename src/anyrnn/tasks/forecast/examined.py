"""The end of a series that is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyrnn.tasks.forecast.network import ForecastNetwork, Segments
from anyrnn.tasks.forecast.prediction import scales_of_series, series_of
from anyrnn.tasks.forecast.scores import Scaling
from anyrnn.tasks.forecast.windows import GIVEN, Part, batches
from anyrnn.tasks.inspection.examined import Examined, chosen, place
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.words import said

if TYPE_CHECKING:
    from anyrnn.tasks.forecast.task import Forecast


def examined(task: Forecast, network: ForecastNetwork, options: InspectOptions) -> Examined:
    """What a network reads before the end of a series; one step of the forecast is explained.

    Raises:
        OptionError: There is no such series, target or step.
        DataError: The table cannot be used, or the series is too short.
    """
    made = series_of(task, options.input)
    row = place(options, "row", len(made), f"series in {made.label}", 0)
    names, forecast = list(task.columns.targets), task.options.forecast
    target = 0
    if options.explain is not None:
        target = chosen("explain", options.explain, names, "target")
    step = place(options, "step", forecast.horizon, "steps in the horizon", 0)
    scales = scales_of_series(task, made)
    ends = made.ends[row : row + 1]
    part = Part(made, ends, made.ends)
    (batch,) = batches(part, scales.arrays(made, task.cycles), task.options, 1, None)

    def call() -> torch.Tensor:
        return task.head.middle(network(*(batch[name] for name in GIVEN)))

    scaling = Scaling.of(scales.tensors(), batch["series"], own_units=True)
    with torch.inference_mode():
        forecasts = scaling.undone(call())[0].double().numpy()
    values = scaling.undone(batch["read"])[0].double().numpy()
    length = network.core.length if isinstance(network.core, Segments) else 1
    first, language = int(ends[0]) - len(values), options.language
    return Examined(
        title=said(
            "series",
            language,
            series=made.series(row),
            steps=len(values),
            time=made.time(int(ends[0]) - 1),
        ),
        network=network,
        call=call,
        of=lambda found: found[0, step, target],
        explained=said("forecast", language, name=names[target], step=step + 1),
        answer=said(
            "forecast value",
            language,
            name=names[target],
            step=step + 1,
            value=forecasts[step, target],
        ),
        layer="core.recurrent",
        steps=[str(made.time(first + place)) for place in range(0, len(values), length)],
        values=values.reshape(-1, length, values.shape[1]).mean(1),
        channels=names,
        row=0 if network.joint else target,
    )
