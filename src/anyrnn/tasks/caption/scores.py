"""How good captions are: BLEU of one to four words, CIDEr-D, how many differ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from anyrnn.tasks.caption.cider import cider
from anyrnn.tasks.decoding.text_scores import bleu_of
from anyrnn.tasks.decoding.written_vocabulary import Candidate, WrittenVocabulary
from anyrnn.tasks.task import Scores


@dataclass(frozen=True)
class Glance:
    """What a network looked at while it wrote a word.

    Attributes:
        word: The word.
        weights: That of each region, in rows.
    """

    word: str
    weights: list[list[float]]


@dataclass(frozen=True)
class Example:
    """A picture that was measured.

    Attributes:
        name: What the data call it.
        file: Its file.
        caption: What the network wrote.
        references: Its captions in the data.
        glances: What the network looked at, if its regions lie in rows.
    """

    name: str
    file: str
    caption: str
    references: list[str]
    glances: list[Glance]


@dataclass(frozen=True)
class CaptionScores(Scores):
    """The figures of captions of some pictures: BLEU, CIDEr-D, distinct ones, perplexity, loss.

    Attributes:
        signature: How sacrebleu computed BLEU.
        unknown: The number of tokens of the references that the vocabulary lacks.
        cut: The number of captions that were cut at their largest length.
        frequent: The most frequent captions, and how many pictures have each.
        examples: Some pictures, in their order.
    """

    signature: str
    unknown: int
    cut: int
    frequent: list[tuple[str, int]]
    examples: list[Example] = field(repr=False)


def figures_of(
    captions: Sequence[str], references: Sequence[Sequence[str]], tokens: str, *, lowercase: bool
) -> tuple[dict[str, float], str]:
    """BLEU-1 to BLEU-4 (from 0 to 100), CIDEr-D (from 0 to 10), the share of distinct captions; and
    sacrebleu's signature.

    Args:
        captions: The caption of each picture.
        references: Its captions in the data, one or several.
        tokens: How sacrebleu divides them into words.
        lowercase: Whether capitals do not count.

    Example:
        >>> references = [["A dog runs .", "A brown dog ."], ["Two birds sit on a wire ."]]
        >>> captions = ["a dog runs .", "two birds on a wire ."]
        >>> figures, _ = figures_of(captions, references, "13a", lowercase=True)
        >>> {name: round(figures[name], 2) for name in ("bleu_1", "bleu_4", "cider", "distinct")}
        {'bleu_1': 90.48, 'bleu_4': 66.5, 'cider': 5.72, 'distinct': 1.0}
    """
    from sacrebleu.metrics.bleu import BLEU

    score, signature = bleu_of(captions, references, tokens, lowercase=lowercase)
    bleu = {
        f"bleu_{order}": BLEU.compute_bleu(
            score.counts[:order],
            score.totals[:order],
            score.sys_len,
            score.ref_len,
            smooth_method="exp",
            max_ngram_order=order,
        ).score
        for order in (4, 1, 2, 3)
    }
    divide = BLEU(tokenize=tokens).tokenizer

    def words(text: str) -> list[str]:
        return divide(text.lower() if lowercase else text).split()

    values = cider([*map(words, captions)], [[*map(words, own)] for own in references])
    figures = {"bleu_4": bleu.pop("bleu_4"), "cider": fmean(values), **bleu}
    return {**figures, "distinct": len({*captions}) / len(captions)}, signature


def frequent(captions: Sequence[str], most: int) -> list[tuple[str, int]]:
    """The most frequent captions, and how many pictures have each."""
    return Counter(captions).most_common(most)


def glances_of(
    found: Candidate, grid: tuple[int, int], vocabulary: WrittenVocabulary
) -> list[Glance]:
    """What was attended to at each word of a caption and at its end; nothing without attention.

    Args:
        found: The caption.
        grid: The height and width of the regions.
        vocabulary: Its tokens.
    """
    if found.weights is None:
        return []
    words = vocabulary.shown_at(found, len(found.weights))
    rows = found.weights.unflatten(1, grid).tolist()
    rounded = [[[round(value, 3) for value in row] for row in each] for each in rows]
    return [*map(Glance, words, rounded)]
