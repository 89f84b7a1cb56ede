"""The random numbers of cells in PyTorch operations: their seed is a tensor, of which
torch.func.vmap can have one for each sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anyrnn.graph.randomness import BITS, MULTIPLIER, ROUNDS, WEYL, WORD, stream_key


def _philox(first: Tensor, second: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    for _ in range(ROUNDS):
        product = first * MULTIPLIER  # its sign is lost with what is above the two words
        first, second = (product >> 32 & WORD) ^ key ^ second, product & WORD
        key = key + WEYL & WORD
    return first, second


def uniform(seed: Tensor, stream: int, step: int, rows: int, units: int) -> Tensor:
    """The numbers of `anyrnn.graph.randomness.uniform`.

    Args:
        seed: The seed, (1,).
        stream: Which of the numbers that a cell draws at a step.
        step: The step; `EVERY_STEP` for a number that does not change.
        rows: The number of rows of the batch.
        units: The number of units.

    Returns:
        The numbers, (rows, units), in float64.
    """
    row = torch.arange(rows, device=seed.device)
    row, hashed = _philox(row, torch.full_like(row, step), seed + stream_key(stream) & WORD)
    unit, key = torch.arange(units, device=seed.device), row ^ (seed >> 32 & WORD)
    bits = _philox(unit, hashed.unsqueeze(-1), key.unsqueeze(-1))[stream % 2]
    return (bits >> 32 - BITS).double() * 2.0**-BITS
