"""How good texts are that a decoder writes: BLEU, and the loss of the references."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch

from anyrnn.tasks.data.batches import Batches
from anyrnn.tasks.decoding.written_tokens import UNKNOWN_ID
from anyrnn.tasks.scores.figures import perplexity
from anyrnn.tasks.task import Metric, Task, check_finite, steps

if TYPE_CHECKING:  # its import takes seconds
    from sacrebleu.metrics.bleu import BLEUScore

_KANA = re.compile("[\u3040-\u30ff]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


def bleu_tokens(references: Sequence[str]) -> str:
    """How sacrebleu is to divide references into words, by the look of them.

    Example:
        >>> bleu_tokens(["A boat."]), bleu_tokens(["一只小船。"])
        ('13a', 'zh')
    """
    sample = "".join(references[:: max(1, len(references) // 1000)])
    if len(_KANA.findall(sample)) > 0.1 * len(sample):
        return "char"
    return "zh" if len(_HAN.findall(sample)) > 0.2 * len(sample) else "13a"


def bleu_of(
    texts: Sequence[str], references: Sequence[Sequence[str]], tokens: str, *, lowercase: bool
) -> tuple["BLEUScore", str]:
    """BLEU of all texts together as sacrebleu computes it, and its signature.

    Args:
        texts: The texts.
        references: What each of them should be: one or several, not always as many.
        tokens: How sacrebleu divides them into words.
        lowercase: Whether capitals do not count.

    Example:
        >>> references = [["a boat", "a red boat ."], ["the green tree ."]]
        >>> score, signature = bleu_of(
        ...     ["a red boat .", "a green tree"], references, "13a", lowercase=True
        ... )
        >>> round(score.score, 1), signature.split("|")[:2]
        (71.3, ['nrefs:var', 'case:lc'])
    """
    from sacrebleu.metrics.bleu import BLEU

    # By force: that texts end in a full stop after a space is no news to a user.
    metric = BLEU(tokenize=tokens, lowercase=lowercase, force=True)
    streams = [list(stream) for stream in zip_longest(*references)]
    score = metric.corpus_score(list(texts), streams)
    return score, str(metric.get_signature())


def bleu_metric(tokens: str, lowercase: bool) -> Metric:
    """The metric of BLEU, from texts and a reference for each; see `bleu_of`."""
    from sacrebleu.metrics.bleu import BLEU

    from anyrnn.tasks.scores.metrics import Counts

    bleu = BLEU(tokenize=tokens, lowercase=lowercase, force=True)
    order = bleu.max_ngram_order

    def count(texts: Sequence[str], references: Sequence[str]) -> list[int]:
        # Two lengths, then of each order the n-grams that agree and all of them.
        found = bleu.corpus_score(list(texts), [list(references)])
        return [found.sys_len, found.ref_len, *found.counts, *found.totals]

    def figure(written: int, right: int, *counts: int) -> float:
        parts = (list(counts[:order]), list(counts[order:]))
        return BLEU.compute_bleu(*parts, written, right, bleu.smooth_method).score

    return Counts(2 + 2 * order, count, figure)


@dataclass(frozen=True)
class ReferenceLosses:
    """The cross-entropy of references, given the true tokens before each, in nats.

    Attributes:
        mean: The mean of all tokens.
        rows: The mean of the tokens of each row.
        unknown: The number of tokens that the vocabulary lacks.
    """

    mean: float
    rows: list[float]
    unknown: int

    @property
    def figures(self) -> dict[str, float]:
        """Perplexity and loss."""
        return {"perplexity": perplexity(self.mean), "loss": self.mean}


def reference_losses(
    task: Task,
    network: torch.nn.Module,
    batches: Batches,
    check: Callable[[], None],
) -> ReferenceLosses:
    """The losses of the column `target` of all batches.

    Args:
        task: Its steps give the loss of each token, (batch, time), as the first output.
        network: The network.
        batches: The batches.
        check: Called after each batch.

    Raises:
        RunError: A loss is no number.
    """
    total, tokens, unknown = 0.0, 0, 0
    rows: dict[int, float] = {}
    for batch, step in steps(task, network, batches, check):
        losses = step.output[0]
        check_finite(losses)
        sums = losses.double().sum(1)
        total, tokens = total + float(sums.sum()), tokens + step.count
        unknown += int((batch["target"] == UNKNOWN_ID).sum())
        means = (sums / batch.lengths["target"]).tolist()
        rows.update(zip(batch.rows.tolist(), means, strict=True))
    return ReferenceLosses(total / tokens, [rows[row] for row in range(len(rows))], unknown)
