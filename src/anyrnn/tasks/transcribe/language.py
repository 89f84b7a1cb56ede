"""Language models that help to find what was said: n-grams of a text, or a run of `generate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.data.encoding import input_lines
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID, UNKNOWN_ID
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.generate.model import LanguageNetwork
from anyrnn.tasks.generate.ngrams import Context, NGramModel
from anyrnn.tasks.generate.task import Generate
from anyrnn.tasks.trained import load
from anyrnn.tasks.transcribe.beam import LanguageModel, Numbers

_LONGEST = 1_000_000  # tokens of a line


class CountedLanguage:
    """N-grams.

    Args:
        texts: The texts that are counted.
        tokens: Texts to tokens.
        order: The order of the n-grams.
    """

    def __init__(self, texts: Sequence[str], tokens: WrittenVocabulary, order: int) -> None:
        encoded = tokens.encode(texts, _LONGEST)
        stream = numpy.concatenate([[BOUNDARY_ID], *encoded])
        self._model = NGramModel(stream, tokens.size, order)
        self._known: dict[Context, Numbers] = {}

    def begin(self) -> list[Context]:
        """After the end of the text before."""
        return [self._model.after(self._model.empty, BOUNDARY_ID)]

    def scores(self, state: list[Context]) -> Numbers:
        """Those of each context, which are kept."""
        for context in state:
            if context not in self._known:
                self._known[context] = numpy.log(self._model.probabilities(context))
        return numpy.stack([self._known[context] for context in state])

    def after(
        self,
        state: list[Context],
        texts: NDArray[numpy.int64],
        tokens: NDArray[numpy.int64],
    ) -> list[Context]:
        """The contexts after further tokens."""
        return [
            state[text] if token == BOUNDARY_ID else self._model.after(state[text], token)
            for text, token in zip(texts.tolist(), tokens.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class _Texts:
    """The states of a network after some texts, each (layers, texts, size), and its scores."""

    states: tuple[torch.Tensor, ...]
    scores: Numbers


class NetworkLanguage:
    """A network of a run of `generate` whose tokens are characters.

    Args:
        task: The task of the run.
        network: Its network, in evaluation mode.
        tokens: Those that are written.
    """

    def __init__(self, task: Generate, network: LanguageNetwork, tokens: WrittenVocabulary) -> None:
        self._network, self._ends = network, task.ends
        names = [tokens.tokenizer.id_to_token(number) or "" for number in range(tokens.size)]
        ids = [task.tokenizer.encode(name, add_special_tokens=False).ids for name in names]
        # What the language model never saw is unknown to it.
        numbers = [found[0] if len(found) == 1 else UNKNOWN_ID for found in ids]
        self._numbers = torch.tensor([BOUNDARY_ID, UNKNOWN_ID, *numbers[2:]])

    def begin(self) -> _Texts:
        """After the end of the text before."""
        return self._read(None, torch.tensor([BOUNDARY_ID]))

    def scores(self, state: _Texts) -> Numbers:
        """Those that the network gave."""
        return state.scores

    def after(
        self, state: _Texts, texts: NDArray[numpy.int64], tokens: NDArray[numpy.int64]
    ) -> _Texts:
        """The network reads the further tokens, of all texts at once."""
        states = tuple(each[:, texts] for each in state.states)
        scores = state.scores[texts]
        longer = numpy.flatnonzero(tokens != BOUNDARY_ID)
        if len(longer):
            before = tuple(each[:, longer] for each in states)
            found = self._read(before, self._numbers[tokens[longer]])
            for each, new in zip(states, found.states, strict=True):
                each[:, longer] = new
            scores[longer] = found.scores
        return _Texts(states, scores)

    def _read(self, states: tuple[torch.Tensor, ...] | None, tokens: torch.Tensor) -> _Texts:
        given: Any = states
        if states is not None and len(states) == 1:
            (given,) = states
        with torch.no_grad():
            outputs, found = self._network(tokens[:, None], given)
            scores = self._network.log_probabilities(outputs)[:, 0].double().numpy()
        scores = scores[:, self._numbers.numpy()]
        if not self._ends:  # nothing tells where a text ends
            scores[:, BOUNDARY_ID] = 0.0
        return _Texts(found if isinstance(found, tuple) else (found,), scores)


def language_model(
    path: Path, order: int, tokens: WrittenVocabulary, normal: Callable[[str], str]
) -> LanguageModel:
    """The language model that a path names.

    Args:
        path: A run of `generate`, or a file of text, a text in each line.
        order: The order of n-grams of such a file.
        tokens: Those that are written.
        normal: How texts are written.

    Raises:
        DataError: The file cannot be read, or has no text.
        RunError: The folder is no run of `generate`.
        OptionError: The tokens of the run are other ones.
    """
    if not path.is_dir():
        texts = [text for line in input_lines(path, "utf-8") if (text := normal(line))]
        if not texts:
            raise DataError(f"{path} ({option_name('language_model')}) has no text")
        return CountedLanguage(texts, tokens, order)
    model = load(path, kind=Generate)
    kind = model.task.options.vocabulary.tokens
    if kind != "character" or tokens.kind != "character":
        other = f"{kind} tokens" if kind != "character" else f"characters, not {tokens.kind} tokens"
        raise OptionError(
            f"{option_name('language_model')} {path} has {other}, but the tokens of both have to "
            "be characters; a file of text serves for others, too"
        )
    network = model.network
    assert isinstance(network, LanguageNetwork)
    return NetworkLanguage(model.task, network, tokens)
