"""A trained classifier: loaded from its run folder, asked about texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from tokenizers import Tokenizer

from anyrnn.cells.catalogue import get
from anyrnn.errors import AnyrnnError, RunError, UnknownCellError
from anyrnn.tasks.batches import Batches
from anyrnn.tasks.classify.data import class_numbers, read_part
from anyrnn.tasks.classify.model import POOLINGS, TextClassifier
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.classify.scores import Scores, score
from anyrnn.tasks.interruption import Interruption
from anyrnn.tasks.run_files import CONFIG, entry, load_network
from anyrnn.tasks.run_folder import read_config
from anyrnn.tasks.training import enough_memory
from anyrnn.tasks.vocabulary import encode, load_tokenizer

TASK = "classify"
_BATCH_SIZE = 256


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


class Classifier:
    """A trained network with its tokenizer and labels; `load` makes one from a run folder.

    Args:
        cell: The name of the network's cell.
        labels: The labels, in the order of the classes.
        tokenizer: Texts to token numbers.
        network: Token numbers to logits.
    """

    def __init__(
        self, cell: str, labels: Sequence[str], tokenizer: Tokenizer, network: TextClassifier
    ) -> None:
        self.cell = cell
        self.labels = list(labels)
        self._tokenizer = tokenizer
        self._network = network

    def probabilities(self, texts: Sequence[str]) -> torch.Tensor:
        """The probability of each label for each text, (texts, labels)."""
        if not texts:
            return torch.empty(0, len(self.labels))
        return infer(self._network, encode(self._tokenizer, texts))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The most probable label of each text."""
        predictions = []
        for text, row in zip(texts, self.probabilities(texts).tolist(), strict=True):
            probabilities = dict(zip(self.labels, row, strict=True))
            label = max(probabilities, key=lambda name: probabilities[name])
            predictions.append(Prediction(text, label, probabilities[label], probabilities))
        return predictions

    def evaluate(self, texts: Sequence[str], targets: Sequence[int]) -> Scores:
        """Compare with the true class numbers."""
        return score(self.probabilities(texts), torch.tensor(targets), self.labels)


def load(run: Path | str, cell: str | None = None) -> Classifier:
    """Load a classifier from its run folder; only JSON and safetensors are read, no code runs.

    Args:
        run: The folder that `train` wrote.
        cell: Which of the run's models; by default the best one on the validation data.

    Raises:
        RunError: The folder is missing, damaged, of another task, or has no such cell.
    """
    run = Path(run)
    config = read_config(run, TASK)
    path = run / CONFIG
    cells = _strings(config, "cells", path)
    chosen = entry(config, "best_cell", str, path) if cell is None else cell
    if chosen not in cells:
        raise RunError(f"the run {run} has no cell {chosen!r}; it has {', '.join(cells)}")
    labels = _strings(config, "labels", path)
    tokenizer = load_tokenizer(run / "tokenizer.json")
    weights = run / f"{chosen}.safetensors"
    network = _network(chosen, config, tokenizer.get_vocab_size(), len(labels), path, weights)
    network.eval()
    return Classifier(chosen, labels, tokenizer, network)


@dataclass(frozen=True)
class Evaluation:
    """How well a model of a run labels a file.

    Attributes:
        cell: Which model.
        scores: Its figures.
        skipped: How many rows were left out, by reason.
    """

    cell: str
    scores: Scores
    skipped: dict[str, int]


def evaluate_file(
    run: Path | str,
    data: Path | str,
    *,
    cell: str | None = None,
    text: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    header: bool | None = None,
    skip_bad: bool | None = None,
) -> Evaluation:
    """Measure a model of a run on a file with labels.

    Args:
        run: The folder that `train` wrote.
        data: The file; columns and format are those of the training unless they are given.
        cell: Which of the run's models; by default the best one on the validation data.
        text, label, encoding, separator, header, skip_bad: See `DataOptions`.

    Raises:
        RunError: The run cannot be used.
        DataError: The file cannot be used, or has a label that the run does not know.
    """
    classifier = load(run, cell)
    path = Path(run) / CONFIG
    trained = entry(read_config(Path(run), TASK), "data", dict, path)
    options = DataOptions(
        data=Path(data),
        text=text or entry(trained, "text", str, path),
        label=label or entry(trained, "label", str, path),
        encoding=encoding or entry(trained, "encoding", str, path),
        separator=_separator(trained, path) if separator is None else separator,
        header=entry(trained, "header", bool, path) if header is None else header,
        skip_bad=entry(trained, "skip_bad", bool, path) if skip_bad is None else skip_bad,
    )
    part = read_part(options.data, options)
    scores = classifier.evaluate(part.texts, class_numbers(part, classifier.labels))
    return Evaluation(classifier.cell, scores, part.skipped)


def infer(
    network: torch.nn.Module,
    sequences: Sequence[numpy.ndarray],
    interruption: Interruption | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """The probabilities of the classes, in the order of the sequences.

    Args:
        network: Gives logits for sequences and lengths; it is left on the CPU, in evaluation mode.
        sequences: Token numbers.
        interruption: Where a request to stop is asked for after each batch.
        device: Where to compute.

    Raises:
        StoppedError: It was requested.
        RunError: A result is no number.
        SizeError: There is not enough memory.
    """
    device = device or torch.device("cpu")
    network.eval().to(device)
    batches = Batches(sequences, [0] * len(sequences), _BATCH_SIZE)
    results: list[torch.Tensor] = []
    rows: list[torch.Tensor] = []
    with torch.inference_mode(), enough_memory():
        for batch in batches:
            logits = network(batch.sequences.to(device), batch.lengths.to(device))
            results.append(logits.softmax(1).cpu())
            rows.append(batch.rows)
            if interruption:
                interruption.check()
    network.cpu()
    probabilities = torch.cat(results)
    if not probabilities.isfinite().all():
        raise RunError("the network gives results that are no number: its weights are too large")
    return probabilities[torch.cat(rows).argsort()]


def _separator(trained: dict, path: Path) -> str | None:
    return None if trained.get("separator") is None else entry(trained, "separator", str, path)


def _strings(config: dict, name: str, path: Path) -> list[str]:
    values = entry(config, name, list, path)
    if not values or not all(isinstance(value, str) for value in values):
        raise RunError(f"the run is damaged: {path} needs a list of text under {name!r}")
    if len(set(values)) < len(values):
        raise RunError(f"the run is damaged: {path} names something twice under {name!r}")
    return values


def _network(
    cell: str, config: dict, vocabulary: int, classes: int, path: Path, weights: Path
) -> TextClassifier:
    try:
        get(cell)
    except UnknownCellError as error:
        raise RunError(f"the run is damaged: {path} describes no network: {error}") from None
    model = entry(config, "model", dict, path)
    pool = entry(model, "pool", str, path)
    if pool not in POOLINGS:
        raise RunError(f"the run is damaged: {path} has the pooling {pool!r}")
    sizes = {
        name: entry(model, name, int, path) for name in ("embedding_size", "hidden_size", "layers")
    }
    both = entry(model, "bidirectional", bool, path)

    def make() -> TextClassifier:
        try:
            return TextClassifier(
                cell,
                vocabulary,
                classes,
                bidirectional=both,
                pool=pool,  # pyright: ignore[reportArgumentType]
                **sizes,
            )
        except (AnyrnnError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"the run is damaged: {path} describes no network: {reason}") from None

    return load_network(weights, make, sizes["layers"])
