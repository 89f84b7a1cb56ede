"""Batches of sequences of about equal length, in an order that repeats and can be resumed."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy
import torch

# How many batches' worth of random rows are sorted by length together: more means less padding,
# fewer means more random batches.
_POOL = 50


class Batch(NamedTuple):
    """Padded sequences, their lengths, their targets and their row numbers."""

    sequences: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor


class Batches:
    """The batches of an epoch; an iterable that Lightning takes as a data loader.

    The order is a function of the seed and the number of the epoch alone (see `set_epoch`), and the
    position is a state that can be saved within an epoch.

    Args:
        sequences: The sequences: arrays whose first axis is time.
        targets: The target of each sequence; its batches are stacked.
        batch_size: The number of sequences in a batch; the last one may be smaller.
        seed: Decides the order; `None` means from the shortest to the longest, always.

    Example:
        >>> import numpy
        >>> rows = [numpy.array([5]), numpy.array([6, 7]), numpy.array([8])]
        >>> [batch.sequences.tolist() for batch in Batches(rows, [0, 1, 0], 2)]
        [[[5], [8]], [[6, 7]]]
    """

    def __init__(
        self,
        sequences: Sequence[numpy.ndarray],
        targets: Sequence[object],
        batch_size: int,
        seed: int | None = None,
    ) -> None:
        self._sequences = [torch.from_numpy(sequence) for sequence in sequences]
        self._lengths = numpy.array([len(sequence) for sequence in sequences])
        self._targets = torch.as_tensor(numpy.asarray(targets))
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0
        self._position = 0

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return -(-len(self._sequences) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the present position to the end of the epoch."""
        if self._position >= len(self):
            self._position = 0
        order = self._order(self._epoch)
        while self._position < len(order):
            # Counted before the batch is given out: it is done when a checkpoint is saved after it.
            self._position += 1
            yield self._batch(order[self._position - 1])

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its number decides the order."""
        self._epoch = epoch
        self._position = 0

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its batches that were given out."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken."""
        self._epoch = state["epoch"]
        self._position = state["position"]

    def _order(self, epoch: int) -> list[numpy.ndarray]:
        size = self._batch_size
        rows = numpy.arange(len(self._sequences))
        if self._seed is None:
            rows = rows[numpy.argsort(self._lengths, kind="stable")]
            return [rows[start : start + size] for start in range(0, len(rows), size)]
        generator = numpy.random.default_rng((self._seed, epoch))
        generator.shuffle(rows)
        batches = []
        for start in range(0, len(rows), size * _POOL):
            pool = rows[start : start + size * _POOL]
            pool = pool[numpy.argsort(self._lengths[pool], kind="stable")]
            batches += [pool[first : first + size] for first in range(0, len(pool), size)]
        return [batches[i] for i in generator.permutation(len(batches))]

    def _batch(self, rows: numpy.ndarray) -> Batch:
        sequences = torch.nn.utils.rnn.pad_sequence(
            [self._sequences[row] for row in rows], batch_first=True
        )
        index = torch.from_numpy(rows)
        lengths = torch.from_numpy(self._lengths[rows])
        return Batch(sequences, lengths, self._targets[index], index)
