"""Tagging with scikit-learn's verbs."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import numpy

from anyrnn.errors import DataError
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.estimator import FromList
from anyrnn.tasks.tag.data import are_spans, divided, part_of
from anyrnn.tasks.tag.files import Sentences, distinct
from anyrnn.tasks.tag.task import Tag
from anyrnn.tasks.trained import Model


class Tagger(FromList, task=Tag, data=("validation_share",)):
    """A tag for each token of a sentence, from its word, its characters and its neighbours.

    A share of the sentences (`validation_share`) is kept aside in `fit` and decides when to stop.
    Tags that describe spans (B-PER I-PER O) are mended where a span begins with I-; see the
    parameter `spans`.

    Attributes:
        classes_: The tags in ascending order, which is that of `predict_proba`.

    Example:
        >>> from anyrnn.tasks import Tagger
        >>> sentences = [["they", "walk"], ["the", "walk"], ["they", "run"], ["the", "run"]] * 3
        >>> tags = [["PRON", "VERB"], ["DET", "NOUN"]] * 6
        >>> tagger = Tagger(cell="gru", hidden_size=8, epochs=2).fit(sentences, tags)
        >>> [len(each) for each in tagger.predict([["they", "run"], [], ["the"]])]
        [2, 0, 1]
    """

    classes_: numpy.ndarray

    def fit(self, X: Iterable[Iterable[str]], y: Iterable[Iterable[str]]) -> Self:
        """Train on sentences and their tags.

        Args:
            X: The tokens of each sentence.
            y: The tag of each of them.

        Raises:
            DataError: A token or tag is no text, a sentence has not as many tags as tokens, or
                there are too few sentences.
        """
        options = self.options()
        found = _tagged(X, y)
        with_spans = are_spans(distinct(found.tags), options.words.spans)
        shares = options.data.shares(("test",))
        return self._fit(
            Data.of(divided(part_of(found, with_spans), shares, options.training.seed))
        )

    def predict(self, X: Iterable[Iterable[str]]) -> list[list[str]]:
        """The tags of each sentence, a list for each; of a sentence without a token none."""
        sentences = _lists(X, "token")
        tagged = iter(self._fitted.predict([each for each in sentences if each]))
        return [next(tagged).tags if each else [] for each in sentences]

    def predict_proba(self, X: Iterable[Iterable[str]]) -> list[numpy.ndarray]:
        """The probability of each tag for each token, (tokens, tags) for each sentence.

        With a conditional random field a probability is that of all sequences of tags with this tag
        at this token; the tags of `predict` are those of the most probable sequence.
        """
        sentences = _lists(X, "token")
        task, network = self._fitted.task, self._fitted.network
        found = iter(task.probabilities(network, [each for each in sentences if each]))
        nothing = numpy.empty((0, len(self.classes_)))
        return [next(found).double().numpy() if each else nothing for each in sentences]

    def score(self, X: Iterable[Iterable[str]], y: Iterable[Iterable[str]]) -> float:
        """The share of the tokens that are given their tag."""
        part = part_of(_tagged(X, y), self._fitted.task.with_spans)
        given = self.predict(part.tokens)
        pairs = zip(chain.from_iterable(given), chain.from_iterable(part.tags), strict=True)
        return fmean(found == true for found, true in pairs)

    def _keep(self, model: Model, run: Path) -> None:
        super()._keep(model, run)
        self.classes_ = numpy.array(self.model_.task.tags)


def _tagged(X: Iterable[Iterable[str]], y: Iterable[Iterable[str]]) -> Sentences:
    """Sentences with their tags, those left out that have no token.

    Raises:
        DataError: They cannot be used.
    """
    tokens, tags = _lists(X, "token"), _lists(y, "tag")
    if len(tokens) != len(tags):
        raise DataError(f"there are {len(tokens)} sentences, but {len(tags)} lists of tags")
    for number, (own, given) in enumerate(zip(tokens, tags, strict=True)):
        if len(own) != len(given):
            raise DataError(f"row {number} has {len(own)} tokens, but {len(given)} tags")
    tokens, tags = (list(filter(None, lists)) for lists in (tokens, tags))
    if not tokens:
        raise DataError("there is no sentence with a token")
    return Sentences(Tagger.place, tokens, tags)


def _lists(rows: Any, unit: str) -> list[list[str]]:
    """A list of texts for each row.

    Raises:
        DataError: There is something else.
    """
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise DataError(f"{rows!r} was given, but a list of lists of {unit}s is needed")
    found = []
    for number, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Iterable):
            raise DataError(f"row {number} is {row!r}, but has to be a list of {unit}s")
        values = list(row)
        for value in values:
            if not isinstance(value, str) or not value.strip():
                raise DataError(f"row {number} has the {unit} {value!r}, but it has to be a text")
        found.append(list(map(whole_characters, values)))
    return found
