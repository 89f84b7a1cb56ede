"""The metrics that torchmetrics lacks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torchmetrics import Metric


class Mean(Metric):
    """The mean of values that have weights; NaN makes it NaN.

    torchmetrics' `MeanMetric` leaves either NaN or the weights out.

    Example:
        >>> mean = Mean()
        >>> mean.update(torch.tensor(1.0), 3)
        >>> mean.update(torch.tensor(2.0), 1)
        >>> mean.compute()
        tensor(1.2500)
    """

    total: torch.Tensor
    weight: torch.Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, value: torch.Tensor, weight: float | torch.Tensor) -> None:
        """Add a value that stands for so many."""
        self.total += value.double() * weight
        self.weight += weight

    def compute(self) -> torch.Tensor:
        """The mean of all."""
        return (self.total / self.weight).float()


class Counts(Metric):
    """A figure of counts, which are added up over batches and processes.

    Args:
        size: How many counts there are.
        count: What some rows add to each, from what `update` is given.
        figure: The figure, from all counts.

    Example:
        >>> share = Counts(2, lambda right, all_: (right, all_), lambda right, all_: right / all_)
        >>> share.update(3, 4)
        >>> share.update(0, 1)
        >>> share.compute()
        tensor(0.6000)
    """

    counts: torch.Tensor

    def __init__(
        self, size: int, count: Callable[..., Sequence[int]], figure: Callable[..., float]
    ) -> None:
        super().__init__()
        self._count, self._figure = count, figure
        self.add_state("counts", torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, *rows: Any) -> None:
        """Count some rows."""
        self.counts += torch.tensor(self._count(*rows), device=self.counts.device)

    def compute(self) -> torch.Tensor:
        """The figure of all."""
        return torch.tensor(self._figure(*self.counts.tolist()), dtype=torch.float32)
