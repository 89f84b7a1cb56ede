"""What notices that a tensor was changed in place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from anyrnn.torch.tensors import VERSION

_steps = 0


def changes(tensors: Sequence[Tensor]) -> list[int] | None:
    """PyTorch's counters of changes in place, which views share; and the steps of optimisers,
    because fused ones count nothing. None where a tensor has no counter: it was made in inference
    mode.
    """
    try:
        return [_steps, *map(VERSION, tensors)]
    except RuntimeError:
        return None


def _stepped(*given: Any) -> None:
    global _steps
    _steps += 1


@lru_cache(maxsize=1)
def watch_optimisers() -> None:
    """From now on count the steps of all optimisers."""
    register_optimizer_step_post_hook(_stepped)
