"""Speech without a network: always the same sound, or a recording of another text."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from anyrnn.tasks.audio.transcripts import Part
from anyrnn.tasks.scores.nearest import nearest
from anyrnn.tasks.speak.scores import mel_distance


def baselines(
    training: Part,
    measured: Part,
    mean: Sequence[float],
    logarithms: Callable[[NDArray[Any]], NDArray[Any]],
) -> dict[str, dict[str, float]]:
    """The mel distance of the mean frame of the training, and of its recording of the text that is
    most similar.

    Args:
        training: The part that a network learns from.
        measured: The part that it is measured on.
        mean: The mean of each band.
        logarithms: Samples to the logarithms of the energies of bands.
    """
    steady = numpy.array([mean])
    others = nearest(training.texts, measured.texts)
    distances: dict[str, list[float]] = {"mean": [], "nearest": []}
    for samples, other in zip(measured.samples, others, strict=True):
        truth = logarithms(samples)
        distances["mean"].append(mel_distance(steady, truth))
        distances["nearest"].append(mel_distance(logarithms(training.samples[other]), truth))
    return {name: {"distance": float(numpy.mean(each))} for name, each in distances.items()}
