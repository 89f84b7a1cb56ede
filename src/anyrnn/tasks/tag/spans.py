"""Spans that tags with prefixes describe: B-PER I-PER O.

The schemes are BIO (also called IOB2) and, for reading, IOB1, BIOES and BILOU.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int, str]

OUTSIDE = "O"
_BEGIN, _INSIDE, _END, _SINGLE = "B", "IM", "EL", "SU"
_PREFIXES = _BEGIN + _INSIDE + _END + _SINGLE


def describe_spans(tags: Iterable[str]) -> bool:
    """Whether all tags are "O" or have a prefix such as "B-", and one has.

    Example:
        >>> describe_spans(["O", "B-PER", "I-PER"]), describe_spans(["NOUN", "VERB"])
        (True, False)
    """
    prefixes = {_split(tag)[0] for tag in tags}
    return "" not in prefixes and prefixes != {OUTSIDE}


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of a sentence: first step, step after the last one, kind.

    As in conlleval and seqeval, a tag that goes on with a span that does not exist begins one.

    Example:
        >>> spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
        [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'LOC')]
    """
    found: list[Span] = []
    start = -1
    kind = ""
    for step, tag in enumerate([*tags, OUTSIDE]):
        prefix, own = _split(tag)
        begins = prefix in _BEGIN + _SINGLE or (prefix != OUTSIDE and (start < 0 or own != kind))
        if start >= 0 and (begins or prefix == OUTSIDE):
            found.append((start, step, kind))
            start = -1
        if begins:
            start, kind = step, own
        if start >= 0 and prefix in _END + _SINGLE:
            found.append((start, step + 1, kind))
            start = -1
    return found


def repaired(tags: Sequence[str]) -> list[str]:
    """The same tags, but each "I-" that begins a span has become "B-".

    Example:
        >>> repaired(["I-PER", "I-PER", "O", "B-LOC", "I-PER"])
        ['B-PER', 'I-PER', 'O', 'B-LOC', 'B-PER']
    """
    result = list(tags)
    before = OUTSIDE
    for step, tag in enumerate(tags):
        prefix, kind = _split(tag)
        goes_on = before[:1] in _BEGIN + _INSIDE and _split(before)[1] == kind
        if prefix == "I" and not goes_on:
            result[step] = f"B{tag[1:]}"
        before = tag
    return result


@dataclass
class SpanCounts:
    """How many spans are right, were given, and are true; F1 and the like follow.

    Example:
        >>> true, given = ["B-PER I-PER O", "O B-LOC"], ["B-PER O B-LOC", "O B-LOC"]
        >>> round(SpanCounts.of(map(str.split, true), map(str.split, given)).f1, 3)
        0.4
    """

    right: int = 0
    given: int = 0
    true: int = 0

    @classmethod
    def of(cls, true: Iterable[Sequence[str]], given: Iterable[Sequence[str]]) -> "SpanCounts":
        """Those of the spans that the tags of sentences describe."""
        counts = cls()
        for expected, found in zip(true, given, strict=True):
            counts.add(spans(expected), spans(found))
        return counts

    def add(self, expected: Sequence[Span], found: Sequence[Span]) -> None:
        """Count spans: one is right if both ends and the kind are."""
        self.right += len(set(expected) & set(found))
        self.given += len(found)
        self.true += len(expected)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 if there is no span at all."""
        return 2 * self.right / max(1, self.given + self.true)

    @property
    def precision(self) -> float:
        """Which share of the given spans is right."""
        return self.right / max(1, self.given)

    @property
    def recall(self) -> float:
        """Which share of the true spans was given."""
        return self.right / max(1, self.true)


def _split(tag: str) -> tuple[str, str]:
    """The prefix and the kind of a tag; an empty prefix if it has none."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if tag[:1] in _PREFIXES and tag[1:2] in ("-", "_"):
        return tag[0], tag[2:]
    return "", tag
