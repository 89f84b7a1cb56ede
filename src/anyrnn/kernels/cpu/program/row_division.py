"""How the rows of a batch are divided between threads."""

from __future__ import annotations

import numpy as np

from anyrnn.kernels.run import Array

STEP_COST = 2  # the overhead of a step for a thread, in rows


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
    lengths = np.searchsorted(-sizes, -np.arange(rows), side="left")  # the steps of each row
    before = np.concatenate([[0], np.cumsum(lengths)])
    low, high = before[-1] // threads, before[-1] + STEP_COST * len(sizes)
    bounds = np.zeros(threads + 1, np.int64)
    while low <= high:  # bisect the work of the busiest thread
        most, place = (low + high) // 2, [0]
        for _ in range(threads):
            first = place[-1]
            work = before[first] + most - STEP_COST * (lengths[first] if first < rows else 0)
            place.append(max(first, int(np.searchsorted(before, work, side="right")) - 1))
        if place[-1] == rows:
            bounds, high = np.array(place), most - 1
        else:
            low = most + 1
    return bounds
