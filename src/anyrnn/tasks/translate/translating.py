"""Sentences to their translations."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from anyrnn.tasks.data.batches import Batch, Batches, Column, by_rows
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.decoding.search import Hypothesis, generator_of, rows_at_once, searched
from anyrnn.tasks.decoding.written_tokens import UNKNOWN_ID
from anyrnn.tasks.decoding.written_vocabulary import BestFirst, Candidate, WrittenVocabulary
from anyrnn.tasks.translate.model import TranslationNetwork
from anyrnn.tasks.translate.options import SearchOptions

_FACTOR, _MORE = 2, 20  # how much longer than its source a translation may be


@dataclass(frozen=True)
class Translation(BestFirst):
    """A sentence with its translations.

    Attributes:
        source: The sentence.
        candidates: The translations, the best one first.
    """

    source: str
    candidates: list[Candidate]


def hypotheses(
    network: TranslationNetwork,
    sources: torch.Tensor,
    lengths: torch.Tensor,
    search: SearchOptions,
    generator: torch.Generator | None = None,
) -> list[list[Hypothesis]]:
    """The translations of a batch, the best one of each row first.

    Args:
        network: The network, in evaluation mode.
        sources: Padded token numbers, (batch, source).
        lengths: The number of tokens of each, with the end, (batch).
        search: How they are searched for.
        generator: Draws, if each token is drawn.
    """
    limits = (lengths.cpu() - 1) * _FACTOR + _MORE
    if search.longest is not None:
        limits = torch.full_like(limits, search.longest)
    copies = search.copy_unknown and network.decoder.attention is not None
    forbidden = () if copies else (UNKNOWN_ID,)
    with torch.inference_mode():
        state = network.begin(sources, lengths)
    return searched(network.decoder, state, limits, search, generator, forbidden)


@dataclass(frozen=True)
class Translating:
    """A network that translates.

    Attributes:
        network: The network, in evaluation mode.
        source, target: Its tokens.
        longest: How many tokens of a sentence are read.
        search: How translations are searched for.
    """

    network: TranslationNetwork
    source: WrittenVocabulary
    target: WrittenVocabulary
    longest: int
    search: SearchOptions

    def run(
        self,
        sentences: Iterable[str],
        *,
        at_once: int = 1024,
        warn: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[Translation]:
        """The translations of sentences, in their order.

        Args:
            sentences: The sentences; a blank one, and one without a token, has an empty
                translation.
            at_once: How many are asked for, and sorted by length, together.
            warn: Whether to warn of sentences that are too long.
            check: Called after each batch.
        """
        generator = generator_of(self.search.seed)
        asked, first = iter(sentences), 1
        while some := list(islice(asked, at_once)):
            tokens = self.source.encode(some, self.longest)
            if warn:
                self._warn(some, tokens, first)
            yield from self._translations(some, tokens, generator, check)
            first += len(some)

    def _warn(self, sentences: Sequence[str], tokens: Sequences, first: int) -> None:
        """Of each sentence that was cut."""
        for number, (sentence, kept) in enumerate(
            zip(sentences, tokens.lengths.tolist(), strict=True), start=first
        ):
            full = kept > self.longest  # with the end
            length = len(self.source.pieces(sentence)) if full else 0
            if length > self.longest:
                warnings.warn(
                    f"sentence {number:,} has {length:,} tokens: only the first {self.longest:,} "
                    "are translated, as the training had no longer ones; divide it",
                    stacklevel=4,
                )

    def _translations(
        self,
        sentences: Sequence[str],
        tokens: Sequences,
        generator: torch.Generator,
        check: Callable[[], None],
    ) -> Iterator[Translation]:
        rows = rows_at_once(self.search.beam, self.target.size)
        columns = {"source": Column(tokens, padded=True, lengths=tokens.lengths)}

        def best(batch: Batch) -> Iterator[list[Hypothesis]]:
            given = (batch["source"], batch.lengths["source"])
            for own in hypotheses(self.network, *given, self.search, generator):
                yield own[: self.search.n_best]

        found = by_rows(self.network, Batches(columns, rows), best, check)
        for sentence, length, own in zip(sentences, tokens.lengths, found, strict=True):
            empty = length == 1 or not sentence.strip()
            yield self._translation(sentence, [] if empty else own)

    def _translation(self, sentence: str, found: Sequence[Hypothesis]) -> Translation:
        if not found:
            return Translation(sentence, [Candidate("", [], 0.0, True)])
        unknown = any(UNKNOWN_ID in each.tokens for each in found)
        pieces = self.source.pieces(sentence) if unknown else []
        candidates = []
        for each in found:
            copies = {}
            if each.weights is not None and UNKNOWN_ID in each.tokens:
                # The end of the source is no word.
                places = each.weights[:, : len(pieces)].argmax(1).tolist()
                copies = {step: pieces[place] for step, place in enumerate(places)}
            candidates.append(self.target.candidate(each, copies))
        return Translation(sentence, candidates)
