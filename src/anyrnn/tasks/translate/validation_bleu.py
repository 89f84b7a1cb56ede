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
        found = self._bleu._extract_corpus_statistics(list(translations), [list(references)])
        self.counts += torch.tensor(found, device=self.counts.device).sum(0)

    def compute(self) -> torch.Tensor:
        """BLEU, from 0 to 100."""
        score = self._bleu._compute_score_from_stats(self.counts.tolist()).score
        return torch.tensor(score, dtype=torch.float32)
