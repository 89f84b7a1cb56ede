"""Copy memory: ten symbols, a pause, and then the same symbols again."""

from anyrnn.tasks.problems.copying.options import DataOptions, Options, PredictOptions

__all__ = ["DataOptions", "Options", "PredictOptions"]
