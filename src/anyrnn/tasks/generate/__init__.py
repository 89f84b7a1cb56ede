"""Language models on characters, words or pieces of words, and the texts that they write."""

from anyrnn.tasks.generate.options import (
    DataOptions,
    ModelOptions,
    Options,
    SamplingOptions,
    TokenOptions,
    TrainingOptions,
)

__all__ = [
    "DataOptions",
    "ModelOptions",
    "Options",
    "SamplingOptions",
    "TokenOptions",
    "TrainingOptions",
]
