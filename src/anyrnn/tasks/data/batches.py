"""Batches of rows with sequences of about equal length, in an order that repeats and resumes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy
import torch

from anyrnn.tasks.data.sequences import Sequences

# How many batches' worth of random rows are sorted by length together: more means less padding,
# fewer means more random batches.
_POOL = 50
# Steps of all rows of a batch that no gradient follows: memory does not grow with their lengths.
_MOST_STEPS = 1 << 18
Order = TypeVar("Order")
Made = TypeVar("Made")


@dataclass
class Batch:
    """Some rows of the data, as tensors.

    Attributes:
        values: By name: (batch, time, ...) for sequences, padded at the end; (batch, ...) for the
            rest.
        lengths: By name: the number of steps of each sequence, (batch).
        rows: The numbers of the rows, (batch).
        continues: Whether each sequence goes on where that of the batch before ended.
        borrowed: Whether its rows count for nothing, because they are the share of a process for
            which none was left.
    """

    values: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    rows: torch.Tensor
    continues: bool = False
    borrowed: bool = False

    def __getitem__(self, name: str) -> torch.Tensor:
        """The values of a column."""
        return self.values[name]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def to(self, device: torch.device | str, **options: Any) -> Self:
        """The same batch on a device."""

        def moved(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: tensor.to(device, **options) for name, tensor in tensors.items()}

        return replace(
            self,
            values=moved(self.values),
            lengths=moved(self.lengths),
            rows=self.rows.to(device),
        )

    def share(self, number: int, count: int) -> Self:
        """The rows of one of several processes, numbered from 0, with the padding of them all.

        Example:
            >>> batch = Batch({"x": torch.arange(3)}, {}, torch.arange(3))
            >>> [batch.share(number, 2)["x"].tolist() for number in (0, 1)]
            [[0], [1, 2]]
        """
        start, stop = (len(self) * each // count for each in (number, number + 1))
        rows = slice(start, stop) if start < stop else slice(0, 1)
        return replace(
            self,
            values={name: values[rows] for name, values in self.values.items()},
            lengths={name: lengths[rows] for name, lengths in self.lengths.items()},
            rows=self.rows[rows],
            borrowed=start == stop,
        )


class BatchSource(Protocol):
    """The batches of an epoch, as Lightning takes a data loader.

    The order is a function of the number of the epoch alone, and the position within it is a state
    that can be saved.
    """

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the present position to the end of the epoch."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its number decides the order."""
        ...

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its batches that were given out."""
        ...

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken."""
        ...


@dataclass(frozen=True)
class Column:
    """One value of every row.

    Attributes:
        values: For each row an array: of its own number of steps (`padded`), or of the same shape.
            Anything with a length that gives an array for a row number, so that it may lie on disk.
        padded: Whether the values are sequences, their first axis time, to be padded.
        padding: What stands after the end of a sequence.
        lengths: The number of steps of each row, if it can be had without reading the values.
        per_step: How many of its steps become one of a network, as samples become a frame.
    """

    values: Sequence[numpy.ndarray] | numpy.ndarray
    padded: bool = False
    padding: float = 0
    lengths: numpy.ndarray | None = None
    per_step: int = 1

    def counted(self) -> numpy.ndarray:
        """The number of steps of each row."""
        if self.lengths is not None:
            return self.lengths
        return numpy.fromiter(map(len, self.values), dtype=numpy.int64, count=len(self.values))

    def taken(self, rows: numpy.ndarray) -> torch.Tensor:
        """The values of some rows, padded to the longest of them."""
        if isinstance(self.values, numpy.ndarray) and not self.padded:
            return torch.from_numpy(self.values[rows])
        if isinstance(self.values, Sequences):
            return torch.from_numpy(self.values.padded(rows, self.padding))
        values = [torch.as_tensor(self.values[row]) for row in rows]
        if not self.padded:
            return torch.stack(values)
        return torch.nn.utils.rnn.pad_sequence(values, True, self.padding)


@dataclass
class OrderedBatches(BatchSource, ABC, Generic[Order]):
    """Batches that follow from the order of an epoch and their number in it."""

    _epoch: int = field(default=0, init=False)
    _position: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the present position to the end of the epoch."""
        if self._position >= len(self):
            self._position = 0
        order = self._order()
        while self._position < len(self):
            # Counted before the batch is given out: it is done when a checkpoint is saved after it.
            self._position += 1
            yield self._batch(order, self._position - 1)

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

    @abstractmethod
    def _order(self) -> Order:
        """The order of the epoch."""

    @abstractmethod
    def _batch(self, order: Order, number: int) -> Batch:
        """A batch of the epoch, by its number from 0."""


@dataclass
class Batches(OrderedBatches[list[numpy.ndarray]]):
    """Batches of rows; in training, rows of about equal length stand together.

    Args:
        columns: The columns, by name; all have a value for every row.
        batch_size: The number of rows in a batch; the last one may be smaller.
        seed: Decides the order; `None` means from the shortest to the longest, always, and fewer
            rows in a batch where they are very long.
        by: The column whose lengths decide which rows stand together; the first padded one, if it
            is not named.
        steps: The number of steps of each row, if all have the same.

    Example:
        >>> texts = [numpy.array([5]), numpy.array([6, 7]), numpy.array([8])]
        >>> batches = Batches({"tokens": Column(texts, padded=True)}, 2)
        >>> [batch["tokens"].tolist() for batch in batches]
        [[[5], [8]], [[6, 7]]]
    """

    columns: Mapping[str, Column]
    batch_size: int
    seed: int | None = None
    by: str | None = None
    steps: int = 1

    def __post_init__(self) -> None:
        self._lengths = {
            name: column.counted() for name, column in self.columns.items() if column.padded
        }
        self._count = len(next(iter(self.columns.values())).values)
        by = self.by or next(iter(self._lengths), None)
        self._sorted_by = (
            self._lengths[by] if by else numpy.full(self._count, self.steps, numpy.int64)
        )
        self._most = _MOST_STEPS * (self.columns[by].per_step if by else 1)
        self._fixed = self._by_length() if self.seed is None else []

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return len(self._fixed) if self.seed is None else -(-self._count // self.batch_size)

    def _by_length(self) -> list[numpy.ndarray]:
        rows = numpy.argsort(self._sorted_by, kind="stable")
        batches = []
        for start in range(0, len(rows), self.batch_size):
            some = rows[start : start + self.batch_size]
            longest = max(1, int(self._sorted_by[some[-1]]))
            size = max(1, min(len(some), self._most // longest))
            batches += [some[first : first + size] for first in range(0, len(some), size)]
        return batches

    def _order(self) -> list[numpy.ndarray]:
        if self.seed is None:
            return self._fixed
        size = self.batch_size
        rows = numpy.arange(self._count)
        generator = numpy.random.default_rng((self.seed, self._epoch))
        generator.shuffle(rows)
        batches = []
        for start in range(0, len(rows), size * _POOL):
            pool = rows[start : start + size * _POOL]
            pool = pool[numpy.argsort(self._sorted_by[pool], kind="stable")]
            batches += [pool[first : first + size] for first in range(0, len(pool), size)]
        return [batches[i] for i in generator.permutation(len(batches))]

    def _batch(self, order: list[numpy.ndarray], number: int) -> Batch:
        rows = order[number]
        return Batch(
            values={name: column.taken(rows) for name, column in self.columns.items()},
            lengths={name: torch.from_numpy(every[rows]) for name, every in self._lengths.items()},
            rows=torch.from_numpy(rows),
        )


def by_rows(
    network: torch.nn.Module,
    batches: Batches,
    make: Callable[[Batch], Iterable[Made]],
    check: Callable[[], None] = lambda: None,
) -> list[Made]:
    """What a network makes of each row, in the order of the rows.

    Args:
        network: The network, on whose device batches are put; it is left in evaluation mode.
        batches: The batches.
        make: Makes it of the rows of a batch.
        check: Called after each batch.
    """
    network.eval()
    device = next(network.parameters()).device
    found: dict[int, Made] = {}
    for batch in batches:
        with torch.inference_mode():
            found |= zip(batch.rows.tolist(), make(batch.to(device)), strict=True)
        check()
    return [found[row] for row in range(len(found))]


@dataclass
class Shared(BatchSource):
    """Of each batch, the rows of one of several processes.

    Args:
        whole: The batches.
        number: That of the process, from 0.
        count: The number of processes.
    """

    whole: BatchSource
    number: int
    count: int

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return len(self.whole)

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the present position to the end of the epoch."""
        for batch in self.whole:
            yield batch.share(self.number, self.count)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its number decides the order."""
        self.whole.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its batches that were given out."""
        return self.whole.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken."""
        self.whole.load_state_dict(state)
