"""BLEU of the translations of an epoch, over all processes."""

from collections.abc import Sequence
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from torchmetrics import Metric


class ValidationBleu(Metric):
    """BLEU as sacrebleu computes it, from counts that add up over batches and processes.

    Args:
        tokens: How sacrebleu divides sentences into words.
        lowercase: Whether capitals do not count.

    Example:
        >>> metric = ValidationBleu("13a")
        >>> metric.update(["a red boat sails"], ["a red boat sails"])
        >>> round(float(metric.compute()), 3)
        100.0
    """

    counts: torch.Tensor

    def __init__(self, tokens: str, *, lowercase: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._bleu = BLEU(tokenize=tokens, lowercase=lowercase)
        # Two lengths, then of each order the n-grams that agree and all of them.
        size = 2 + 2 * self._bleu.max_ngram_order
        self.add_state("counts", torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, translations: Sequence[str], references: Sequence[str]) -> None:
        """Add some sentences."""
        found = self._bleu.corpus_score(list(translations), [list(references)])
        counts = [found.sys_len, found.ref_len, *found.counts, *found.totals]
        self.counts += torch.tensor(counts, device=self.counts.device)

    def compute(self) -> torch.Tensor:
        """BLEU, from 0 to 100."""
        written, right, *counts = self.counts.tolist()
        order = self._bleu.max_ngram_order
        method = self._bleu.smooth_method
        found = BLEU.compute_bleu(counts[:order], counts[order:], written, right, method)
        return torch.tensor(found.score, dtype=torch.float32)
