"""What generated kernels call: functions that Triton's language lacks, or has with other values for
infinities and NaN, and random numbers.
"""

from __future__ import annotations

import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]

from anyrnn.graph import randomness

__all__ = [
    "advance",
    "compose",
    "hard_sigmoid",
    "maximum",
    "minimum",
    "sigmoid",
    "softplus",
    "tanh",
    "uniform",
]

ROUNDS = tl.constexpr(randomness.ROUNDS)
MULTIPLIER = tl.constexpr(randomness.MULTIPLIER)
WEYL = tl.constexpr(randomness.WEYL)
UNUSED_BITS = tl.constexpr(32 - randomness.BITS)
UNIT = tl.constexpr(2.0**-randomness.BITS)


@triton.jit
def maximum(left, right):
    """The larger one; NaN if either is."""
    return tl.maximum(left, right, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(left, right):
    """The smaller one; NaN if either is."""
    return tl.minimum(left, right, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)), with full relative precision for negative x."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """A rational function, as the kernels of CPUs compute it in float32."""
    x = minimum(maximum(x, -7.99881172180175781), 7.99881172180175781)
    y = x * x
    p = -2.76076847742355e-16
    p = p * y + 2.00018790482477e-13
    p = p * y + -8.60467152213735e-11
    p = p * y + 5.12229709037114e-08
    p = p * y + 1.48572235717979e-05
    p = p * y + 6.37261928875436e-04
    p = p * y + 4.89352455891786e-03
    q = 1.19825839466702e-06
    q = q * y + 1.18534705686654e-04
    q = q * y + 2.26843463243900e-03
    q = q * y + 4.89352518554385e-03
    return x * p / q


@triton.jit
def softplus(x):
    """log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|))."""
    e = tl.exp(-tl.abs(x))
    u = 1.0 + e
    return maximum(x, 0.0) + tl.log(u) + (e - (u - 1.0)) / u


@triton.jit
def hard_sigmoid(x):
    """x / 6 + 1/2, from 0 to 1."""
    return maximum(minimum(x / 6.0 + 0.5, 1.0), 0.0)


@triton.jit
def advance(scale, shift, old):
    """scale * old + shift; without the old value where the scale is 0, even if that is no number:
    a sequence that is reset is free of what was before.
    """
    return tl.where(scale == 0.0, shift, scale * old + shift)


@triton.jit
def compose(scale, shift, next_scale, next_shift):
    """Two steps of a linear recurrence as one, which is new = scale * old + shift as they are."""
    return scale * next_scale, advance(next_scale, next_shift, shift)


@triton.jit
def _philox(first, second, key):
    """Philox 2x32: two words from a counter of two words and a key."""
    multiplier = tl.full((), MULTIPLIER, tl.uint32)
    weyl = tl.full((), WEYL, tl.uint32)
    for _ in tl.static_range(ROUNDS):  # pyright: ignore[reportGeneralTypeIssues]
        upper = tl.umulhi(first, multiplier + (first & 0))
        first, second = upper ^ key ^ second, first * multiplier
        key = key + weyl
    return first, second


@triton.jit
def uniform(seed, key, step, row, unit, word: tl.constexpr):
    """Numbers in [0, 1), as `anyrnn.graph.randomness.uniform` has them.

    Args:
        seed: The address of the seed, 64 bits.
        key: The key of the stream.
        step: The step.
        row: The row of the batch, (rows, 1).
        unit: The unit, (1, units).
        word: Which of the two words of a block.
    """
    bits = tl.load(seed)
    low, high = bits.to(tl.uint32), (bits >> 32).to(tl.uint32)
    row = row.to(tl.uint32)
    hashed, second = _philox(row, (row & 0) + step, low + key)
    counter = unit.to(tl.uint32) + (hashed & 0)
    first, other = _philox(counter, second + (counter & 0), (hashed ^ high) + (counter & 0))
    chosen = first if word == 0 else other
    return (chosen >> UNUSED_BITS).to(tl.float32) * UNIT
