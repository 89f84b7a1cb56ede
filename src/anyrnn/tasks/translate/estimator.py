"""Translation with scikit-learn's verbs."""

from collections.abc import Iterable
from typing import ClassVar, Self

from anyrnn.errors import DataError
from anyrnn.tasks.estimator import FromList, WritesTexts, check_pairs, listed_texts
from anyrnn.tasks.translate.data import Part
from anyrnn.tasks.translate.task import Translate


class Translator(FromList, WritesTexts, task=Translate, data=("validation_share",)):
    """Sentences to their translations.

    A share of the pairs (`validation_share`) is kept aside in `fit` and decides when to stop.

    Example:
        >>> from anyrnn.tasks import Translator
        >>> sources = ["one boat", "two boats", "one tree", "two trees"] * 3
        >>> targets = ["une barque", "deux barques", "un arbre", "deux arbres"] * 3
        >>> translator = Translator(cell="gru", hidden_size=8, epochs=1, minimum_frequency=1)
        >>> len(translator.fit(sources, targets).predict(["two trees", ""]))
        2
    """

    files: ClassVar = {"source": "the sentences", "target": "their translations"}

    def fit(self, X: Iterable[str], y: Iterable[str]) -> Self:
        """Train on sentences and their translations.

        Args:
            X: The sentences.
            y: The translation of each.

        Raises:
            DataError: One of them is no text or empty, there is not a translation for each
                sentence, or there are too few.
        """
        return self._fit(self._divided(_part(X, y)))

    def _listed(self, X: Iterable[str]) -> list[str]:
        return listed_texts(X)

    def score(self, X: Iterable[str], y: Iterable[str]) -> float:
        """BLEU of the translations, from 0 to 100."""
        return self._fitted.score(_part(X, y)).figures["bleu"]


def _part(X: Iterable[str], y: Iterable[str]) -> Part:
    sources, targets = listed_texts(X), listed_texts(y)
    check_pairs("sentences", sources, "translations", targets)
    for name, texts in (("sentence", sources), ("translation", targets)):
        for number, text in enumerate(texts):
            if not text.strip():
                raise DataError(f"row {number} has an empty {name}; leave such pairs out")
    return Part(Translator.place, sources, targets)
