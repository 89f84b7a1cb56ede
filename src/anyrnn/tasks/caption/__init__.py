"""Captions: a sentence for a picture, from pictures with captions."""

from anyrnn.tasks.caption.options import (
    BackboneOptions,
    DataOptions,
    ModelOptions,
    Options,
    SearchOptions,
    TokenOptions,
)
from anyrnn.tasks.options.training_options import TrainingOptions

__all__ = [
    "BackboneOptions",
    "DataOptions",
    "ModelOptions",
    "Options",
    "SearchOptions",
    "TokenOptions",
    "TrainingOptions",
]
