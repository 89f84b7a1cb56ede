"""A voice with scikit-learn's verbs."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy
from numpy.typing import NDArray

from anyrnn.errors import DataError
from anyrnn.tasks.audio.recordings import waveforms
from anyrnn.tasks.audio.transcripts import Part
from anyrnn.tasks.estimator import Estimator, FromList, check_pairs, listed_texts
from anyrnn.tasks.speak.data import normal_of, part_without_silence, without_silence
from anyrnn.tasks.speak.options import Options
from anyrnn.tasks.speak.task import Speak


class Synthesizer(FromList, task=Speak, data=("validation_share",)):
    """Texts spoken with one speaker's voice.

    A share of what is given (`validation_share`) is kept aside in `fit` and decides when to stop.

    Example:
        >>> from anyrnn.tasks import Synthesizer
        >>> words = ["one", "two", "one two", "two one"] * 2
        >>> sounds = [numpy.random.default_rng(0).normal(0, 0.1, 900 * len(w)) for w in words]
        >>> voice = Synthesizer(sample_rate=8000, mels=20, hidden_size=8, epochs=1)
        >>> voice.fit(words, sounds).score(words[:2], sounds[:2]) < 0
        True
    """

    files: ClassVar = {"data": Estimator.place, "recording": "recording", "transcript": "text"}

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> Self:
        """Train on texts and their recordings.

        Args:
            X: The texts.
            y: The recording of each: the name of its file, or its samples at `sample_rate` a
                second, from -1 to 1 or whole numbers of 16 bits.

        Raises:
            DataError: One of them is no text or empty, or no recording or silent; there is not a
                recording for each text; or there are too few.
        """
        options = self.options()
        return self._fit(without_silence(self._divided(_part(X, y, options)), options))

    def predict(self, X: Iterable[str], **speech: Any) -> list[NDArray[numpy.float32]]:
        """The samples of the speech of each text, from -1 to 1.

        Args:
            X: The texts.
            speech: How they are spoken: longest, stop_at, iterations; see `SpeechOptions`.

        Raises:
            DataError: A text has no character that the training had.
        """
        return [found.samples for found in self._fitted.predict(listed_texts(X), **speech)]

    def score(self, X: Iterable[str], y: Iterable[Any]) -> float:
        """Minus the mel distance of the speech of texts from their recordings, in decibels."""
        options = self._fitted.task.options
        part = part_without_silence(_part(X, y, options), options)
        return -self._fitted.score(part).figures["distance"]


def _part(X: Iterable[str], y: Iterable[Any], options: Options) -> Part:
    texts = [*map(normal_of(options), listed_texts(X))]
    sounds = waveforms(y, options.sound.sample_rate)
    check_pairs("texts", texts, "recordings", sounds)
    for number, (text, samples) in enumerate(zip(texts, sounds, strict=True)):
        if not text:
            raise DataError(f"row {number} has an empty text; leave such rows out")
        if not samples.any():
            raise DataError(f"row {number} has a recording that is silent; leave such rows out")
    return Part(Synthesizer.place, sounds, texts, [f"row {n}" for n in range(len(texts))])
