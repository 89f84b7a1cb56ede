"""How good transcriptions are: error rates of words and characters, and what they look like."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import truediv

from anyrnn.tasks.extras import library
from anyrnn.tasks.task import Metric, Scores

RATES = ("cer", "wer")
_MOST_ERRORS = 20


@dataclass(frozen=True)
class Word:
    """A word of a transcription.

    Attributes:
        text: The word.
        start, end: When it was said, in seconds.
        confidence: The geometric mean of the probabilities of its tokens.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Example:
    """A recording that was measured.

    Attributes:
        name: The recording.
        reference: Its transcript in the data.
        text: What the network wrote.
        errors: How many characters were replaced, added or left out.
    """

    name: str
    reference: str
    text: str
    errors: int


@dataclass(frozen=True)
class Picture:
    """Where the words of a transcription stand.

    Attributes:
        name: The recording.
        seconds: How long a column of the spectrum is.
        spectrum: What the network heard, a column for each step, from 0 to 99.
        words: The words of the transcription.
        tokens: Its tokens.
        weights: Of an attention, the weights of each token, in per cent; of CTC none.
    """

    name: str
    seconds: float
    spectrum: list[list[int]]
    words: list[Word]
    tokens: list[str]
    weights: list[list[int]]


@dataclass(frozen=True)
class TranscriptionScores(Scores):
    """The figures of a network on some recordings: CER, WER, loss.

    Attributes:
        short: How many recordings are too short for their transcript: they have no loss.
        unknown: How many characters or pieces of the references the vocabulary lacks.
        cut: How many transcriptions did not end by themselves.
        confusions: The most frequent errors in words: what was said, what was written ("" for
            nothing), how often.
        examples: Some recordings, in their order.
        worst: Those with the most errors for their length.
        pictures: Where the words of some stand.
    """

    short: int
    unknown: int
    cut: int
    confusions: list[tuple[str, str, int]]
    examples: list[Example] = field(repr=False)
    worst: list[Example] = field(repr=False)
    pictures: list[Picture] = field(repr=False)


def errors(texts: Sequence[str], references: Sequence[str], rate: str) -> tuple[int, int]:
    """How many characters ("cer") or words ("wer") of references were replaced, left out or added;
    and how many there are.

    Args:
        texts: What was written.
        references: What was said; none is empty.
        rate: Which of them.

    Example:
        >>> errors(["a red coat"], ["a red boat"], "cer"), errors(["a red"], ["a red boat"], "wer")
        ((1, 10), (1, 3))
    """
    jiwer = library("jiwer", "speech")
    measure = jiwer.process_characters if rate == "cer" else jiwer.process_words
    found = measure(list(references), list(texts))
    wrong = found.substitutions + found.deletions
    return wrong + found.insertions, wrong + found.hits


def error_rate(rate: str) -> Metric:
    """The metric of `errors`, as shares of what was said."""
    from anyrnn.tasks.scores.metrics import Counts

    return Counts(2, lambda texts, references: errors(texts, references, rate), truediv)


def confusions(texts: Sequence[str], references: Sequence[str]) -> list[tuple[str, str, int]]:
    """The most frequent errors in words, the most frequent one first; see `TranscriptionScores`.

    Example:
        >>> confusions(["a coat", "a red coat"], ["a boat", "a boat"])
        [('boat', 'coat', 2), ('', 'red', 1)]
    """
    jiwer = library("jiwer", "speech")
    found = jiwer.process_words(list(references), list(texts))
    counts: Counter[tuple[str, str]] = Counter()
    pairs = zip(found.alignments, found.references, found.hypotheses, strict=True)
    for chunks, reference, text in pairs:
        for chunk in chunks:
            if chunk.type != "equal":
                said = reference[chunk.ref_start_idx : chunk.ref_end_idx]
                written = text[chunk.hyp_start_idx : chunk.hyp_end_idx]
                size = max(len(said), len(written))
                counts.update(zip(_filled(said, size), _filled(written, size), strict=True))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(*pair, count) for pair, count in ordered[:_MOST_ERRORS]]


def _filled(words: Sequence[str], size: int) -> list[str]:
    return [*words, *[""] * (size - len(words))]
