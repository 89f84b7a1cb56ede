"""Counter-based random numbers: they follow from where they are used, so that the backward pass
draws them again instead of saving them, and every target draws the same.

A number is a function of a seed, a stream, the step, the row of the batch and the unit: the
counter-based generator Philox with two words and seven rounds, the fewest that its authors found
without a weakness (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2,
3"). It is applied to (row, step), and what comes out to the unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 7
MULTIPLIER = 0xD256D193
WEYL = 0x9E3779B9
WORD = 0xFFFFFFFF
BITS = 24  # of a number, which float32 represents exactly
EVERY_STEP = WORD  # the step of a number that is the same at every step

Words = NDArray[np.uint64]


def philox(first: Words, second: Words, key: Words, rounds: int) -> tuple[Words, Words]:
    """The Philox 2x32 block cipher: two words of 32 bits from a counter of two words and a key."""
    for _ in range(rounds):
        product = first * np.uint64(MULTIPLIER)
        first, second = (product >> np.uint64(32)) ^ key ^ second, product & np.uint64(WORD)
        key = (key + np.uint64(WEYL)) & np.uint64(WORD)
    return first, second


def stream_key(stream: int) -> int:
    """Key offset of a stream; streams 2n and 2n + 1 share one Philox block."""
    return (stream // 2 + 1) * WEYL & WORD


def uniform(seed: int, stream: int, step: int, rows: int, units: int) -> NDArray[np.float64]:
    """Uniform numbers from [0, 1).

    Args:
        seed: A whole number from 0 to 2**64 - 1.
        stream: Which of the numbers that a cell draws at a step.
        step: The step; `EVERY_STEP` for a number that does not change.
        rows: The number of rows of the batch.
        units: The number of units.

    Returns:
        The numbers, (rows, units), each a multiple of 2**-24.

    Example:
        >>> from anyrnn.graph.randomness import uniform
        >>> uniform(seed=1, stream=0, step=0, rows=2, units=3).shape
        (2, 3)
    """
    key = np.array((seed + stream_key(stream)) & WORD, np.uint64)
    row = np.arange(rows, dtype=np.uint64)
    row, hashed = philox(row, np.full(rows, step, np.uint64), key, ROUNDS)
    unit = np.broadcast_to(np.arange(units, dtype=np.uint64), (rows, units))
    key = (row ^ np.uint64(seed >> 32 & WORD))[:, None]
    bits = philox(unit, hashed[:, None], key, ROUNDS)[stream % 2]
    return (bits >> np.uint64(32 - BITS)).astype(np.float64) * 2.0**-BITS
