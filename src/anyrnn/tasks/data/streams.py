"""Batches of streams: each goes on where it ended in the batch before, so that a state can be
carried over. The memory of a training does not grow with the length of a stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy
import torch

from anyrnn.tasks.data.batches import Batch, OrderedBatches

IGNORED = -100
"""The target of a step that does not count, as torch has it."""


@dataclass
class StreamBatches(OrderedBatches["numpy.ndarray | _Reordered"]):
    """Pieces of a sequence of tokens for predicting the next one.

    The sequence is divided into `batch_size` streams of equal length, or one step less, which
    stand below each other; a batch is the next `steps` steps of each. It has "inputs" and
    "targets", both (batch, time); lengths if the streams do not all have as many steps left.

    Args:
        tokens: The sequence; it may lie on disk.
        batch_size: The largest number of streams.
        steps: The number of steps in a batch: so far back gradients go.
        starts: Where texts begin that have nothing to do with each other; in training their order
            differs from epoch to epoch.
        seed: Decides the order; `None` means as they stand.
        constants: Values that every row of every batch has beside.

    Example:
        >>> batches = StreamBatches(numpy.arange(8), batch_size=2, steps=2)
        >>> [batch["inputs"].tolist() for batch in batches]
        [[[0, 1], [3, 4]], [[2, 3], [5, 6]]]
        >>> [batch["targets"].tolist() for batch in batches]
        [[[1, 2], [4, 5]], [[3, -100], [6, 7]]]
    """

    tokens: numpy.ndarray
    batch_size: int
    steps: int
    starts: numpy.ndarray | None = None
    seed: int | None = None
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.tokens) - 1
        streams = max(1, min(self.batch_size, count))
        bounds = numpy.arange(streams + 1) * count // streams
        self._first, self._end = bounds[:-1], bounds[1:]

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return -(-int((self._end - self._first).max()) // self.steps)

    def _order(self) -> "numpy.ndarray | _Reordered":
        """The tokens in the order of the epoch."""
        if self.seed is None or self.starts is None or len(self.starts) < 2:
            return self.tokens
        order = numpy.random.default_rng((self.seed, self._epoch)).permutation(len(self.starts))
        return _Reordered(self.tokens, self.starts, order)

    def _batch(self, order: "numpy.ndarray | _Reordered", number: int) -> Batch:
        first = self._first + number * self.steps
        left = numpy.clip(self._end - first, 0, self.steps)
        steps = numpy.arange(left.max())
        places = numpy.minimum(first[:, None] + steps, len(order) - 2)
        inputs, targets = order[places].astype(numpy.int64), order[places + 1].astype(numpy.int64)
        targets[steps >= left[:, None]] = IGNORED
        values = {"inputs": torch.from_numpy(inputs), "targets": torch.from_numpy(targets)}
        count = len(first)
        values |= {name: torch.full((count,), value) for name, value in self.constants.items()}
        return Batch(
            values,
            {"inputs": torch.from_numpy(left)} if left.min() < left.max() else {},
            torch.arange(count),
            continues=number > 0,
        )


class _Reordered:
    """The tokens of texts in another order of the texts; they stay where they are.

    Args:
        tokens: The tokens, and the boundary after the last text.
        starts: Where each text begins.
        order: The numbers of the texts in their new order.
    """

    def __init__(self, tokens: numpy.ndarray, starts: numpy.ndarray, order: numpy.ndarray) -> None:
        lengths = numpy.diff(starts, append=len(tokens) - 1)[order]
        self._tokens, self._starts = tokens, starts[order]
        self._ends = numpy.cumsum(lengths)
        self._shifts = self._starts - (self._ends - lengths)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, places: numpy.ndarray) -> numpy.ndarray:
        texts = numpy.searchsorted(self._ends, places, side="right")
        last = texts == len(self._ends)
        shifts = self._shifts[numpy.minimum(texts, len(self._ends) - 1)]
        return self._tokens[numpy.where(last, len(self._tokens) - 1, places + shifts)]
