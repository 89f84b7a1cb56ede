"""Transcription: what was said in recordings, learned from recordings with their transcripts."""

from anyrnn.tasks.audio.options import AugmentationOptions, SoundOptions, TranscriptOptions
from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.transcribe.options import (
    ModelOptions,
    Options,
    SearchOptions,
    TokenOptions,
)

__all__ = [
    "AugmentationOptions",
    "ModelOptions",
    "Options",
    "SearchOptions",
    "SoundOptions",
    "TokenOptions",
    "TrainingOptions",
    "TranscriptOptions",
]
