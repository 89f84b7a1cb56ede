"""Copy memory (Hochreiter & Schmidhuber 1997), as Bai, Kolter & Koltun (2018) pose it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import nn

from anyrnn.tasks.data.batches import Batch
from anyrnn.tasks.networks.layers import recurrent_layers
from anyrnn.tasks.problems.copying.options import DataOptions, Options
from anyrnn.tasks.problems.drawn import Problem, Sequences, Values
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.task import Step

KEPT, SYMBOLS = 10, 8
"""How many symbols are to be kept, and how many different ones there are, from 1 on."""

BLANK, NOW = 0, SYMBOLS + 1
"""What stands in the pause, and what asks for the symbols."""

_TOKENS = SYMBOLS + 2


class CopyNetwork(nn.Module):
    """Recurrent layers and a dense one after each step.

    Args:
        cell: A name of the catalogue, such as "lstm".
        hidden_size: The size of a recurrent layer.
        layers: The number of recurrent layers.

    Example:
        >>> CopyNetwork("gru", hidden_size=8)(torch.zeros(5, 40, dtype=torch.long)).shape
        torch.Size([5, 40, 10])
    """

    def __init__(self, cell: str, *, hidden_size: int = 64, layers: int = 1) -> None:
        super().__init__()
        self.recurrent = recurrent_layers(cell, _TOKENS, hidden_size, layers, 0.0)
        self.dense = nn.Linear(self.recurrent.output_size, _TOKENS)

    def forward(self, tokens: torch.Tensor, state: Any = None) -> torch.Tensor:
        """The logits of each token after each step.

        Args:
            tokens: Token numbers, (batch, time).
            state: What the layers begin with, if not with 0.

        Returns:
            Logits, (batch, time, tokens).
        """
        one_hot = nn.functional.one_hot(tokens, _TOKENS).to(self.dense.weight.dtype)
        return self.dense(self.recurrent(one_hot, state)[0])


@dataclass(frozen=True)
class Copying(Problem[Options]):
    """Ten symbols of eight, then a pause of blanks, then a sign after which the symbols have to
    come again; everywhere else a blank is right. The loss is the cross-entropy over all steps.
    """

    name = "copying"
    options_type = Options
    title = "copy memory"
    figures = (Figure("recalled", "symbols recalled", percent=True), LOSS)

    @staticmethod
    def length(options: DataOptions) -> int:
        """The steps of the pause."""
        return options.pause

    @staticmethod
    def draw(generator: numpy.random.Generator, count: int, length: int) -> Values:
        """Tokens and what is right after each, both (sequence, time) of `length` + 20 steps.

        Example:
            >>> drawn = Copying.draw(numpy.random.default_rng(0), 1, 5)
            >>> print(*drawn["inputs"][0])
            7 6 5 3 3 1 1 1 2 7 0 0 0 0 9 0 0 0 0 0 0 0 0 0 0
            >>> print(*drawn["answer"][0])
            0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 7 6 5 3 3 1 1 1 2 7
        """
        symbols = generator.integers(1, SYMBOLS + 1, (count, KEPT))
        inputs = numpy.full((count, length + 2 * KEPT), BLANK)
        answer = inputs.copy()
        inputs[:, :KEPT] = symbols
        inputs[:, -KEPT - 1] = NOW
        answer[:, -KEPT:] = symbols
        return {"inputs": inputs, "answer": answer}

    def network(self, cell: str) -> CopyNetwork:
        """A network of the chosen sizes."""
        model = self.options.model
        return CopyNetwork(cell, hidden_size=model.hidden_size, layers=model.layers)

    def step(self, network: torch.nn.Module, batch: Batch, carried: Any = None) -> Step:
        """Cross-entropy."""
        output = network(batch["inputs"])
        loss = nn.functional.cross_entropy(output.flatten(0, 1), batch["answer"].flatten())
        return Step(loss, batch["answer"].numel(), output)

    def judged(self, output: torch.Tensor, batch: Batch) -> tuple[float, int]:
        """The share of the symbols that came again."""
        said, right = output[:, -KEPT:].argmax(-1), batch["answer"][:, -KEPT:]
        return (said == right).float().mean().item(), right.numel()

    def without_a_network(self, part: Sequences) -> dict[str, dict[str, float]]:
        """Blanks where they are right, and each symbol with the same probability."""
        loss = KEPT * math.log(SYMBOLS) / (part.length + 2 * KEPT)
        return {"no memory": {"recalled": 1 / SYMBOLS, "loss": loss}}

    def predict(self, network: torch.nn.Module, inputs: Sequence[Any]) -> numpy.ndarray:
        """The most probable token after each step of token numbers, (sequence, time)."""
        with torch.inference_mode():
            return network.eval()(torch.as_tensor(numpy.asarray(inputs))).argmax(-1).numpy()

    def told(self, sequence: Values, answer: Any) -> dict[str, object]:
        """The symbols, and those that the network gives after the pause."""
        return {
            "symbols": sequence["answer"][-KEPT:].tolist(),
            "answer": answer[-KEPT:].tolist(),
        }
