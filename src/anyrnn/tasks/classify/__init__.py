"""Text classification: embedding, recurrent layers, pooling, dense; cross-entropy; Adam."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyrnn.tasks.classify.options import DataOptions, ModelOptions, Options
from anyrnn.tasks.common_options import TrainingOptions, VocabularyOptions

if TYPE_CHECKING:
    from anyrnn.tasks.classify.inference import (
        Classifier,
        Evaluation,
        Prediction,
        evaluate_file,
        load,
    )
    from anyrnn.tasks.classify.result import CellResult, Result
    from anyrnn.tasks.classify.scores import Scores
    from anyrnn.tasks.classify.training import ClassificationListener, train

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
    "VocabularyOptions",
    "evaluate_file",
    "load",
    "train",
]

_PLACES = {
    "inference": ("Classifier", "Evaluation", "Prediction", "evaluate_file", "load"),
    "result": ("CellResult", "Result"),
    "scores": ("Scores",),
    "training": ("ClassificationListener", "train"),
}


def __getattr__(name: str) -> Any:
    """Load what needs torch only when it is asked for: the options alone are light."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
