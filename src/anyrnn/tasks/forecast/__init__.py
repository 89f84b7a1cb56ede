"""Forecasts of series of numbers: recurrent layers beside simple methods, with intervals."""

from anyrnn.tasks.common_options import TrainingOptions
from anyrnn.tasks.forecast.options import DataOptions, ForecastOptions, ModelOptions, Options

__all__ = ["DataOptions", "ForecastOptions", "ModelOptions", "Options", "TrainingOptions"]
