"""Language models with scikit-learn's verbs."""

from collections.abc import Iterable
from typing import Any, Self

from anyrnn.errors import DataError
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.estimator import Estimator, listed_texts
from anyrnn.tasks.generate.data import Part, divided
from anyrnn.tasks.generate.options import SamplingOptions
from anyrnn.tasks.generate.task import Generate


class LanguageModel(Estimator, task=Generate, data=("validation_share",)):
    """Texts of which each token is predicted from those before; new ones are written.

    A share of what is given (`validation_share`) is kept aside in `fit` and decides when to stop.

    Example:
        >>> from anyrnn.tasks import LanguageModel
        >>> book = "to be or not to be\\n" * 9
        >>> model = LanguageModel(cell="gru", hidden_size=8, epochs=2).fit(book)
        >>> len(model.generate("to be", length=7, seed=0))
        7
    """

    def fit(self, X: str | Iterable[str], y: None = None) -> Self:
        """Train.

        Args:
            X: A book, of which the end is kept aside; or many texts, of which some are.
            y: Nothing.

        Raises:
            DataError: There is too little.
        """
        many = not isinstance(X, str)
        part = _part(X)
        options = self.options()
        parts = divided(part, options.data.shares(("test",)), many, options.training.seed)
        facts = {
            "texts": len(part.texts),
            "characters": {k: p.characters for k, p in parts.items()},
        }
        return self._fit(Data.of(parts, facts=facts))

    def generate(self, prompt: str = "", **sampling: Any) -> str:
        """A text that goes on after a prompt, which is not repeated.

        Args:
            prompt: What it begins with.
            sampling: See `SamplingOptions`: length, temperature, top_k, top_p, greedy, seed.

        Raises:
            DataError: The prompt has what the training never had.
        """
        task: Generate = self._fitted.task
        options = SamplingOptions(prompt=prompt, **sampling)
        return "".join(task.generate(self._fitted.network, options))

    def predict(self, X: Iterable[str]) -> list[float]:
        """The perplexity of each text."""
        return [found.perplexity for found in self._fitted.predict(_part(listed_texts(X)).texts)]

    def score(self, X: str | Iterable[str], y: None = None) -> float:
        """How well texts are predicted: minus the bits per character."""
        return -self._fitted.score(_part(X)).figures["bits_per_character"]


def _part(X: str | Iterable[str]) -> Part:
    texts = [X] if isinstance(X, str) else listed_texts(X)
    if "" in texts:
        raise DataError(f"row {texts.index('')} is an empty text; leave such texts out")
    if not texts:
        raise DataError("there is no text")
    return Part(LanguageModel.place, texts)
