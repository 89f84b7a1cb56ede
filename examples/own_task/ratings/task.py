"""A number for each text: the task itself."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy
import torch
from torch import nn

from anyrnn.errors import DataError
from anyrnn.tasks.answers import answers_to_texts
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.batches import Batch, Batches, Column, by_rows
from anyrnn.tasks.data.columns import no_number, number_of
from anyrnn.tasks.data.table import leave_out
from anyrnn.tasks.data.table_files import read_complete
from anyrnn.tasks.data.vocabulary import TextVocabulary
from anyrnn.tasks.networks.layers import recurrent_layers, small_embedding
from anyrnn.tasks.networks.pooling import pooled
from anyrnn.tasks.run_files import CONFIG, entry
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.task import Metric, Scores, ScoreTable, Step, Task
from ratings.options import DataOptions, Options, PredictOptions

_BATCH_SIZE = 256
_WORST = 10


@dataclass(frozen=True, eq=False)
class Part(parts.Part):
    """Texts and their numbers."""

    columns = ("texts", "numbers")

    texts: Sequence[str]
    numbers: Sequence[float]

    def groups(self) -> parts.Groups:
        """Equal texts stay together."""
        return parts.Groups.equal(self.texts, "text")


class RatingNetwork(nn.Module):
    """An embedding, recurrent layers of any cell, the mean of their outputs, a dense layer."""

    def __init__(
        self, cell: str, tokens: int, *, embedding_size: int, hidden_size: int, layers: int, dropout
    ) -> None:
        super().__init__()
        self.embedding = small_embedding(tokens, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = recurrent_layers(cell, embedding_size, hidden_size, layers, dropout)
        self.dense = nn.Linear(self.recurrent.output_size, 1)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """A number for each text, scaled as in the training, (batch)."""
        output, _ = self.recurrent(self.dropout(self.embedding(tokens)), lengths=lengths)
        return self.dense(self.dropout(pooled(output, lengths, "mean", bidirectional=False)))[:, 0]


@dataclass(frozen=True)
class RatingScores(Scores):
    """The figures of one network on some texts.

    Attributes:
        worst: The texts with the largest errors: text, number, and the number that it was given.
    """

    worst: list[tuple[str, float, float]]


@dataclass(frozen=True)
class Rate(Task[Options, Part, RatingNetwork]):
    """Texts with a number each."""

    name = "rate"
    options_type = Options
    title = "ratings"
    unit = "text"
    units = "texts"
    figures = (Figure("error", "mean absolute error", larger_is_better=False), LOSS)
    template = "rate.html"

    options: Options
    vocabulary: TextVocabulary
    mean: float
    deviation: float

    @classmethod
    def read(cls, options: Options) -> parts.Data[Part]:
        """Read the table, and split off what has no file of its own."""
        data = options.data
        main = read_part(data.data, data)
        own = {name: read_part(path, data) for name, path in data.own_files().items()}
        found = parts.divided_at_random(main, data.shares(own), options.training.seed) | own
        notes = [f"texts: {parts.sizes(found)}"]
        return parts.Data.of(found, [main, *own.values()], notes=notes)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Make the vocabulary, and find the scale of the numbers."""
        vocabulary = TextVocabulary.made(training.texts, options.vocabulary, noted)
        mean, deviation = numpy.mean(training.numbers), numpy.std(training.numbers)
        return cls(options, vocabulary, float(mean), float(deviation) or 1.0)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the tokenizer and the scale of a run."""
        mean, deviation = (
            entry(state, each, float, run / CONFIG) for each in ("mean", "deviation")
        )
        return cls(options, TextVocabulary.restored(run), mean, deviation)

    def state(self) -> dict[str, Any]:
        """The scale of the numbers."""
        return {"mean": self.mean, "deviation": self.deviation}

    def files(self) -> dict[str, str]:
        """The tokenizer."""
        return self.vocabulary.files()

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read a table to measure a network on."""
        part = read_part(options.data, options)
        return part, {"skipped": part.skipped}

    def network(self, cell: str) -> RatingNetwork:
        """A network of the chosen sizes."""
        return RatingNetwork(cell, self.vocabulary.size, **asdict(self.options.model))

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Tokens and scaled numbers."""
        scaled = (numpy.array(part.numbers) - self.mean) / self.deviation
        columns = {
            "tokens": self.vocabulary.column(part.texts),
            "number": Column(scaled.astype(numpy.float32)),
        }
        return Batches(columns, batch_size, seed)

    def step(self, network: RatingNetwork, batch: Batch, carried: Any = None) -> Step:
        """The mean square error."""
        found = network(batch["tokens"], batch.lengths["tokens"])
        return Step(nn.functional.mse_loss(found, batch["number"]), len(batch), found)

    def metrics(self) -> dict[str, Metric]:
        """The mean absolute error."""
        from torchmetrics import MeanAbsoluteError

        return {"error": MeanAbsoluteError()}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update it, in the unit of the numbers."""
        metrics["error"].update(step.output * self.deviation, batch["number"] * self.deviation)

    def score(
        self, network: RatingNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> RatingScores:
        """Measure a network that has learned."""
        given = self.predict(network, part.texts, check)
        rows = zip(part.texts, part.numbers, given, strict=True)
        worst = sorted(rows, key=lambda row: -abs(row[1] - row[2]))[:_WORST]
        return RatingScores(len(part), self._figures(given, part), worst)

    def tables(self, scores: RatingScores) -> list[ScoreTable]:
        """The texts with the largest errors."""
        rows = [(text, f"{number:g}", f"{given:.2f}") for text, number, given in scores.worst]
        return [ScoreTable(("largest errors", "number", "given"), rows)]

    def baselines(self, data: parts.Data[Part]) -> dict[str, dict[str, float]]:
        """The mean of the training for all texts."""
        _, part = data.measured
        return {"mean": self._figures(numpy.full(len(part), self.mean), part)}

    def _figures(self, found: Any, part: Part) -> dict[str, float]:
        wrong = numpy.array(found) - numpy.array(part.numbers)
        loss = numpy.square(wrong / self.deviation).mean()
        return {"error": float(numpy.abs(wrong).mean()), "loss": float(loss)}

    def predict(
        self,
        network: RatingNetwork,
        inputs: Sequence[str],
        check: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """The number of each text."""

        def numbers(batch: Batch) -> list[float]:
            found = network(batch["tokens"], batch.lengths["tokens"])
            return (found * self.deviation + self.mean).tolist()

        batches = Batches({"tokens": self.vocabulary.column(inputs)}, _BATCH_SIZE)
        return by_rows(network, batches, numbers, check)

    def answers(
        self, network: RatingNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The number of each text of the command line, a file or standard input."""

        def ask(texts: list[str]) -> Iterator[dict[str, object]]:
            return ({"number": number} for number in self.predict(network, texts))

        yield from answers_to_texts(options, ask, {"number": None})


def read_part(path: Path, options: DataOptions) -> Part:
    """The texts and numbers of a table.

    Raises:
        DataError: The table, a column or (without `skip_bad`) a row cannot be used.
    """
    columns = [(options.text, "text"), (options.number, "number")]
    table = read_complete(path, options, columns)
    texts: list[str] = []
    numbers: list[float] = []
    part = Part(path, texts, numbers, digests=(table.digest,), skipped=Counter(table.skipped))
    for row, (text, value) in enumerate(zip(*(table.column(*c) for c in columns), strict=True)):
        try:
            number = number_of(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            texts.append(text)
            numbers.append(number)
        else:
            problem = f"has {value!r}, {no_number(value)}"
            leave_out(part, table.row(row), problem, "rows", options.skip_bad)
    if not texts:
        raise DataError(f"{path} has no row with a number")
    return part
