"""The way in which a call of a layer is computed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Path:
    """What computes a call, and why.

    Attributes:
        name: `compiled` (our kernels and our derivative), or what the framework has: of PyTorch
            `vendor` (torch.nn's own operator) or `operations` (PyTorch operations, with PyTorch's
            derivative), of Keras `keras` (its own loop over time, with its backend's derivative).
        reason: Why.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"
