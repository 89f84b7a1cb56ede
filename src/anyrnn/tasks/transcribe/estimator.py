"""Transcription with scikit-learn's verbs."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from anyrnn.errors import DataError
from anyrnn.tasks.audio.recordings import waveforms
from anyrnn.tasks.audio.transcripts import Part
from anyrnn.tasks.estimator import Estimator, FromList, check_pairs, listed_texts
from anyrnn.tasks.transcribe.options import Options
from anyrnn.tasks.transcribe.scores import errors
from anyrnn.tasks.transcribe.task import Transcribe, reading


class Transcriber(FromList, task=Transcribe, data=("validation_share",)):
    """Recordings to what was said in them.

    A recording is the path of its file, or an array of its samples with `sample_rate` of them a
    second: from -1 to 1, or whole numbers of 16 or other bits. A share of the recordings
    (`validation_share`) is kept aside in `fit` and decides when to stop.

    Example:
        >>> import numpy
        >>> from anyrnn.tasks import Transcriber
        >>> drawn = numpy.random.default_rng(0)
        >>> recordings = [drawn.normal(size=4000) / 10 for _ in range(12)]
        >>> transcripts = ["one", "two", "three", "four"] * 3
        >>> sizes = {"hidden_size": 8, "epochs": 1, "sample_rate": 8000, "minimum_frequency": 1}
        >>> transcriber = Transcriber(cell="gru", **sizes).fit(recordings, transcripts)
        >>> len(transcriber.predict(recordings[:2]))
        2
    """

    files: ClassVar = {"data": Estimator.place, "recording": "recording", "transcript": "text"}

    def fit(self, X: Iterable[Any], y: Iterable[str]) -> Self:
        """Train on recordings and their transcripts.

        Args:
            X: The recordings.
            y: The transcript of each.

        Raises:
            DataError: A recording cannot be read, a transcript is no text or has no letter or
                digit, there is not one for each recording, or there are too few.
        """
        return self._fit(self._divided(_part(X, y, self.options())))

    def predict(self, X: Iterable[Any], **search: Any) -> list[str]:
        """What was said in each recording.

        Args:
            X: The recordings.
            search: How texts are searched for: beam, language_model, ...; see `SearchOptions`.
        """
        return [found.text for found in self._fitted.predict(X, **search)]

    def score(self, X: Iterable[Any], y: Iterable[str], **search: Any) -> float:
        """1 minus the error rate of the words (WER): 1 is best, and it may be below 0."""
        part = _part(X, y, self._fitted.task.options)
        wrong, count = errors(self.predict(part.samples, **search), part.texts, "wer")
        return 1 - wrong / count


def _part(X: Iterable[Any], y: Iterable[str], options: Options) -> Part:
    samples = waveforms(X, options.sound.sample_rate)
    texts = [*map(reading(options).normal, listed_texts(y))]
    check_pairs("recordings", samples, "transcripts", texts)
    for number, text in enumerate(texts):
        if not text:
            raise DataError(
                f"row {number} has a transcript without a letter or digit; leave it out"
            )
    names = [f"row {number}" for number in range(len(texts))]
    return Part(Transcriber.place, samples, texts, names)
