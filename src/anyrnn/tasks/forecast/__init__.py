"""Forecasts of series of numbers: recurrent layers beside simple methods, with intervals."""

from anyrnn.tasks.forecast.options import DataOptions, ForecastOptions, ModelOptions, Options
from anyrnn.tasks.options.training_options import TrainingOptions

__all__ = ["DataOptions", "ForecastOptions", "ModelOptions", "Options", "TrainingOptions"]
