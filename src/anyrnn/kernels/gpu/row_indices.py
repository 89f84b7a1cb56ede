"""Where the rows of sequences are, as arrays on a device."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyrnn.kernels.run import DeviceArrays, Steps

KEPT = 32  # arrays, each of as much as a number for each row


class RowIndices:
    """Where rows are, as arrays on a device; made once for the same steps. They are kept for the
    queue that they were made in: another one would not wait until they are there.
    """

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def find(self, steps: Steps, what: str, like: Any, device: DeviceArrays) -> Any:
        """An array.

        Args:
            steps: The steps of the sequences.
            what: Which one: `offsets`, `before`, `after`, `last` or `odd`.
            like: An array on the device.
            device: What moves it there.
        """
        queue = device.queue(like)
        key = steps, what, str(like.device), queue
        found = self._kept.get(key)
        if found is not None:
            return found
        if what == "offsets" and steps.constant:  # without a copy, which no queue can record
            count = len(steps.batch_sizes)
            found = device.count(count + 2, like).clamp_(max=count).mul_(steps.batch)
        else:
            found = device.moved(getattr(self, f"_{what}")(steps), like)
        if queue is not None:
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[key] = found
        return found

    def _offsets(self, steps: Steps) -> np.ndarray:
        """The first row of each step, with two ends."""
        return np.append(steps.offsets, steps.rows).astype(np.int64)

    def _before(self, steps: Steps) -> np.ndarray:
        return steps.before.astype(np.int64)

    def _after(self, steps: Steps) -> np.ndarray:
        return steps.after.astype(np.int64)

    def _last(self, steps: Steps) -> np.ndarray:
        """The last row of each sequence."""
        lengths = np.searchsorted(
            -np.array(steps.batch_sizes), -np.arange(steps.batch), side="left"
        )
        return steps.offsets[lengths - 1] + np.arange(steps.batch)

    def _odd(self, steps: Steps) -> np.ndarray:
        return steps.odd


INDICES = RowIndices()
