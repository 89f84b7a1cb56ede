"""The adding problem: the sum of the two values of a sequence that are marked."""

from anyrnn.tasks.problems.adding.options import DataOptions, Options, PredictOptions

__all__ = ["DataOptions", "Options", "PredictOptions"]
