"""What is measured of the tasks: their trainings, on generated files of the sizes that people have.

A row is a task's own network, loss, batches and optimiser; a peer replaces the recurrent layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import STANDARD, Arrays, Case
from benchmarks.models import BATCHES

if TYPE_CHECKING:
    from torch.nn import Module

    from anyrnn.torch import Recurrent

TRAIN = "train"  # the mode
LOOPED_CELLS = ("lstm_peephole",)  # a cell that torch.nn does not have
TRAINING_CELLS = (*STANDARD, *LOOPED_CELLS)
SEED = 0
Losses = list[float]
Write = Callable[[Path, np.random.Generator], dict[str, Any]]


def _words(random: np.random.Generator, count: int, different: int) -> list[str]:
    """Words as frequent as those of a language: the nth one 1 / n times as often as the first."""
    weights = 1 / np.arange(1, different + 1)
    numbers = random.choice(different, count, p=weights / weights.sum())
    return [f"w{number}" for number in numbers]


def _reviews(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    rows = [
        f"{' '.join(_words(random, int(random.integers(10, 70)), 8000))},{random.integers(2)}"
        for _ in range(900)
    ]
    file = folder / "reviews.csv"
    file.write_text("\n".join(["text,label", *rows]))
    return {"data": file, "text": "text", "label": "label", "dropout": 0.0}


def _vowels(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    file, lengths = folder / "vowels.npz", random.integers(7, 30, 270)
    values = random.normal(size=(270, 29, 12)).astype(np.float32)
    np.savez(file, x=values, lengths=lengths, y=np.arange(270) % 9)
    sizes = {"hidden_size": 64, "layers": 2, "bidirectional": True, "pool": "mean", "dropout": 0.0}
    return {"data": file, **sizes, "batch_size": 16}


def _characters(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    file = folder / "book.txt"
    file.write_text("".join(chr(45 + number) for number in random.integers(0, 65, 60_000)))
    sizes = {"embedding_size": 64, "hidden_size": 256, "dropout": 0.0, "steps": 128}
    return {"data": (file,), "test_share": 0.0, "minimum_frequency": 1, **sizes}


def _book(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    file = folder / "book.txt"
    words = [*_words(random, 40_000, 10_000), *(f"w{number}" for number in range(10_000))]
    file.write_text(" ".join(random.permutation(words)))
    shares = {"validation_share": 0.01, "test_share": 0.0, "minimum_frequency": 1}
    sizes = {"embedding_size": 200, "hidden_size": 200, "layers": 2, "dropout": 0.0}
    rate = {"optimiser": "sgd", "learning_rate": 1.0, "clip": 0.25}
    streams = {"batch_size": 20, "steps": 20, "tokens": "whitespace"}
    return {"data": (file,), **shares, **sizes, **rate, **streams}


def _sentences(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    file = folder / "sentences.conll"
    letters = np.array([*"etaoinshrdlu"])
    known = ["".join(random.choice(letters, random.integers(2, 10))) for _ in range(5000)]
    lines = []
    for _ in range(250):
        words = _words(random, int(random.integers(4, 36)), len(known))
        lines += [f"{known[int(word[1:])]}\tT{int(word[1:]) % 17}" for word in words] + [""]
    file.write_text("\n".join(lines))
    return {"data": file, "word_dropout": 0.0, "dropout": 0.0, "batch_size": 16}


def _pairs(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    lengths = random.integers(6, 20, 640)
    for side in ("source", "target"):
        lines = (" ".join(_words(random, count, 4000)) for count in lengths)
        (folder / side).write_text("\n".join(lines))
        lengths = lengths + random.integers(-1, 2, len(lengths))
    tokens = {"source_tokens": "whitespace", "target_tokens": "whitespace"}
    files = {"source": str(folder / "source"), "target": str(folder / "target")}
    return {**files, **tokens, "minimum_frequency": 1, "hidden_size": 256, "dropout": 0.0}


def _recordings(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    import soundfile

    for number in range(400):
        file = folder / "words" / "abcdefghij"[number % 10] / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, random.normal(size=8000) / 10, 8000)
    return {"data": folder / "words", "sample_rate": 8000, "dropout": 0.0, "batch_size": 32}


def _transcripts(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    import soundfile

    file, rate, rows = folder / "spoken.tsv", 8000, ["file\ttext"]
    for number in range(420):
        samples = random.normal(size=random.integers(2 * rate, 4 * rate)) / 10
        soundfile.write(folder / f"{number}.wav", samples, rate)
        letters = random.choice([*"etaoinshrdlu "], random.integers(16, 32))
        rows.append(f"{number}.wav\ta{''.join(letters)}")
    file.write_text("\n".join(rows))
    columns = {"data": file, "recording": "file", "transcript": "text", "sample_rate": rate}
    return {**columns, "hidden_size": 128, "layers": 2, "dropout": 0.0, "batch_size": 32}


def _voice(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    sizes = {"mels": 60, "hidden_size": 128, "layers": 1, "prenet_dropout": 0.0, "batch_size": 16}
    return {**_transcripts(folder, random), **sizes}


def _pictures(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    file, rows = folder / "captions.csv", ["picture,caption"]
    for number in range(96):
        np.save(folder / f"{number}.npy", random.normal(size=(320, 7, 7)).astype(np.float32))
        lengths = random.integers(8, 16, 5)
        rows += [f"{number}.jpg,{' '.join(_words(random, count, 2000))}" for count in lengths]
    file.write_text("\n".join(rows))
    tokens = {"tokens": "whitespace", "minimum_frequency": 1}
    columns = {"picture": "picture", "caption": "caption", "arrays": folder}
    return {"data": file, **columns, **tokens, "dropout": 0.0}


def _hours(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    file, names = folder / "hours.csv", [f"c{number}" for number in range(7)]
    days = np.datetime64("2020-01-01T00") + np.arange(4000)
    values = random.normal(size=(4000, 7)).cumsum(0)
    rows = [
        f"{day},{','.join(f'{v:.3f}' for v in row)}" for day, row in zip(days, values, strict=True)
    ]
    file.write_text("\n".join([",".join(["date", *names]), *rows]))
    parts = {"validation_size": 300.0, "test_size": 300.0, "horizon": 96, "look_back": 96}
    form = {"form": "segments", "segment_length": 24, "head": "point", "point_loss": "mae"}
    sizes = {"hidden_size": 128, "dropout": 0.0, "calendar": False, "batch_size": 256}
    return {"data": file, "time": "date", "target": tuple(names), **parts, **form, **sizes}


def _days(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    file = folder / "days.csv"
    days = np.datetime64("2000-01-01") + np.arange(2000)
    values = random.normal(size=2000).cumsum()
    rows = [f"{day},{value:.3f}" for day, value in zip(days, values, strict=True)]
    file.write_text("\n".join(["date,value", *rows]))
    parts = {"horizon": 7, "look_back": 28, "dropout": 0.0}
    return {"data": file, "time": "date", "target": ("value",), **parts}


# The task, the sizes of its largest recurrent layers (batch, time, input, hidden), its data.
TRAININGS: dict[str, tuple[str, tuple[int, int, int, int], Write]] = {
    "classify texts": ("classify", (64, 40, 128, 128), _reviews),
    "classify numbers": ("classify", (16, 29, 128, 64), _vowels),
    "generate characters": ("generate", (32, 128, 64, 256), _characters),
    "generate words": ("generate", (20, 20, 200, 200), _book),
    "tag": ("tag", (16, 36, 200, 150), _sentences),
    "translate": ("translate", (64, 20, 128, 256), _pairs),
    "command": ("command", (32, 51, 80, 96), _recordings),
    "transcribe": ("transcribe", (32, 134, 120, 128), _transcripts),
    "speak": ("speak", (16, 60, 384, 128), _voice),
    "caption": ("caption", (64, 16, 128, 256), _pictures),
    "forecast segments": ("forecast", (1792, 4, 128, 128), _hours),
    "forecast": ("forecast", (64, 28, 1, 64), _days),
}
# those whose networks can be written with the layers of Keras
KERAS_TRAININGS = ("classify texts", "classify numbers")


@dataclass(frozen=True)
class Prepared:
    """A task that is ready to train.

    Attributes:
        task: The task.
        options: Those of its training.
        batches: The first batches of an epoch.
    """

    task: Any
    options: Any
    batches: list[Any] = field(repr=False)


def replace_layers(network: Module, instead: Callable[[Recurrent], Module]) -> Module:
    """A network with something else in the place of each of our recurrent layers."""
    from anyrnn.torch import Recurrent

    for name, module in [*network.named_modules()]:
        if isinstance(module, Recurrent):
            network.set_submodule(name, instead(module))
    return network


class Training(Case):
    """A row of the comparison: so many batches of a task's training. The option names the task."""

    @property
    def operations(self) -> int:
        """Additions and multiplications in matrix products of the largest layer."""
        return 3 * BATCHES * super().operations

    @property
    def is_random(self) -> bool:
        """Dropout is off, so that curves can be compared."""
        return False

    def data(self) -> None:
        """Nothing: the files of a training are written where it runs, from a seed."""

    def prepared(self) -> Prepared:
        """Write the files, and read them as a training does."""
        from anyrnn.tasks.options.declaration import from_flat
        from anyrnn.tasks.registry import entry_named

        name, _, write = TRAININGS[self.option]
        entry = entry_named(name)
        with TemporaryDirectory() as folder:
            given = write(Path(folder), np.random.default_rng(SEED))
            options: Any = from_flat(entry.options, {"device": "cpu", **given})
            data = entry.task.read(options)
            task = entry.task.prepare(options, data.training, lambda note: None)
            batches = task.batches(data.training, options.training.batch_size, SEED)
            return Prepared(task, options.training, [*islice(batches, BATCHES)])

    def trained(self, instead: Callable[[Recurrent], Module] | None = None) -> Callable[[], Losses]:
        """What trains on the batches, and tells the loss of each.

        Args:
            instead: Makes what stands in the place of each of our recurrent layers.
        """
        import torch

        from anyrnn.tasks.training.learner import Learner

        prepared = self.prepared()
        torch.manual_seed(SEED)
        network = prepared.task.network(self.cell)
        if instead is not None:
            replace_layers(network, instead)
        learner = Learner(prepared.task, network, prepared.options)
        optimiser = learner.configure_optimizers()

        def train() -> Losses:
            losses = []
            for number, batch in enumerate(prepared.batches):
                loss = learner.training_step(batch, number)
                optimiser.zero_grad()
                loss.backward()
                if prepared.options.clip:
                    clip = prepared.options.clip
                    torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
                optimiser.step()
                losses.append(float(loss.detach()))
            return losses

        return train

    def reference(self, data: Any, calls: int) -> Arrays:
        """The loss of each batch, by PyTorch's operations and derivative.

        Args:
            data: Nothing.
            calls: How often the batches have been trained on.
        """
        from anyrnn.torch.path import forced

        with forced("operations"):
            train = self.trained()
            return {"losses": np.array([train() for _ in range(calls)][-1])}


TRAINING_CASES = [
    Training(cell, shape, TRAIN, name)
    for (name, (_, shape, _)), cell in product(TRAININGS.items(), TRAINING_CELLS)
]
