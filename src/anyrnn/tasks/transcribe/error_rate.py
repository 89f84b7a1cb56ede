"""The error rate of the transcriptions of an epoch, over all processes."""

from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics import Metric

from anyrnn.tasks.transcribe.scores import errors


class ErrorRate(Metric):
    """Errors as jiwer counts them, added up over batches and processes.

    Args:
        rate: "cer" or "wer"; see `errors`.

    Example:
        >>> metric = ErrorRate("wer")
        >>> metric.update(["a red coat"], ["a red boat"])
        >>> metric.update(["a"], ["a"])
        >>> metric.compute()
        tensor(0.2500)
    """

    counts: torch.Tensor

    def __init__(self, rate: str, **options: Any) -> None:
        super().__init__(**options)
        self._rate = rate
        self.add_state("counts", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, texts: Sequence[str], references: Sequence[str]) -> None:
        """Add some transcriptions."""
        found = errors(texts, references, self._rate)
        self.counts += torch.tensor(found, device=self.counts.device)

    def compute(self) -> torch.Tensor:
        """Errors for each character or word that was said."""
        wrong, total = self.counts.unbind()
        return wrong / total
