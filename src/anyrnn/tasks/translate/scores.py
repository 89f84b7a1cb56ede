"""How good translations are: BLEU, chrF, and what they look like."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from anyrnn.tasks.decoding.text_scores import bleu_of
from anyrnn.tasks.task import Scores


@dataclass(frozen=True)
class Example:
    """A pair that was measured.

    Attributes:
        source: What was translated.
        reference: Its translation in the data.
        translation: What the network wrote.
        loss: The mean loss of a token of the reference, in nats.
    """

    source: str
    reference: str
    translation: str
    loss: float


@dataclass(frozen=True)
class Alignment:
    """What a translation attended to.

    Attributes:
        source: The tokens of the source.
        target: The tokens of the translation.
        weights: For each of the latter, the weight of each of the former.
    """

    source: list[str]
    target: list[str]
    weights: list[list[float]]


@dataclass(frozen=True)
class TranslationScores(Scores):
    """The figures of a translator on some pairs: BLEU, chrF, exact translations, perplexity, loss.

    Attributes:
        signatures: How sacrebleu computed BLEU and chrF, by their names.
        unknown: The number of tokens of the references that the vocabulary lacks.
        cut: The number of translations that were cut at their largest length.
        examples: Some pairs, in their order.
        worst: The pairs whose references have the largest loss.
        alignments: What some translations attended to.
    """

    signatures: dict[str, str]
    unknown: int
    cut: int
    examples: list[Example] = field(repr=False)
    worst: list[Example] = field(repr=False)
    alignments: list[Alignment] = field(repr=False)


def figures_of(
    translations: Sequence[str], references: Sequence[str], tokens: str, *, lowercase: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU and chrF (from 0 to 100), the share of exact translations, and sacrebleu's signatures.

    Args:
        translations: The translations.
        references: What they should be.
        tokens: How sacrebleu divides them into words.
        lowercase: Whether capitals do not count.

    Example:
        >>> figures, signatures = figures_of(["a red boat ."], ["a red boat ."], "13a", lowercase=0)
        >>> {name: round(value, 3) for name, value in figures.items()}
        {'bleu': 100.0, 'chrf': 100.0, 'exact': 1.0}
    """
    from sacrebleu.metrics.chrf import CHRF

    bleu, bleu_signature = bleu_of(
        translations, [[each] for each in references], tokens, lowercase=lowercase
    )
    metric = CHRF(lowercase=lowercase)
    chrf = metric.corpus_score(list(translations), [list(references)])
    figures = {"bleu": bleu.score, "chrf": chrf.score}
    signatures = {"bleu": bleu_signature, "chrf": str(metric.get_signature())}
    pairs = zip(translations, references, strict=True)
    same = [_plain(one, lowercase) == _plain(other, lowercase) for one, other in pairs]
    return {**figures, "exact": sum(same) / max(1, len(same))}, signatures


def _plain(text: str, lowercase: bool) -> str:
    text = " ".join(text.split())
    return text.lower() if lowercase else text
