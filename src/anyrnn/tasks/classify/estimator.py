"""Text classification with scikit-learn's verbs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from anyrnn.errors import DataError
from anyrnn.tasks.classify.data import Part, divided
from anyrnn.tasks.classify.task import Classify
from anyrnn.tasks.estimator import Estimator
from anyrnn.tasks.task import Data


class TextClassifier(ClassifierMixin, Estimator, task=Classify):
    """Texts to labels: embedding, recurrent layers of any cell, pooling, dense.

    A tenth of the texts is kept aside in `fit` and decides when to stop.

    Attributes:
        classes_: The labels, in the order of `predict_proba`.

    Example:
        >>> from anyrnn.tasks import TextClassifier
        >>> texts = ["a fine film", "a good film", "fine and good", "a dull film", "bad and dull"]
        >>> labels = ["good", "good", "good", "bad", "bad"]
        >>> classifier = TextClassifier(cell="gru", hidden_size=8, epochs=2).fit(texts, labels)
        >>> classifier.predict(["a good film"]).shape
        (1,)
    """

    classes_: numpy.ndarray

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> Self:
        """Train on texts and their labels.

        Args:
            X: The texts: a list, an array or a column of a data frame.
            y: The label of each.

        Raises:
            DataError: There are not as many labels as texts, or too few of a label.
        """
        texts, labels = _texts(X), list(y)
        if len(texts) != len(labels):
            raise DataError(f"there are {len(texts)} texts, but {len(labels)} labels")
        rows = [f"row {number}" for number in range(len(texts))]
        names = [str(label) for label in labels]
        part = Part(Path("the data"), texts, names, rows, "")
        parts = divided(part, ("training", "validation"), self.options(**_DATA).training.seed)
        facts = {name: len(each) for name, each in parts.items()}
        data = Data(parts["training"], parts["validation"], test=None, facts=facts)
        self._fit(data, **_DATA)
        known = dict(zip(names, labels, strict=True))
        self.classes_ = numpy.array([known[name] for name in self.model_.task.labels])
        return self

    def predict(self, X: Iterable[str]) -> numpy.ndarray:
        """The most probable label of each text."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def predict_proba(self, X: Iterable[str]) -> numpy.ndarray:
        """The probability of each label for each text, (texts, labels)."""
        check_is_fitted(self, "model_")
        model = self.model_
        return model.task.probabilities(model.network, _texts(X)).numpy()

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The classifier that a run folder holds; its labels are text."""
        found = super().load(path)
        found.classes_ = numpy.array(found.model_.task.labels)
        return found


_DATA: dict[str, Any] = {"data": Path("the data"), "text": "text", "label": "label"}


def _texts(X: Iterable[str]) -> list[str]:
    if isinstance(X, str):
        raise DataError("one text was given, but a list of texts is needed")
    texts = list(X)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"row {number} is {text!r}, but has to be a text")
    return texts
