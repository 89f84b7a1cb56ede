"""Recordings without the silence at both ends, whose length nothing in a text tells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.transcripts import Part
from anyrnn.tasks.data.columns import taken
from anyrnn.tasks.data.prepared import advanced
from anyrnn.tasks.speak.scores import decibels

_CLICK = 2  # frames: shorter sounds are none of speech
_MARGIN = 2  # frames that are left of the silence


@dataclass(frozen=True)
class Trimmed(Sequence[Any]):
    """Parts of recordings.

    Attributes:
        samples: Those of the whole recordings.
        bounds: The first sample of each, and the one after the last.
    """

    samples: Sequence[Any]
    bounds: NDArray[numpy.int64]

    def __len__(self) -> int:
        """The number of recordings."""
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        """The samples of one, or of some."""
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        start, stop = self.bounds[index]
        return self.samples[index][start:stop]

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """The number of samples of each."""
        return self.bounds[:, 1] - self.bounds[:, 0]

    def taken(self, rows: Sequence[int]) -> "Trimmed":
        """Some of them; those that lie on disk stay there."""
        return Trimmed(taken(self.samples, rows), self.bounds[numpy.asarray(rows, int)])


def trimmed(part: Part, features: Features, below: float) -> Part:
    """A part whose recordings begin and end where they are loud enough.

    How loud a frame is tells the mean of its bands in decibels: so a hum in a few bands does not
    count as speech.

    Args:
        part: The recordings.
        features: What frames are.
        below: How many decibels below its loudest frame a recording is silent; 0 to leave all.
    """
    if not below:
        return part
    bounds = []
    for number, samples in enumerate(part.samples, start=1):
        bounds.append(_bounds(samples, features, below))
        advanced("looking for silence", number, len(part))
    return replace(part, samples=Trimmed(part.samples, numpy.array(bounds).reshape(-1, 2)))


def _bounds(samples: NDArray[Any], features: Features, below: float) -> tuple[int, int]:
    from scipy.ndimage import median_filter

    logarithms = features.described(features.energies(torch.as_tensor(samples)[None]))[0]
    loudness = decibels(logarithms.mean(1).numpy())
    # There is silence before and after.
    beyond = {"mode": "constant", "cval": float(loudness.min())}
    loudness = median_filter(loudness, 2 * _CLICK + 1, **beyond)
    loud = numpy.flatnonzero(loudness >= loudness.max() - below)
    first, last = (int(loud[0]) - _MARGIN) * features.hop, (int(loud[-1]) + _MARGIN) * features.hop
    return max(0, first), min(len(samples), last + 1)
