"""Text classification: embedding, recurrent layers, pooling, dense; cross-entropy."""

from anyrnn.tasks.classify.options import DataOptions, ModelOptions, Options
from anyrnn.tasks.common_options import TrainingOptions, VocabularyOptions

__all__ = ["DataOptions", "ModelOptions", "Options", "TrainingOptions", "VocabularyOptions"]
