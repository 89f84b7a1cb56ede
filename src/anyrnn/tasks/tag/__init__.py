"""Tagging: a label for each token, from its word, its characters and its neighbours."""

from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.tag.options import DataOptions, ModelOptions, Options, WordOptions

__all__ = ["DataOptions", "ModelOptions", "Options", "TrainingOptions", "WordOptions"]
