"""Speech synthesis: texts spoken with a speaker's voice, from recordings and their texts."""

from anyrnn.tasks.audio.options import TranscriptOptions
from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.speak.options import ModelOptions, Options, SoundOptions, SpeechOptions

__all__ = [
    "ModelOptions",
    "Options",
    "SoundOptions",
    "SpeechOptions",
    "TrainingOptions",
    "TranscriptOptions",
]
