"""How near speech is to recordings, and what it looks like."""

import math
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from anyrnn.tasks.extras import library
from anyrnn.tasks.task import REPORT_ONLY, Scores

_DECIBELS = 10 / math.log(10)  # of the logarithm of an energy


@dataclass(frozen=True)
class Example:
    """A text that was spoken, beside its recording.

    Attributes:
        text: The text.
        characters: What of it was read, with the end.
        name: What the recording is called.
        distance: Its mel distance, in decibels.
        ended: Whether the decoder ended by itself.
        weights: Those of attention, (steps, characters).
        spectra: The bands of the speech and of the recording, in decibels, each (frames, bands).
        sounds: Their samples.
    """

    text: str
    characters: list[str]
    name: str
    distance: float
    ended: bool
    weights: NDArray[Any] = field(repr=False)
    spectra: tuple[NDArray[Any], NDArray[Any]] = field(repr=False)
    sounds: tuple[NDArray[Any], NDArray[Any]] = field(repr=False)


@dataclass(frozen=True)
class SpeechScores(Scores):
    """The figures of a voice on some texts: mel distance, diagonality, focus, loss.

    Attributes:
        cut: The number of texts whose speech did not end by itself.
        seconds: How long the speech of all texts is, and recorded_seconds the recordings.
        examples: Some texts, in their order.
    """

    cut: int
    seconds: float
    recorded_seconds: float
    examples: list[Example] = field(repr=False, metadata=REPORT_ONLY)


def decibels(logarithms: NDArray[Any]) -> NDArray[Any]:
    """Logarithms of energies in decibels."""
    return logarithms * _DECIBELS


def mel_distance(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """How far the bands of a speech are from those of a recording: the mean absolute difference, in
    decibels, where time is warped so that their sum is least (dynamic time warping).

    The mean is that over the frames of the recording: a speech that is too long gets no better by
    going on.

    Args:
        found, truth: Logarithms of the energies of bands, each (frames, bands).

    Example:
        >>> import numpy
        >>> frames = numpy.random.default_rng(0).normal(size=(5, 3))
        >>> round(mel_distance(frames.repeat(2, 0), frames), 9)
        0.0
        >>> mel_distance(frames + math.log(10), frames) <= 10 + 1e-9
        True
    """
    from scipy.spatial.distance import cdist

    costs = decibels(cdist(found, truth, "cityblock") / truth.shape[1])
    totals = library("librosa.sequence", "speech").dtw(C=costs, backtrack=False)
    return float(totals[-1, -1]) / len(truth)
