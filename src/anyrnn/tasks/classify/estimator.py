"""Classification of texts and of sequences of numbers with scikit-learn's verbs."""

import reprlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy
from pandas import NA, NaT
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from anyrnn.errors import DataError, RunError
from anyrnn.tasks.classify.data import Part, divided, part_of
from anyrnn.tasks.classify.inputs import Inputs, Numbers, Texts
from anyrnn.tasks.classify.series import SequenceError, Series
from anyrnn.tasks.classify.task import Classify
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.given import as_list
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.estimator import Estimator, FromList, listed_texts


class Classifier(ClassifierMixin, Estimator):
    """One label for each input; a subclass says what its inputs are.

    A share of the inputs (`validation_share`) is kept aside in `fit` and decides when to stop.

    Attributes:
        classes_: The labels in ascending order, which is that of `predict_proba`.
        kind: What its inputs are.
    """

    kind: ClassVar[type[Inputs]]
    classes_: numpy.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Train on inputs and their labels.

        Args:
            X: The inputs, as the class says.
            y: The label of each: words or whole numbers.

        Raises:
            DataError: There are not as many labels as inputs, or too few inputs of a label.
            ValueError: An array is not as scikit-learn has it.
        """
        return self._fit_part(y, lambda names: self._part(X, names, fitting=True))

    def _fit_part(self, y: Any, make: Callable[[Sequence[str]], Part]) -> Self:
        """Train on the part that is made with the names of labels."""
        options = self.options()
        if y is None:
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        labels = _labels(y)
        part = make([str(label) for label in labels.tolist()])
        seed, skip_bad = options.training.seed, options.data.skip_bad
        self._fit(Data.of(divided(part, options.data.shares(("test",)), seed, skip_bad)))
        learned = set(self.model_.task.labels)
        classes = numpy.unique(labels)
        self.classes_ = classes[[str(label) in learned for label in classes.tolist()]]
        return self

    def predict(self, X: Any) -> numpy.ndarray:
        """The most probable label of each input.

        Returns:
            (inputs); of a run whose inputs may have several labels, (inputs, labels): 1 for each
            label of a probability above one half.
        """
        probabilities = self.predict_proba(X)
        if self.model_.task.separator is not None:
            return (probabilities > 0.5).astype(numpy.int64)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: Any) -> numpy.ndarray:
        """The probability of each label for each input, (inputs, labels)."""
        model = self._fitted
        inputs = self._part(X, fitting=False).inputs
        found = model.task.probabilities(model.network, inputs).double().numpy()
        if model.task.separator is None:
            found /= found.sum(1, keepdims=True)  # what 32 bits have left out
        places = {name: place for place, name in enumerate(model.task.labels)}
        return found[:, [places[str(label)] for label in self.classes_.tolist()]]

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The classifier that a run folder holds; its labels are text.

        Raises:
            RunError: The folder is missing, damaged, or of other inputs.
        """
        found = super().load(path)
        task = found.model_.task
        if not isinstance(task.inputs, cls.kind):
            raise RunError(
                f"the run {path} reads {task.units}, but {cls.__name__} {cls.kind.units}"
            )
        found.classes_ = numpy.unique(task.labels)
        return found

    @abstractmethod
    def _part(self, X: Any, labels: Sequence[str] | None = None, *, fitting: bool) -> Part:
        """The inputs, with their labels if there are any."""


class TextClassifier(
    FromList,
    Classifier,
    task=Classify,
    data=("skip_bad", "validation_share"),
    without=("numbers.scaling", "model.segment_length"),
):
    """Texts to labels: embedding, recurrent layers of any cell, pooling, dense.

    The texts are a list, an array or a column of a data frame.

    Example:
        >>> from anyrnn.tasks import TextClassifier
        >>> texts = ["a fine film", "a good film", "fine and good", "a dull film", "bad and dull"]
        >>> labels = ["good", "good", "good", "bad", "bad"]
        >>> classifier = TextClassifier(cell="gru", hidden_size=8, epochs=2).fit(texts, labels)
        >>> classifier.predict(["a good film"]).shape
        (1,)
    """

    kind = Texts
    files: ClassVar = {**Estimator.files, "text": "text", "label": "label"}

    def _part(
        self, X: Iterable[str], labels: Sequence[str] | None = None, *, fitting: bool
    ) -> Part:
        texts = listed_texts(X)
        check_count(len(texts), labels, "texts")
        texts = list(map(whole_characters, texts))
        return Part(self.place, texts, labels or [], [f"row {n}" for n in range(len(texts))])


class SequenceClassifier(
    Classifier,
    task=Classify,
    data=("skip_bad", "validation_share"),
    without=("vocabulary", "model.embedding_size"),
):
    """Sequences of numbers to labels: recurrent layers of any cell, pooling, dense.

    The sequences are an array (sequences, steps) or (sequences, steps, channels), or a list of
    arrays (steps) or (steps, channels), each with its own number of steps. NaN is a missing value,
    taken to be that of the step before.

    Attributes:
        n_features_in_: The number of steps, if `fit` was given an array (sequences, steps): then
            `predict` takes no other one. A list of arrays has no such limit.
        feature_names_in_: The columns, if it was a data frame.

    Example:
        >>> import numpy
        >>> from anyrnn.tasks import SequenceClassifier
        >>> rising = [numpy.arange(steps) + 0.1 * steps for steps in range(4, 12)]
        >>> sequences = rising + [-each for each in rising]
        >>> labels = ["up"] * 8 + ["down"] * 8
        >>> classifier = SequenceClassifier(cell="gru", hidden_size=8, epochs=2)
        >>> classifier.fit(sequences, labels).predict_proba(sequences[:3]).shape
        (3, 2)
    """

    kind = Numbers

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn asks: arrays of three axes are read, and missing values."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def _part(self, X: Any, labels: Sequence[str] | None = None, *, fitting: bool) -> Part:
        sequences = self._sequences(X, fitting)
        check_count(len(sequences), labels, "sequences")
        series = Series(self.place)
        for number, values in enumerate(sequences):
            row = f"row {number}"
            try:
                series.add(_channels(values), labels[number] if labels else "", row)
            except SequenceError as error:
                raise DataError(f"{row} {error}") from None
        return part_of(series)

    def _sequences(self, X: Any, fitting: bool) -> Sequence[Any]:
        """The sequences one by one; arrays as scikit-learn checks them."""
        X = _unmasked(as_list(X, "sequence") if X is None or isinstance(X, Iterator) else X)
        axes = getattr(X, "ndim", 2)
        if isinstance(X, list | tuple) or (axes == 1 and X.dtype.kind == "O"):
            self._forget_features(fitting)
            return list(X)
        checks: dict[str, Any] = {
            "dtype": [numpy.float64, numpy.float32],
            "ensure_all_finite": "allow-nan",
            "ensure_min_samples": 2 if fitting else 1,
        }
        if axes != 3 and (fitting or hasattr(self, "n_features_in_")):
            return validate_data(self, X, reset=fitting, **checks)
        self._forget_features(fitting)
        return check_array(X, allow_nd=axes == 3, estimator=self, input_name="X", **checks)

    def _forget_features(self, fitting: bool) -> None:
        for name in ("n_features_in_", "feature_names_in_") if fitting else ():
            vars(self).pop(name, None)


def _channels(values: Any) -> numpy.ndarray:
    """A sequence as (steps, channels), in 32 bits.

    Raises:
        SequenceError: It is no sequence of numbers.
    """
    try:
        if numpy.iscomplexobj(values):
            raise SequenceError("has complex numbers")
        numbers = numpy.asarray(_unmasked(values), numpy.float64)
    except SequenceError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: it has a gradient
        shown = " ".join(reprlib.repr(values).split())
        reason = str(error) if isinstance(error, RuntimeError) else "but has to be numbers"
        raise SequenceError(f"is {shown}, {reason}") from None
    if numbers.ndim not in (1, 2):
        shape = numbers.shape or "one number"
        raise SequenceError(f"has the shape {shape}, but has to be (steps) or (steps, channels)")
    with numpy.errstate(over="ignore"):
        return numbers.reshape(len(numbers), *(numbers.shape[1:] or (1,))).astype(numpy.float32)


def _unmasked(values: Any) -> Any:
    """An array in which what is masked is NaN, as what is missing is."""
    if not isinstance(values, numpy.ma.MaskedArray):
        return values
    return numpy.ma.filled(values.astype(numpy.float64), numpy.nan)


def _labels(y: Any) -> numpy.ndarray:
    """Labels as scikit-learn has them: one axis, none of them missing, no measured numbers."""
    if isinstance(y, Iterator):
        y = list(y)
    listed = y.tolist() if hasattr(y, "tolist") else y
    for row, label in enumerate(listed if isinstance(listed, list | tuple) else ()):
        if label is None or label is NA or label is NaT or _is_nan(label):
            raise DataError(f"row {row} has no label")
    as_given: Any = None
    check_array(y, ensure_2d=False, dtype=as_given, input_name="y")
    labels = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    return labels


def _is_nan(label: Any) -> bool:
    return isinstance(label, float) and label != label


def check_count(count: int, labels: Sequence[str] | None, units: str) -> None:
    """Refuse labels that are not as many as the inputs."""
    if labels is not None and len(labels) != count:
        raise DataError(f"there are {count} {units}, but {len(labels)} labels")
