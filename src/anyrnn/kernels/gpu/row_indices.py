"""Where the rows of sequences are, as arrays on a device."""

from __future__ import annotations

from typing import Any

from anyrnn.kernels.run import DeviceArrays, DeviceSteps, Steps

KEPT = 32  # arrays, each of as much as a number for each row


class RowIndices:
    """Where rows are, as arrays on a device; made once for the same steps. They are kept for the
    queue that they were made in: another one would not wait until they are there.
    """

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def find(self, steps: Steps | DeviceSteps, what: str, like: Any, device: DeviceArrays) -> Any:
        """An array.

        Args:
            steps: The steps of the sequences.
            what: The attribute of the steps that it is.
            like: An array on the device.
            device: What moves it there.
        """
        if isinstance(steps, DeviceSteps):
            return getattr(steps, what)
        queue = device.queue(like)
        key = steps, what, str(like.device), queue
        found = self._kept.get(key)
        if found is not None:
            return found
        count = len(steps.batch_sizes)
        if what == "offsets" and steps.constant:  # without a copy, which no queue can record
            found = device.count(count + 1, like).mul_(steps.batch)
        elif what == "lengths" and steps.constant:
            found = device.count(steps.batch, like).fill_(count)
        else:
            found = device.moved(getattr(steps, what), like)
        if queue is not None:
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[key] = found
        return found


INDICES = RowIndices()
