"""How the rows of a batch are divided between threads."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from anyrnn.kernels.run import Array

STEP_COST = 2  # the overhead of a step for a thread, in rows
ROWS_EACH = 3  # with fewer rows in a step for each thread, threads divide the units instead


def divides_rows(rows: float, threads: int) -> bool:
    """Whether threads divide the rows, of which a step has so many on average."""
    return rows >= ROWS_EACH * threads or threads == 1


def divide_rows(sizes: Array, threads: int) -> Array:
    """Balance rows between threads, when steps have as many rows as `sizes` says, never rising.

    Returns:
        The bounds of the threads: the first row of each, and the number of rows.

    Example:
        >>> import numpy as np
        >>> divide_rows(np.array([6, 6, 6]), 2)
        array([0, 3, 6])
        >>> divide_rows(np.array([6, 2, 1, 1, 1]), 2)
        array([0, 1, 6])
    """
    rows = int(sizes[0])
    if sizes[-1] == rows:
        return np.arange(threads + 1) * rows // threads
    ends = np.searchsorted(-sizes, -np.arange(rows), side="left")  # the steps of each row
    lengths, before = ends.tolist(), [0, *np.cumsum(ends).tolist()]
    low, high = before[-1] // threads, before[-1] + STEP_COST * len(sizes)
    bounds = [0] * (threads + 1)
    while low <= high:  # bisect the work of the busiest thread
        most, place = (low + high) // 2, [0]
        for _ in range(threads):
            first = place[-1]
            work = before[first] + most - STEP_COST * (lengths[first] if first < rows else 0)
            place.append(max(first, bisect_right(before, work) - 1))
        if place[-1] == rows:
            bounds, high = place, most - 1
        else:
            low = most + 1
    return np.array(bounds)
