"""What decides the draws of a recursive forecast: a seed, the series and the time, nothing else."""

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from anyrnn.graph.randomness import ROUNDS, WORD, philox
from anyrnn.tasks.data.split import key_of

_ODD = 0x9E3779B97F4A7C15
_BITS = 23  # of a number; float32 represents them, and one more


def keys(
    names: Sequence[str], series: numpy.ndarray, times: numpy.ndarray, seed: int
) -> numpy.ndarray:
    """A number for each window, which is the same wherever it is forecast.

    Args:
        names: The name of each series.
        series: The number of the series of each window.
        times: The time of its first forecast step.
        seed: That of the training.
    """
    of_series = numpy.array([key_of(f"{seed} {name}") for name in names], numpy.uint64)
    return (of_series[series] + times.astype(numpy.uint64) * numpy.uint64(_ODD)).view(numpy.int64)


def uniform(keys: numpy.ndarray, step: int, count: int) -> NDArray[numpy.float64]:
    """Uniform numbers between 0 and 1, both excluded, (windows, count).

    Args:
        keys: The number of each window.
        step: The step of the horizon.
        count: How many are drawn for each window.
    """
    words = keys.view(numpy.uint64)
    low, high = words & numpy.uint64(WORD), words >> numpy.uint64(32)
    first, second = philox(low, numpy.full_like(low, step), high, ROUNDS)
    numbers = numpy.broadcast_to(numpy.arange(count, dtype=numpy.uint64), (len(keys), count))
    bits, _ = philox(numbers, second[:, None], first[:, None], ROUNDS)
    return ((bits >> numpy.uint64(32 - _BITS)).astype(numpy.float64) + 0.5) * 2.0**-_BITS
