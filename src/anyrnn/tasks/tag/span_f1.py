"""The metric of spans."""

from collections.abc import Sequence

import torch
from torchmetrics import Metric

from anyrnn.tasks.tag.spans import SpanCounts


class SpanF1(Metric):
    """F1 of spans, batch by batch."""

    right: torch.Tensor
    given: torch.Tensor
    true: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "given", "true"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, true: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> None:
        """Count the spans of some sentences."""
        counts = SpanCounts()
        for expected, found in zip(true, given, strict=True):
            counts.update(expected, found)
        self.right += counts.right
        self.given += counts.given
        self.true += counts.true

    def compute(self) -> float:
        """F1."""
        return SpanCounts(int(self.right), int(self.given), int(self.true)).f1
