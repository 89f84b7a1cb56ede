"""Spoken words: recurrent layers over the features of a recording, pooling, dense."""

from anyrnn.tasks.audio.options import SoundOptions
from anyrnn.tasks.command.options import (
    AugmentationOptions,
    DataOptions,
    ListenOptions,
    ModelOptions,
    Options,
)
from anyrnn.tasks.options.training_options import TrainingOptions

__all__ = [
    "AugmentationOptions",
    "DataOptions",
    "ListenOptions",
    "ModelOptions",
    "Options",
    "SoundOptions",
    "TrainingOptions",
]
