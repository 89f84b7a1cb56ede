"""Series that are easy to forecast."""

from collections.abc import Callable

import numpy
import pandas


def days(count: int, value: Callable[[int], float], start: str = "2020-01-01") -> pandas.DataFrame:
    return pandas.DataFrame(
        {
            "day": pandas.date_range(start, periods=count, freq="D").strftime("%Y-%m-%d"),
            "y": [value(i) for i in range(count)],
        }
    )


def wave(i: int) -> float:
    return 10 + 3 * numpy.sin(2 * numpy.pi * i / 7) + 0.01 * i + 0.3 * ((i * 7919) % 11 - 5) / 5
