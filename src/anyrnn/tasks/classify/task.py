"""Text classification as a task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from anyrnn.errors import RunError
from anyrnn.tasks.batches import Batch, Batches, Column
from anyrnn.tasks.class_scores import table_of
from anyrnn.tasks.classify.data import Part, class_numbers, read, read_part, sorted_labels
from anyrnn.tasks.classify.model import TextNetwork
from anyrnn.tasks.classify.options import DataOptions, Options, PredictOptions
from anyrnn.tasks.classify.report import pictures
from anyrnn.tasks.classify.scores import ClassificationScores, score
from anyrnn.tasks.encoding import given_texts
from anyrnn.tasks.options import replaced
from anyrnn.tasks.run_files import CONFIG, strings
from anyrnn.tasks.task import LOSS, Data, Figure, ScoreTable, Step, Task, steps
from anyrnn.tasks.vocabulary import choose_tokens, encode, load_tokenizer, train_tokenizer

_BATCH_SIZE = 256
_AT_ONCE = 1024
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about a text.

    Attributes:
        text: The text.
        label: The most probable label.
        probability: Its probability.
        probabilities: The probability of every label.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Classify(Task[Options, Part]):
    """Texts with a label each.

    Attributes:
        options: What the user chose.
        labels: The labels, in the order of the classes.
        tokenizer: Texts to token numbers.
    """

    name = "classify"
    options_type = Options
    title = "text classification"
    unit = "text"
    units = "texts"
    figures = (
        Figure("accuracy", "accuracy", percent=True),
        Figure("macro_f1", "macro F1", percent=True),
        LOSS,
    )
    template = "classify.html"

    options: Options
    labels: list[str]
    tokenizer: Tokenizer

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the files."""
        return read(options.data, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Choose the tokens and make the vocabulary."""
        tokens, reason = options.vocabulary.tokens, "as asked for"
        if tokens == "auto":
            tokens, reason = choose_tokens(training.texts)
        chosen = replaced(options.vocabulary, tokens=tokens)
        tokenizer = train_tokenizer(training.texts, chosen)
        size = tokenizer.get_vocab_size()
        noted(f"tokens: {tokens} ({reason}), {size:,} in the vocabulary")
        return cls(options, sorted_labels(training), tokenizer)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the labels and the tokenizer of a run."""
        labels = strings(state, "labels", run / CONFIG)
        return cls(options, labels, load_tokenizer(run / _TOKENIZER))

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read a file with texts and labels that the training had, too."""
        part = read_part(options.data, options)
        class_numbers(part, self.labels)
        return part, {"skipped": part.skipped}

    def state(self) -> dict[str, Any]:
        """The labels."""
        return {"labels": self.labels}

    def files(self) -> dict[str, str]:
        """The tokenizer."""
        return {_TOKENIZER: self.tokenizer.to_str(pretty=True)}

    def network(self, cell: str) -> TextNetwork:
        """A network of the chosen sizes."""
        sizes = asdict(self.options.model)
        return TextNetwork(cell, self.tokenizer.get_vocab_size(), len(self.labels), **sizes)

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Token numbers and class numbers."""
        return self._batches(part.texts, class_numbers(part, self.labels), batch_size, seed)

    def _batches(
        self, texts: Sequence[str], classes: Sequence[int], batch_size: int, seed: int | None = None
    ) -> Batches:
        tokens = encode(self.tokenizer, texts)
        columns = {
            "tokens": Column(tokens, padded=True, lengths=tokens.lengths),
            "class": Column(numpy.asarray(classes)),
        }
        return Batches(columns, batch_size, seed)

    def step(self, network: torch.nn.Module, batch: Batch, carried: Any = None) -> Step:
        """Cross-entropy."""
        logits = network(batch["tokens"], batch.lengths["tokens"])
        return Step(functional.cross_entropy(logits, batch["class"]), len(batch), logits)

    def metrics(self) -> dict[str, Metric]:
        """Accuracy and macro F1."""
        count = len(self.labels)
        return {
            "accuracy": MulticlassAccuracy(count, average="micro"),
            "macro_f1": MulticlassF1Score(count, average="macro"),
        }

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update them."""
        for metric in metrics.values():
            metric.update(step.output, batch["class"])

    def score(
        self, network: torch.nn.Module, part: Part, check: Callable[[], None] = lambda: None
    ) -> ClassificationScores:
        """Compare the most probable labels with the true ones."""
        targets = class_numbers(part, self.labels)
        probabilities = self._probabilities(network, part.texts, targets, check)
        return score(probabilities, torch.tensor(targets), self.labels, part.texts)

    def predict(self, network: torch.nn.Module, inputs: Sequence[str]) -> list[Prediction]:
        """The most probable label of each text."""
        predictions = []
        for text, row in zip(inputs, self.probabilities(network, inputs).tolist(), strict=True):
            probabilities = dict(zip(self.labels, row, strict=True))
            label = max(probabilities, key=lambda name: probabilities[name])
            predictions.append(Prediction(text, label, probabilities[label], probabilities))
        return predictions

    def answers(
        self, network: torch.nn.Module, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The label of each text of the command line, a file or standard input."""
        source = given_texts(options.texts, options.file, options.encoding)
        while batch := list(islice(source, _AT_ONCE)):
            # An empty line gets an empty answer, so that answers stay beside their lines.
            found = iter(self.predict(network, [text for text in batch if text.strip()]))
            for text in batch:
                answer: dict[str, object] = {"text": text, "label": None, "probability": None}
                if text.strip():
                    prediction = next(found)
                    answer |= {"label": prediction.label, "probability": prediction.probability}
                    if options.probabilities:
                        answer["probabilities"] = prediction.probabilities
                yield answer

    def tables(self, scores: ClassificationScores) -> list[ScoreTable]:
        """The scores of each label."""
        return [table_of(scores.classes, "label", self.units)]

    def probabilities(self, network: torch.nn.Module, texts: Sequence[str]) -> torch.Tensor:
        """The probability of each label for each text, (texts, labels)."""
        return self._probabilities(network, texts, [0] * len(texts))

    def _probabilities(
        self,
        network: torch.nn.Module,
        texts: Sequence[str],
        classes: Sequence[int],
        check: Callable[[], None] = lambda: None,
    ) -> torch.Tensor:
        if not texts:
            return torch.empty(0, len(self.labels))
        batches = self._batches(texts, classes, _BATCH_SIZE)
        results = torch.empty(len(texts), len(self.labels))
        for batch, step in steps(self, network, batches, check):
            results[batch.rows.cpu()] = step.output.softmax(1).cpu()
        if not results.isfinite().all():
            raise RunError(
                "the network gives results that are no number: its weights are too large"
            )
        return results

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """Confusions."""
        return pictures(results)
