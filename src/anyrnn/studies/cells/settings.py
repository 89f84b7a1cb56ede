"""What the study trains: problems, each in one length or several, and with which options."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.files import reading, writing
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.registry import entry_named

CELLS = ("lstm", "lstm_peephole", "gru", "rnn", "mingru", "minlstm")
"""The main cells of the catalogue; the first one sets the number of parameters."""

RATES = (0.002, 0.006, 0.02, 0.06)
"""The learning rates among which each cell finds its own."""

_TRAINING: dict[str, Any] = {
    "schedule": "cosine",
    "batch_size": 64,
    "clip": 1.0,
    "device": "cpu",
}
_SEQUENCES: dict[str, Any] = {"training_sequences": 6400, "epochs": 15, "patience": 15}
_QUICK: dict[str, Any] = {"epochs": 1, "hidden_size": 8}
_QUICK_SEQUENCES = {"training_sequences": 256, "validation_sequences": 64, "test_sequences": 64}
_QUICK_IMAGES = 200


@dataclass(frozen=True)
class Files:
    """Where the study finds data, and where it puts those that it makes.

    Attributes:
        examples: The folder `examples` of a clone of anyrnn.
        made: A folder for files that the study makes.
        digits: MNIST as an .npz, for the problems that need it.
        images: How many of its images are trained on; all without.
        quick: Whether everything is as small as can be.
        share: The share of the epochs that a training has.
    """

    examples: Path
    made: Path
    digits: Path | None = None
    images: int | None = None
    quick: bool = False
    share: float = 1.0

    def example(self, name: str) -> Path:
        """A file of the examples.

        Raises:
            DataError: It is not there.
        """
        path = self.examples / name
        if not path.exists():
            raise DataError(
                f"there is no file {path}: name the folder of the examples with "
                f"{option_name('examples')}, or problems without a file with "
                f"{option_name('problem')}"
            )
        return path


@dataclass(frozen=True)
class Setting:
    """A problem in one length, with what a network of it needs.

    Attributes:
        name: Its own name, such as "adding-30".
        problem: The problem.
        task: The name of the task.
        steps: How many steps the network reads, if all sequences have equally many.
        figure: The figure that is told.
        given: Gives the task's options on data and sizes, by their own names.
    """

    name: str
    problem: str
    task: str
    steps: int | None
    figure: str
    given: Callable[[Files], Mapping[str, Any]]

    def options(self, files: Files, cells: Sequence[str], seeds: int) -> Any:
        """The options of the trainings, but for what differs between them.

        Args:
            files: Where data are.
            cells: The cells.
            seeds: How often each is trained.

        Raises:
            DataError: A file is not there or cannot be used.
        """
        quick: dict[str, Any] = _QUICK if files.quick else {}
        values = {**_TRAINING, **self.given(files), **quick, "cells": tuple(cells), "seeds": seeds}
        values["epochs"] = max(1, round(files.share * values["epochs"]))
        return from_flat(entry_named(self.task).options, values)


def _adding(length: int) -> Setting:
    def given(files: Files) -> Mapping[str, Any]:
        small: dict[str, Any] = _QUICK_SEQUENCES if files.quick else {}
        return {**_SEQUENCES, "length": length, "hidden_size": 24, **small}

    return Setting(f"adding-{length}", "adding", "adding", length, "loss", given)


def _copying(pause: int) -> Setting:
    def given(files: Files) -> Mapping[str, Any]:
        small: dict[str, Any] = _QUICK_SEQUENCES if files.quick else {}
        return {
            **_SEQUENCES,
            "epochs": 8,
            "batch_size": 16,
            "pause": pause,
            "hidden_size": 32,
            **small,
        }

    return Setting(f"copying-{pause}", "copying", "copying", pause + 20, "recalled", given)


def _digits(by: str) -> Setting:
    def given(files: Files) -> Mapping[str, Any]:
        return {
            **_digit_files(files, by),
            "validation_share": 0.15,
            "test_share": 0.25,
            "hidden_size": 32,
            "dropout": 0.0,
            "epochs": 25,
            "patience": 25,
        }

    return Setting(f"digits-{by}", f"digits-{by}", "classify", None, "accuracy", given)


def _mnist(by: str) -> Setting:
    def given(files: Files) -> Mapping[str, Any]:
        return {**_mnist_files(files, by), "hidden_size": 128, "dropout": 0.0, "epochs": 3}

    return Setting(f"mnist-{by}", f"mnist-{by}", "classify", None, "accuracy", given)


def _surnames(files: Files) -> Mapping[str, Any]:
    return {
        "data": files.example("surnames/surnames.csv"),
        "text": "surname",
        "label": "language",
        "embedding_size": 32,
        "hidden_size": 64,
        "dropout": 0.2,
        "batch_size": 128,
        "epochs": 5,
        "test_share": 0.2,
    }


def _co2(files: Files) -> Mapping[str, Any]:
    return {
        "data": files.example("co2/co2.csv"),
        "time": "week",
        "target": ("co2",),
        "horizon": 26,
        "look_back": 104,
        "backtest": 0,
        "hidden_size": 32,
        "dropout": 0.0,
        "epochs": 10,
        "patience": 10,
    }


def _sounds(files: Files) -> Mapping[str, Any]:
    return {
        "data": files.example("digits/digits.npz"),
        "hidden_size": 64,
        "dropout": 0.2,
        "epochs": 15,
        "patience": 15,
    }


SETTINGS = {
    setting.name: setting
    for setting in (
        *map(_adding, (10, 30, 100)),
        *map(_copying, (5, 30)),
        _digits("rows"),
        _digits("pixels"),
        Setting("surnames", "surnames", "classify", None, "accuracy", _surnames),
        Setting("co2", "co2", "forecast", 104, "mase", _co2),
        Setting("sounds", "sounds", "classify", None, "accuracy", _sounds),
    )
}
"""By their names, in the order in which they are trained and told."""

MNIST = {setting.name: setting for setting in map(_mnist, ("rows", "pixels"))}
"""Those that need the file of MNIST."""


def settings_of(problems: Iterable[str], digits: Path | None = None) -> list[Setting]:
    """The settings of some problems, or of all, in the order of the study.

    Args:
        problems: The names of the problems, or of settings of them; all without any.
        digits: The file of MNIST, without which its problems are none.

    Raises:
        OptionError: There is no such problem.
    """
    wanted = list(problems)
    known = [*SETTINGS.values(), *(MNIST.values() if digits else ())]
    names = {name for setting in known for name in (setting.problem, setting.name)}
    for name in wanted:
        if name in MNIST and not digits:
            raise OptionError(
                f"{option_name('problem', name)} needs {option_name('digits')}, the file of MNIST"
            )
        if name not in names:
            listed = ", ".join(dict.fromkeys(setting.problem for setting in known))
            raise OptionError(
                f"{option_name('problem')} {name!r} is not in the study, which has: {listed}"
            )
    return [each for each in known if not wanted or {each.problem, each.name} & {*wanted}]


def _digit_files(files: Files, by: str) -> dict[str, Any]:
    """The file of scikit-learn's digits, which is made: images as sequences of rows or pixels."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return {"data": _written(files, "digits", by, found.images, found.target)}


def _mnist_files(files: Files, by: str) -> dict[str, Any]:
    """The files of MNIST, which are made: perhaps only some of the training images.

    Raises:
        DataError: The file cannot be read or holds something else.
    """
    path, names = files.digits, ("x_train", "y_train", "x_test", "y_test")
    assert path is not None
    try:
        with reading(path, DataError, "there is no file {}"), numpy.load(path) as found:
            arrays = {name: found[name] for name in names}
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path} has to be an .npz with the arrays {', '.join(names)}: {error}"
        ) from None
    training = (arrays[name][: files.images] for name in names[:2])
    test = (arrays[name] for name in names[2:])
    return {
        "data": _written(files, "mnist-training", by, *training),
        "test_data": _written(files, "mnist-test", by, *test),
    }


def _written(
    files: Files, name: str, by: str, images: numpy.ndarray, labels: numpy.ndarray
) -> Path:
    if files.quick:
        images, labels = images[:_QUICK_IMAGES], labels[:_QUICK_IMAGES]
    steps = images if by == "rows" else images.reshape(len(images), -1, 1)
    path = files.made / f"{name}-by-{by}.npz"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        numpy.savez_compressed(path, x=steps.astype(numpy.float32), y=labels)
    return path
