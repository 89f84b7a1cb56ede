"""Classification of texts and of sequences of numbers: recurrent layers, pooling, dense."""

from anyrnn.tasks.classify.options import (
    DataOptions,
    ModelOptions,
    NumberOptions,
    Options,
    VocabularyOptions,
)
from anyrnn.tasks.options.training_options import TrainingOptions

__all__ = [
    "DataOptions",
    "ModelOptions",
    "NumberOptions",
    "Options",
    "TrainingOptions",
    "VocabularyOptions",
]
