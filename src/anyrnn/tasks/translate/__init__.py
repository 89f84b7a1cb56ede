"""Translation: a sentence for a sentence, from pairs of them."""

from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.translate.options import (
    DataOptions,
    ModelOptions,
    Options,
    SearchOptions,
    TokenOptions,
)

__all__ = [
    "DataOptions",
    "ModelOptions",
    "Options",
    "SearchOptions",
    "TokenOptions",
    "TrainingOptions",
]
