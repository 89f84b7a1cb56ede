"""How well tags agree with the true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from anyrnn.tasks.class_scores import ClassScore, class_scores, confusion_of
from anyrnn.tasks.tag.spans import SpanCounts, spans
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


def score(
    tagged: Sequence[Sequence[TaggedToken]],
    guesses: Sequence[Sequence[str]],
    losses: Sequence[float],
    tags: Sequence[str],
    *,
    loss: float,
    with_spans: bool,
) -> TaggingScores:
    """Compare tags with the true ones.

    Args:
        tagged: The tokens of each sentence.
        guesses: The most frequent tag of each token.
        losses: The loss of each sentence.
        tags: The tags that the tagger knows.
        loss: The mean loss of a token, in nats.
        with_spans: Whether tags describe spans.
    """
    tokens = [token for sentence in tagged for token in sentence]
    guessed = [tag for sentence in guesses for tag in sentence]
    numbers = {tag: number for number, tag in enumerate(tags)}
    compared = [(numbers[one.given], numbers[one.true]) for one in tokens if one.true in numbers]
    given, true = torch.tensor(compared).reshape(-1, 2).T
    figures = {
        **_figures(tokens, [token.given for token in tokens]),
        "sentence_accuracy": _share([all(t.given == t.true for t in each) for each in tagged]),
        "loss": loss,
    }
    baseline = _figures(tokens, guessed)
    kinds: list[ClassScore] = []
    if with_spans:
        true_tags = [[token.true for token in sentence] for sentence in tagged]
        given_tags = [[token.given for token in sentence] for sentence in tagged]
        figures["span_f1"] = span_counts(true_tags, given_tags).f1
        baseline["span_f1"] = span_counts(true_tags, guesses).f1
        kinds = _kinds(true_tags, given_tags)
    return TaggingScores(
        count=len(tokens),
        figures=figures,
        baselines={"most frequent tags": baseline},
        sentences=len(tagged),
        unknown=sum(not token.known for token in tokens),
        classes=class_scores(given, true, tags),
        confusion=confusion_of(given, true, len(tags)),
        kinds=kinds,
        mistakes=_worst(tagged, losses),
    )


def span_counts(true: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> SpanCounts:
    """The counts of the spans of all sentences."""
    counts = SpanCounts()
    for expected, found in zip(true, given, strict=True):
        counts.update(expected, found)
    return counts


def _figures(tokens: Sequence[TaggedToken], given: Sequence[str]) -> dict[str, float]:
    right = [tag == token.true for token, tag in zip(tokens, given, strict=True)]
    known = [found for found, token in zip(right, tokens, strict=True) if token.known]
    unknown = [found for found, token in zip(right, tokens, strict=True) if not token.known]
    return {
        "accuracy": _share(right),
        "known_accuracy": _share(known),
        "unknown_accuracy": _share(unknown),
    }


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(1, len(right))


def _kinds(true: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> list[ClassScore]:
    counts: dict[str, SpanCounts] = {}
    for expected, found in zip(true, given, strict=True):
        expected_spans, found_spans = spans(expected), spans(found)
        for kind in {kind for _, _, kind in (*expected_spans, *found_spans)}:
            own = counts.setdefault(kind, SpanCounts())
            own.add(
                [span for span in expected_spans if span[2] == kind],
                [span for span in found_spans if span[2] == kind],
            )
    return [
        ClassScore(kind, own.precision, own.recall, own.f1, own.true)
        for kind, own in sorted(counts.items())
    ]


def _worst(
    tagged: Sequence[Sequence[TaggedToken]], losses: Sequence[float]
) -> list[list[TaggedToken]]:
    """The sentences with a mistake of the largest loss."""
    wrong = [
        (loss, number)
        for number, (sentence, loss) in enumerate(zip(tagged, losses, strict=True))
        if any(token.given != token.true for token in sentence)
    ]
    worst = sorted(wrong, key=lambda pair: (-pair[0], pair[1]))[:_WORST_SENTENCES]
    return [list(tagged[number]) for _, number in worst]
