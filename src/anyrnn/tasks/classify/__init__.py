"""Classification of texts and of sequences of numbers: recurrent layers, pooling, dense."""

from anyrnn.tasks.classify.options import DataOptions, ModelOptions, NumberOptions, Options
from anyrnn.tasks.common_options import TrainingOptions, VocabularyOptions

__all__ = [
    "DataOptions",
    "ModelOptions",
    "NumberOptions",
    "Options",
    "TrainingOptions",
    "VocabularyOptions",
]
