"""The metric that torchmetrics lacks."""

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
