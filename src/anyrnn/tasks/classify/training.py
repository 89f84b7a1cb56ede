"""Training text classifiers: from files to a run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy
import torch
from tokenizers import Tokenizer

from anyrnn.cells.catalogue import get
from anyrnn.errors import AnyrnnError, SizeError, StoppedError, WriteError, option_name
from anyrnn.tasks.batches import Batches
from anyrnn.tasks.classify.data import Data, prepare
from anyrnn.tasks.classify.inference import TASK, infer
from anyrnn.tasks.classify.learner import ClassificationLearner
from anyrnn.tasks.classify.model import TextClassifier
from anyrnn.tasks.classify.options import Options
from anyrnn.tasks.classify.report import render
from anyrnn.tasks.classify.result import CellResult, Result, worst_mistakes
from anyrnn.tasks.classify.scores import score
from anyrnn.tasks.common_options import VocabularyOptions
from anyrnn.tasks.interruption import Interruption
from anyrnn.tasks.options import replaced
from anyrnn.tasks.run_files import versions, write_json, write_rows, write_text, write_weights
from anyrnn.tasks.run_folder import FORMAT, FORMAT_VERSION, UnfinishedRun
from anyrnn.tasks.training import Listener, fit
from anyrnn.tasks.vocabulary import choose_tokens, encode, train_tokenizer

_FILES = ("tokenizer.json", "history.csv", "results.json", "report.html")


class ClassificationListener(Listener):
    """What a caller may want to be told while classifiers are trained; does nothing by itself."""

    def noted(self, text: str) -> None:
        """Something about the data or a choice that was made."""

    def cell_started(self, cell: str, number: int, total: int) -> None:
        """The training of a cell, numbered from 1, begins or is taken up."""

    def cell_done(self, cell: str) -> None:
        """A cell was trained."""


def train(
    options: Options,
    output: Path | str,
    *,
    overwrite: bool = False,
    resume: bool = False,
    listener: ClassificationListener | None = None,
) -> Result:
    """Train a classifier with each cell and write the run folder.

    Args:
        options: Files, sizes, cells.
        output: The run folder. Until it is whole, it is called `output` + ".partial".
        overwrite: Replace a run that exists there.
        resume: Go on with an unfinished run there.
        listener: Told what happens.

    Returns:
        The figures of each cell.

    Raises:
        DataError: The files cannot be used.
        RunError: The folder exists, cannot be written, or cannot be gone on with.
        SizeError: A size does not fit.
        UnknownCellError: There is no such cell.
        StoppedError: Ctrl-C or SIGTERM; the unfinished run can be gone on with by `resume`.
    """
    listener = listener or ClassificationListener()
    for cell in options.cells:
        get(cell)
    with UnfinishedRun(Path(output), overwrite=overwrite, resume=resume) as unfinished:
        try:
            return _train_cells(options, unfinished, listener)
        except (StoppedError, WriteError) as error:
            if not unfinished.has_checkpoint():
                raise
            raise type(error)(
                f"{error.message}; what is done lies in {unfinished.path}: "
                f"go on with the same command and {option_name('resume', True)}"
            ) from None


def _train_cells(
    options: Options, unfinished: UnfinishedRun, listener: ClassificationListener
) -> Result:
    data = prepare(options.data, options.training.seed)
    _tell_data(data, listener)
    tokens, reason = options.vocabulary.tokens, "as asked for"
    if tokens == "auto":
        tokens, reason = choose_tokens(data.training.texts)
    vocabulary = replaced(options.vocabulary, tokens=tokens)
    tokenizer = train_tokenizer(data.training.texts, vocabulary)
    listener.noted(f"tokens: {tokens} ({reason}), {tokenizer.get_vocab_size():,} in the vocabulary")
    training = _Training(options, data, tokenizer)
    training.check_cells()
    weights = [f"{cell}.safetensors" for cell in options.cells]
    unfinished.open(_settings(options, data), [*_FILES, *weights])
    with Interruption() as interruption, torch.random.fork_rng():
        results = training.run(unfinished, interruption, listener)
    best = min(results, key=lambda result: result.best_epoch.figures["validation_loss"])
    config = training.config(vocabulary, best)
    _write(unfinished.path, config, tokenizer, results)
    write_text(unfinished.path / "report.html", render(config, results))
    unfinished.finish(config)
    return Result(unfinished.target, results, best)


@dataclass
class _Training:
    """The data as numbers, and the training of one cell after another on it."""

    options: Options
    data: Data
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        self._sequences: dict[str, list[numpy.ndarray]] = {}
        self._targets: dict[str, list[int]] = {}
        for name in ("training", "validation", "test"):
            part = getattr(self.data, name)
            self._sequences[name] = encode(self.tokenizer, part.texts)
            self._targets[name] = self.data.targets(part)

    def check_cells(self) -> None:
        """Make each network once, so that a mistake shows before anything is written."""
        with torch.random.fork_rng():
            for cell in self.options.cells:
                self._network(cell)

    def run(
        self,
        unfinished: UnfinishedRun,
        interruption: Interruption,
        listener: ClassificationListener,
    ) -> list[CellResult]:
        """Train each cell and write its weights."""
        results = []
        for number, cell in enumerate(self.options.cells, start=1):
            listener.cell_started(cell, number, len(self.options.cells))
            torch.manual_seed(self.options.training.seed)
            network = self._network(cell)
            folder = unfinished.subfolder(cell)
            results.append(self._train(cell, network, folder, interruption, listener))
            write_weights(unfinished.path / f"{cell}.safetensors", network)
            listener.cell_done(cell)
        return results

    def config(self, vocabulary: VocabularyOptions, best: CellResult) -> dict[str, object]:
        """What `load` needs, and what a reader wants to know about the run."""
        data = self.data
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "task": TASK,
            "cells": list(self.options.cells),
            "best_cell": best.cell,
            "labels": data.labels,
            "model": self.options.model.plain(),
            "vocabulary": {**vocabulary.plain(), "size": self.tokenizer.get_vocab_size()},
            "training": self.options.training.plain(),
            "data": self.options.data.plain(),
            "texts": {
                "training": len(data.training),
                "validation": len(data.validation),
                "test": len(data.test),
                "test_also_in_training": data.overlap,
                "skipped": data.skipped,
            },
            "versions": versions(),
        }

    def _train(
        self,
        cell: str,
        network: TextClassifier,
        folder: Path,
        interruption: Interruption,
        listener: Listener,
    ) -> CellResult:
        options = self.options.training
        learner = ClassificationLearner(network, options, len(self.data.labels))
        epochs = fit(
            learner,
            self._batches("training", options.seed),
            self._batches("validation", None),
            folder,
            interruption,
            listener,
        )
        start = perf_counter()
        probabilities = infer(
            network, self._sequences["test"], interruption, options.torch_device()
        )
        seconds = perf_counter() - start
        targets = torch.tensor(self._targets["test"])
        labels, texts = self.data.labels, self.data.test.texts
        return CellResult(
            cell=cell,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            epochs=epochs,
            scores=score(probabilities, targets, labels),
            mistakes=worst_mistakes(texts, probabilities, targets, labels),
            training_seconds=sum(epoch.seconds for epoch in epochs),
            seconds_per_text=seconds / len(texts),
        )

    def _batches(self, part: str, seed: int | None) -> Batches:
        size = self.options.training.batch_size
        return Batches(self._sequences[part], self._targets[part], size, seed)

    def _network(self, cell: str) -> TextClassifier:
        sizes = asdict(self.options.model)
        vocabulary, classes = self.tokenizer.get_vocab_size(), len(self.data.labels)
        try:
            return TextClassifier(cell, vocabulary, classes, **sizes)
        except AnyrnnError:
            raise
        # What torch raises when memory cannot be had, or when a size overflows.
        except (RuntimeError, MemoryError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise SizeError(f"a network of these sizes cannot be made: {reason}") from None


def _tell_data(data: Data, listener: ClassificationListener) -> None:
    listener.noted(
        f"texts: {len(data.training):,} to train, {len(data.validation):,} to validate, "
        f"{len(data.test):,} to test; {len(data.labels)} labels"
    )
    for path, reasons in data.skipped.items():
        listing = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        listener.noted(f"skipped rows of {path}: {listing}")
    if data.overlap:
        listener.noted(f"{data.overlap:,} of the test texts also occur in the training texts")


def _settings(options: Options, data: Data) -> dict[str, object]:
    """What an unfinished run has to agree with: every option, the content of the files, and the
    order of the labels.
    """
    return {**options.plain(), "content": data.digests, "labels": data.labels}


def _write(
    folder: Path, config: Mapping[str, object], tokenizer: Tokenizer, results: Sequence[CellResult]
) -> None:
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    history = [
        {"cell": result.cell, "epoch": epoch.number, **epoch.figures, "seconds": epoch.seconds}
        for result in results
        for epoch in result.epochs
    ]
    write_rows(folder / "history.csv", history)
    cells = {
        result.cell: {
            "parameters": result.parameters,
            "best_epoch": result.best_epoch.number,
            "validation": result.best_epoch.figures,
            "test": asdict(result.scores),
            "training_seconds": result.training_seconds,
            "seconds_per_text": result.seconds_per_text,
            "mistakes": [asdict(mistake) for mistake in result.mistakes],
        }
        for result in results
    }
    write_json(folder / "results.json", {"best_cell": config["best_cell"], "cells": cells})
