"""What problems with drawn data have in common: their parts and batches."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy
import torch

from anyrnn.tasks.data.batches import Batch, BatchSource, OrderedBatches
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.problems.options import DrawOptions
from anyrnn.tasks.task import Metric, Scores, Step, Task, steps

ProblemOptions = TypeVar("ProblemOptions", bound=Any)

# Steps of all rows of a batch that no gradient follows: memory does not grow with their lengths.
_MOST_STEPS = 1 << 18
_BATCH_SIZE = 256
_BLOCK = 50


@dataclass(frozen=True)
class Sequences:
    """Sequences that are drawn when they are needed.

    Attributes:
        count: How many there are.
        length: What says how long they are: see the problem.
        stream: The number that decides what is drawn; no two parts have the same.
    """

    count: int
    length: int
    stream: int

    def __len__(self) -> int:
        """How many there are."""
        return self.count


Values = dict[str, numpy.ndarray]
Draw = Callable[[numpy.random.Generator, int, int], Values]
"""Draws a number of sequences of a length: arrays with a row for each."""


@dataclass
class DrawnBatches(OrderedBatches[None]):
    """Batches drawn from a seed; an epoch of training has sequences that none before had.

    Args:
        part: How many sequences of which length.
        draw: Draws them, with the sequences themselves as `inputs`.
        batch_size: The number of sequences in a batch; the last one may be smaller.
        seed: Of a training; `None` for the same sequences always.
    """

    part: Sequences
    draw: Draw
    batch_size: int
    seed: int | None = None

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return -(-self.part.count // self.batch_size)

    def _order(self) -> None:
        return None

    def _batch(self, order: None, number: int) -> Batch:
        first = number * self.batch_size
        rows = numpy.arange(first, min(first + self.batch_size, self.part.count))
        # A seed's first number tells training, where each epoch differs, from what is measured.
        if self.seed is None:
            values = self._measured(rows)
        else:
            values = self._drawn((1, self.seed, self._epoch, number), len(rows))
        lengths = numpy.full(len(rows), values["inputs"].shape[1])
        return Batch(
            values={name: torch.from_numpy(each) for name, each in values.items()},
            lengths={"inputs": torch.from_numpy(lengths)},
            rows=torch.from_numpy(rows),
        )

    def _measured(self, rows: numpy.ndarray) -> Values:
        """Rows that are the same however large batches are: they are drawn in blocks."""
        first, last = rows[0] // _BLOCK, rows[-1] // _BLOCK
        blocks = [
            self._drawn((0, self.part.stream, block), _BLOCK) for block in range(first, last + 1)
        ]
        inside = slice(rows[0] - first * _BLOCK, rows[-1] + 1 - first * _BLOCK)
        return {
            name: numpy.concatenate([block[name] for block in blocks])[inside] for name in blocks[0]
        }

    def _drawn(self, key: tuple[int, ...], count: int) -> Values:
        return self.draw(numpy.random.default_rng(key), count, self.part.length)


@dataclass(frozen=True)
class Problem(Task[ProblemOptions, Sequences, torch.nn.Module]):
    """A problem whose sequences are drawn; a subclass says which, and what is asked of them.

    Attributes:
        options: What the user chose.
    """

    unit = "sequence"
    units = "sequences"

    options: ProblemOptions

    @staticmethod
    @abstractmethod
    def length(options: Any) -> int:
        """What the group `data` of the options says of the length."""

    @staticmethod
    @abstractmethod
    def draw(generator: numpy.random.Generator, count: int, length: int) -> Values:
        """Draw sequences, as `inputs`, and their answers, as `answer`."""

    @abstractmethod
    def judged(self, output: torch.Tensor, batch: Batch) -> tuple[float, int]:
        """The share of a batch that counts as right, and of how many it is the share."""

    @abstractmethod
    def without_a_network(self, part: Sequences) -> dict[str, dict[str, float]]:
        """The figures of the best answers that remember nothing."""

    @classmethod
    def read(cls, options: Any) -> Data[Sequences]:
        """Say how many sequences are drawn for each part."""
        length = cls.length(options.data)
        counts = {
            name: getattr(options.data, f"{name}_sequences")
            for name in ("training", "validation", "test")
        }
        parts = {
            name: Sequences(count, length, stream)
            for stream, (name, count) in enumerate(counts.items())
        }
        told = ", ".join(f"{count:,} {_PURPOSES[name]}" for name, count in counts.items())
        return Data.of(parts, facts=counts, notes=[f"sequences: {told}"])

    @classmethod
    def prepare(cls, options: Any, training: Sequences, noted: Callable[[str], None]) -> Self:
        """Nothing is learned before a network learns."""
        return cls(options)

    @classmethod
    def restore(cls, options: Any, state: Mapping[str, Any], run: Path) -> Self:
        """There is nothing to restore."""
        return cls(options)

    @classmethod
    def main_file(cls, options: Any) -> Path:
        """No file: a run is called after the problem."""
        return Path(cls.name)

    def check_named(self, changes: Mapping[str, Any]) -> None:
        """Nothing has to be named: the sequences are drawn."""

    def read_part(self, options: Any) -> tuple[Sequences, dict[str, object]]:
        """The test sequences, perhaps of another length or number."""
        return Sequences(options.test_sequences, self.length(options), len(_PURPOSES) - 1), {}

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def batches(self, part: Sequences, batch_size: int, seed: int | None) -> BatchSource:
        """Sequences with their answers."""
        return DrawnBatches(part, self.draw, batch_size, seed)

    def metrics(self) -> dict[str, Metric]:
        """The share that is right."""
        from anyrnn.tasks.scores.metrics import Mean

        return {self.figures[0].name: Mean()}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Count what is right."""
        share, count = self.judged(step.output, batch)
        metrics[self.figures[0].name].update(torch.tensor(share), count)

    def score(
        self, network: torch.nn.Module, part: Sequences, check: Callable[[], None] = lambda: None
    ) -> Scores:
        """Measure a network on the sequences of a part."""
        size = max(1, min(_BATCH_SIZE, _MOST_STEPS // part.length))
        loss = right = of_loss = of_right = 0.0
        for batch, step in steps(self, network, self.batches(part, size, None), check):
            share, count = self.judged(step.output, batch)
            loss, of_loss = loss + step.loss.item() * step.count, of_loss + step.count
            right, of_right = right + share * count, of_right + count
        figures = {self.figures[0].name: right / of_right, "loss": loss / of_loss}
        return Scores(part.count, figures, baselines=self.without_a_network(part))

    def answers(
        self, network: torch.nn.Module, options: DrawOptions
    ) -> Iterator[dict[str, object]]:
        """Sequences that are drawn now, what is right, and what the network says."""
        generator = numpy.random.default_rng(options.seed)
        values = self.draw(generator, options.count, self.length(self.options.data))
        said = self.predict(network, list(values["inputs"]))
        for row, answer in enumerate(said):
            yield self.told({name: each[row] for name, each in values.items()}, answer)

    @abstractmethod
    def told(self, sequence: Values, answer: Any) -> dict[str, object]:
        """A sequence with what is right and what a network says, as JSON knows it."""

    @abstractmethod
    def predict(self, network: torch.nn.Module, inputs: Sequence[Any]) -> Any:
        """What the network answers to sequences."""


_PURPOSES = {
    "training": "in each epoch to train",
    "validation": "to validate",
    "test": "to test",
}
