"""What a forecast has to beat: the last value, the last season, exponential smoothing."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy
import pandas

# Exponential smoothing is fitted to so many last steps, or seasons if those are longer.
_STEPS = 1000
_SEASONS = 4

LAST = "repeat last"
SEASONAL = "seasonal naive"
ETS = "exponential smoothing (ETS)"


def seasonal_naive(
    target: numpy.ndarray,
    starts: numpy.ndarray,
    origins: numpy.ndarray,
    horizon: int,
    season: int,
) -> numpy.ndarray:
    """The values of the last season before each origin, (windows, horizon, targets).

    Args:
        target: Values of all steps, none missing, (steps, targets).
        starts: The first step of the series of each window; where a season begins before it, the
            last value stands for it.
        origins: The first forecast step of each window.
        horizon: The number of forecast steps.
        season: The number of steps of a season.
    """
    steps = origins[:, None] - season + numpy.arange(horizon) % season
    last = numpy.broadcast_to(origins[:, None] - 1, steps.shape)
    return target[numpy.where(steps >= starts[:, None], steps, last)]


@dataclass(frozen=True)
class Smoothed:
    """What exponential smoothing forecasts: the mean, and the ends of an interval, (horizon)."""

    mean: numpy.ndarray
    lower: numpy.ndarray
    upper: numpy.ndarray


def exponential_smoothing(
    history: numpy.ndarray, horizon: int, season: int, percent: int
) -> Smoothed:
    """Error, damped trend and season, all additive, fitted to the end of a history.

    Args:
        history: The values up to the origin, none missing, (steps).
        horizon: The number of forecast steps.
        season: The number of steps of a season; 1 for none.
        percent: The per cent of outcomes that the interval holds.
    """
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    history = history[-max(_STEPS, _SEASONS * season) :]
    seasonal = season > 1 and len(history) >= 2 * season + 3
    flat = Smoothed(*[numpy.full(horizon, history[-1])] * 3)
    if len(history) < 12 or history.min() == history.max():
        return flat
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        model = ETSModel(
            pandas.Series(history),
            error="add",
            trend="add",
            damped_trend=True,
            seasonal="add" if seasonal else None,
            seasonal_periods=season if seasonal else None,
            initialization_method="heuristic",
        )
        try:
            fitted: Any = model.fit(disp=False, maxiter=100)
            end = len(history) + horizon - 1
            table = fitted.get_prediction(len(history), end).summary_frame(1 - percent / 100)
        except (ValueError, FloatingPointError, numpy.linalg.LinAlgError):
            return flat
    columns = [table[name].to_numpy() for name in ("mean", "pi_lower", "pi_upper")]
    return Smoothed(*columns) if all(numpy.isfinite(c).all() for c in columns) else flat
