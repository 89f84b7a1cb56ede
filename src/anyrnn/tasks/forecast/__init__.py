"""Forecasts of series of numbers: recurrent layers beside simple methods, with intervals."""

from anyrnn.tasks.forecast.data import data_of
from anyrnn.tasks.forecast.options import (
    DataOptions,
    ForecastOptions,
    ModelOptions,
    Options,
)
from anyrnn.tasks.forecast.scores import ForecastScores
from anyrnn.tasks.forecast.task import Forecast

__all__ = [
    "DataOptions",
    "Forecast",
    "ForecastOptions",
    "ForecastScores",
    "ModelOptions",
    "Options",
    "data_of",
]
