"""How well tags agree with the true ones."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy

from anyrnn.tasks.scores.class_scores import ClassScore, scores_of
from anyrnn.tasks.tag.spans import Span, SpanCounts, spans
from anyrnn.tasks.task import Scores

_WORST_SENTENCES = 25


@dataclass(frozen=True)
class TaggedToken:
    """A token, its true tag, the tag that it was given, and whether the training had the token."""

    token: str
    true: str
    given: str
    known: bool


@dataclass(frozen=True)
class TaggingScores(Scores):
    """The figures of one tagger on some sentences.

    Attributes:
        sentences: The number of sentences.
        unknown: The number of tokens that the training sentences do not have.
        classes: The figures of each tag.
        confusion: How many tokens of each true tag (row) were given each tag (column).
        kinds: The figures of each kind of span, if tags describe spans.
        mistakes: The sentences of the largest loss with a mistake, the worst first.
    """

    sentences: int
    unknown: int
    classes: list[ClassScore]
    confusion: list[list[int]]
    kinds: list[ClassScore]
    mistakes: list[list[TaggedToken]]


class Tally:
    """What is counted of tags and their truth, sentence by sentence.

    Args:
        tags: The tags that the tagger knows.
        with_spans: Whether tags describe spans.
    """

    def __init__(self, tags: Sequence[str], *, with_spans: bool) -> None:
        self._tags = tags
        self._numbers = {tag: number for number, tag in enumerate(tags)}
        self._confusion = numpy.zeros((len(tags), len(tags)), numpy.int64)
        self._with_spans = with_spans
        self._sentences = self._sentences_right = 0
        self._loss = 0.0
        # By whether the training had the token.
        self._counts = {True: 0, False: 0}
        self._right = {True: 0, False: 0}
        self._guessed_right = {True: 0, False: 0}
        self._spans, self._guessed_spans = SpanCounts(), SpanCounts()
        self._kinds: defaultdict[str, SpanCounts] = defaultdict(SpanCounts)
        self._worst: list[tuple[float, int, list[TaggedToken]]] = []

    def add(
        self,
        number: int,
        tokens: Sequence[str],
        true: Sequence[str],
        given: Sequence[str],
        guessed: Sequence[str],
        known: Sequence[bool],
        loss: float,
    ) -> None:
        """Count a sentence.

        Args:
            number: Its number; of sentences of the same loss the first one counts as worse.
            tokens: Its tokens.
            true: Their true tags.
            given: The tags that they were given.
            guessed: The most frequent tag of each.
            known: Whether the training had the token.
            loss: The loss of the sentence, in nats.
        """
        self._sentences += 1
        self._loss += loss
        numbers = self._numbers
        for expected, found, guess, had in zip(true, given, guessed, known, strict=True):
            self._counts[had] += 1
            self._right[had] += found == expected
            self._guessed_right[had] += guess == expected
            if expected in numbers:
                self._confusion[numbers[expected], numbers[found]] += 1
        if self._with_spans:
            self._count_spans(spans(true), spans(given), spans(guessed))
        if list(given) == list(true):
            self._sentences_right += 1
            return
        place = (loss, -number)
        if len(self._worst) < _WORST_SENTENCES or place > self._worst[0][:2]:
            tagged = list(map(TaggedToken, tokens, true, given, known))
            heapq.heappush(self._worst, (*place, tagged))
            if len(self._worst) > _WORST_SENTENCES:
                heapq.heappop(self._worst)

    def _count_spans(
        self, expected: Sequence[Span], found: Sequence[Span], guessed: Sequence[Span]
    ) -> None:
        self._spans.add(expected, found)
        self._guessed_spans.add(expected, guessed)
        for kind in {kind for _, _, kind in (*expected, *found)}:
            of_kind = ([span for span in each if span[2] == kind] for each in (expected, found))
            self._kinds[kind].add(*of_kind)

    def scores(self) -> TaggingScores:
        """The figures of all sentences that were counted."""
        figures = _figures(self._right, self._counts)
        figures["sentence_accuracy"] = self._sentences_right / max(1, self._sentences)
        figures["loss"] = self._loss / max(1, int(self._confusion.sum()))
        baseline = _figures(self._guessed_right, self._counts)
        if self._with_spans:
            figures["span_f1"] = self._spans.f1
            baseline["span_f1"] = self._guessed_spans.f1
        return TaggingScores(
            count=sum(self._counts.values()),
            figures=figures,
            baselines={"most frequent tags": baseline},
            sentences=self._sentences,
            unknown=self._counts[False],
            classes=scores_of(self._confusion, self._tags),
            confusion=self._confusion.tolist(),
            kinds=[
                ClassScore(kind, own.precision, own.recall, own.f1, own.true)
                for kind, own in sorted(self._kinds.items())
            ],
            mistakes=[tagged for _, _, tagged in sorted(self._worst, reverse=True)],
        )


def _figures(right: Mapping[bool, int], counts: Mapping[bool, int]) -> dict[str, float]:
    return {
        "accuracy": sum(right.values()) / max(1, sum(counts.values())),
        "known_accuracy": right[True] / max(1, counts[True]),
        "unknown_accuracy": right[False] / max(1, counts[False]),
    }
