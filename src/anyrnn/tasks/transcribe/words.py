"""From tokens with their steps to words with their times."""

import math
import re
from collections.abc import Iterable, Iterator

from anyrnn.tasks.data.vocabulary import UNSPACED
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.transcribe.ctc import Span
from anyrnn.tasks.transcribe.scores import Word

_SPACE = "Ġ"  # as byte-pair encoding writes it


class WordReader:
    """Puts tokens together to words, one after the other.

    Args:
        tokens: What tokens are.
        seconds: How long a step is.
    """

    def __init__(self, tokens: WrittenVocabulary, seconds: float) -> None:
        self._tokens, self._seconds = tokens, seconds
        self._spans: list[Span] = []

    def words(self, spans: Iterable[Span]) -> Iterator[Word]:
        """The words of some tokens, and the one that they end."""
        for span in spans:
            text = self._tokens.tokenizer.id_to_token(span.token) or ""
            alone = re.fullmatch(UNSPACED, text) is not None
            if alone or text.isspace() or text.startswith(_SPACE):
                yield from self.finish()
            if not text.isspace():
                self._spans.append(span)
            if alone:
                yield from self.finish()

    def finish(self) -> Iterator[Word]:
        """The word that was begun, if there is any."""
        spans, self._spans = self._spans, []
        text = self._tokens.text([span.token for span in spans])
        if text:
            first, end = min(span.first for span in spans), max(span.end for span in spans)
            confidence = math.exp(sum(span.score for span in spans) / len(spans))
            yield Word(
                text,
                round(first * self._seconds, 3),
                round(end * self._seconds, 3),
                round(confidence, 4),
            )
