"""The adding problem (Hochreiter & Schmidhuber 1997), as Bai, Kolter & Koltun (2018) pose it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy
import torch

from anyrnn.tasks.classify.model import SequenceNetwork
from anyrnn.tasks.data.batches import Batch
from anyrnn.tasks.problems.adding.options import DataOptions, Options
from anyrnn.tasks.problems.drawn import Problem, Sequences, Values
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.task import Step

TOLERANCE = 0.04
"""How far from the sum an answer that counts as right may be, as in Hochreiter & Schmidhuber."""


@dataclass(frozen=True)
class Adding(Problem[Options]):
    """Each step has a value between 0 and 1 and a mark; a step in each half is marked, and after
    the last one the sum of the two marked values is asked for. The loss is the mean square error.
    """

    name = "adding"
    options_type = Options
    title = "adding problem"
    figures = (Figure("within", f"within {TOLERANCE}", percent=True), LOSS)

    @staticmethod
    def length(options: DataOptions) -> int:
        """The number of steps."""
        return options.length

    @staticmethod
    def draw(generator: numpy.random.Generator, count: int, length: int) -> Values:
        """Values with marks, (sequence, time, 2), and the sums.

        Example:
            >>> drawn = Adding.draw(numpy.random.default_rng(0), 3, 10)
            >>> drawn["inputs"].shape, drawn["inputs"][..., 1].sum(1).tolist()
            ((3, 10, 2), [2.0, 2.0, 2.0])
        """
        inputs = numpy.zeros((count, length, 2), numpy.float32)
        inputs[..., 0] = generator.random((count, length), numpy.float32)
        rows = numpy.arange(count)
        marked = (
            generator.integers(0, length // 2, count),
            generator.integers(length // 2, length, count),
        )
        for steps in marked:
            inputs[rows, steps, 1] = 1
        return {"inputs": inputs, "answer": (inputs[..., 0] * inputs[..., 1]).sum(1)}

    def network(self, cell: str) -> SequenceNetwork:
        """A network of the chosen sizes, with a single output."""
        return SequenceNetwork(cell, 2, 1, dropout=0.0, **asdict(self.options.model))

    def step(self, network: torch.nn.Module, batch: Batch, carried: Any = None) -> Step:
        """The mean square error."""
        output = network(batch["inputs"], batch.lengths["inputs"])[:, 0]
        loss = torch.nn.functional.mse_loss(output, batch["answer"])
        return Step(loss, len(batch), output)

    def judged(self, output: torch.Tensor, batch: Batch) -> tuple[float, int]:
        """The share of answers that are near the sum."""
        near = (output - batch["answer"]).abs() < TOLERANCE
        return near.float().mean().item(), len(batch)

    def without_a_network(self, part: Sequences) -> dict[str, dict[str, float]]:
        """The mean of all sums as the answer to each; its square error is expected to be 1/6, the
        variance of the sum of two values.
        """
        found = [batch["answer"] - 1 for batch in self.batches(part, 1000, None)]
        errors = torch.cat(found).double()
        within = (errors.abs() < TOLERANCE).double().mean().item()
        return {"always 1": {"within": within, "loss": errors.square().mean().item()}}

    def predict(self, network: torch.nn.Module, inputs: Sequence[Any]) -> numpy.ndarray:
        """The sums that the network gives for sequences, (sequence, time, 2)."""
        values = torch.as_tensor(numpy.asarray(inputs, numpy.float32))
        lengths = torch.full((len(values),), values.shape[1])
        with torch.inference_mode():
            return network.eval()(values, lengths)[:, 0].numpy()

    def told(self, sequence: Values, answer: Any) -> dict[str, object]:
        """The marked values, their sum and what the network says."""
        values, marks = sequence["inputs"].T
        return {
            "marked": [round(float(value), 4) for value in values[marks > 0]],
            "sum": round(float(sequence["answer"]), 4),
            "answer": round(float(answer), 4),
        }
