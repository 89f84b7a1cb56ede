"""A voice with scikit-learn's verbs."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from anyrnn.errors import DataError
from anyrnn.tasks.audio.transcripts import Part, divided
from anyrnn.tasks.common_options import shares_split_off
from anyrnn.tasks.estimator import Estimator, FromTexts, listed_texts
from anyrnn.tasks.speak.task import Speak
from anyrnn.tasks.task import Data


class Synthesizer(FromTexts, Estimator, task=Speak, data=("validation_share",)):
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

    def fit(self, X: Iterable[str], y: Iterable[ArrayLike]) -> Self:
        """Train on texts and their recordings.

        Args:
            X: The texts.
            y: The samples of the recording of each, from -1 to 1, at `sample_rate` a second.

        Raises:
            DataError: One of them is no text or empty, or no samples or silent; there is not a
                recording for each text; or there are too few.
        """
        options = self.options()
        part = _part(X, y, Speak.normal_of(options))
        shares = shares_split_off(options.data, ("test",))
        parts = divided(part, shares, options.training.seed)
        facts = {name: len(each) for name, each in parts.items()}
        return self._fit(Speak.trimmed_data(Data.of(parts, facts=facts), options))

    def predict(self, X: Iterable[str], **speech: Any) -> list[NDArray[numpy.float32]]:
        """The samples of the speech of each text, from -1 to 1.

        Args:
            X: The texts.
            speech: How they are spoken: longest, stop_at, iterations; see `SpeechOptions`.

        Raises:
            DataError: A text has no character that the training had.
        """
        check_is_fitted(self, "model_")
        return [found.samples for found in self.model_.predict(listed_texts(X), **speech)]

    def score(self, X: Iterable[str], y: Iterable[ArrayLike]) -> float:
        """Minus the mel distance of the speech of texts from their recordings, in decibels."""
        check_is_fitted(self, "model_")
        options = self.model_.task.options
        part = Speak.trimmed(_part(X, y, Speak.normal_of(options)), options)
        return -self.model_.score(part).figures["distance"]


def _part(X: Iterable[str], y: Iterable[ArrayLike], normal: Any) -> Part:
    texts = [normal(text) for text in listed_texts(X)]
    sounds = [numpy.asarray(each) for each in y]
    if len(texts) != len(sounds):
        raise DataError(f"{len(texts):,} texts, but {len(sounds):,} recordings")
    if not texts:
        raise DataError("there is no text")
    for number, (text, samples) in enumerate(zip(texts, sounds, strict=True)):
        if not text:
            raise DataError(f"row {number} has an empty text; leave such rows out")
        if samples.ndim != 1 or samples.dtype.kind != "f" or not len(samples):
            raise DataError(
                f"row {number} has an array of {samples.dtype} of the shape {samples.shape}, but "
                "needs samples from -1 to 1: numbers with a fraction, in one dimension"
            )
        if not numpy.isfinite(samples).all() or not samples.any():
            raise DataError(f"row {number} has a recording that is silent, or is no numbers")
    sounds = [samples.astype(numpy.float32) for samples in sounds]
    return Part(Synthesizer.place, sounds, texts, [f"row {n}" for n in range(len(texts))])
