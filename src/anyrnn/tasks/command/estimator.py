"""Spoken words with scikit-learn's verbs."""

from collections.abc import Sequence
from typing import Any, Self

from anyrnn.errors import DataError
from anyrnn.tasks.classify.estimator import Classifier, check_count
from anyrnn.tasks.command.data import Part, given_part
from anyrnn.tasks.command.sounds import Sounds
from anyrnn.tasks.command.task import Command
from anyrnn.tasks.data.given import as_list
from anyrnn.tasks.estimator import FromList


class CommandRecognizer(FromList, Classifier, task=Command, data=("skip_bad", "validation_share")):
    """Recordings to words: features, recurrent layers of any cell, pooling, dense.

    The recordings are a list of names of files, or of arrays of samples, (time), each with its own
    number, at the rate `sample_rate`.

    Example:
        >>> import numpy
        >>> from anyrnn.tasks import CommandRecognizer
        >>> times = numpy.arange(2000) / 8000
        >>> high, low = ([numpy.sin(f * times) for f in range(g, g + 8)] for g in (9000, 3000))
        >>> recognizer = CommandRecognizer(cell="gru", sample_rate=8000, hidden_size=8, epochs=2)
        >>> recognizer.fit(high + low, ["high"] * 8 + ["low"] * 8).predict(high[:3]).shape
        (3,)
    """

    kind = Sounds

    def fit(self, X: Any, y: Any, groups: Sequence[Any] | None = None) -> Self:
        """Train on recordings and what is said in them.

        Args:
            X: The recordings, as the class says.
            y: The word in each.
            groups: Who speaks in each: nobody is both learned from and kept aside to decide when to
                stop.

        Raises:
            DataError: There are not as many words or speakers as recordings, or too few of a word.
        """
        X = as_list(X, "recording")
        if groups is not None and len(groups) != len(X):
            raise DataError(f"there are {len(X)} recordings, but {len(groups)} groups")
        return self._fit_part(y, lambda names: self._part(X, names, groups, fitting=True))

    def _part(
        self,
        X: Any,
        labels: Sequence[str] | None = None,
        speakers: Sequence[Any] | None = None,
        *,
        fitting: bool,
    ) -> Part:
        X = as_list(X, "recording")
        check_count(len(X), labels, "recordings")
        rate = self.get_params()["sample_rate"]
        return given_part(self.place, X, rate, labels or [], speakers)
