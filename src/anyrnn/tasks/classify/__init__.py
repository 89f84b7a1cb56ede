"""Text classification: embedding, recurrent layers, pooling, dense; cross-entropy; Adam."""

from anyrnn.tasks.classify.inference import Classifier, Evaluation, Prediction, evaluate_file, load
from anyrnn.tasks.classify.options import DataOptions, ModelOptions, Options
from anyrnn.tasks.classify.result import CellResult, Result
from anyrnn.tasks.classify.scores import Scores
from anyrnn.tasks.classify.train import ClassificationListener, train
from anyrnn.tasks.training import TrainingOptions

__all__ = [
    "CellResult",
    "ClassificationListener",
    "Classifier",
    "DataOptions",
    "Evaluation",
    "ModelOptions",
    "Options",
    "Prediction",
    "Result",
    "Scores",
    "TrainingOptions",
    "evaluate_file",
    "load",
    "train",
]
