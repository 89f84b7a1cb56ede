"""What the study trains: problems, each in one length or several, and with which options."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyrnn.errors import OptionError, option_name
from anyrnn.studies.cells.data_files import Files, digit_files, mnist_files
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.registry import entry_named

CELLS = ("lstm", "lstm_peephole", "gru", "rnn", "mingru", "minlstm")
"""The main cells of the catalogue; the first one sets the number of parameters."""

_TRAINING: dict[str, Any] = {
    "learning_rate": 0.006,  # of which a comparison tries multiples
    "schedule": "cosine",
    "batch_size": 64,
    "clip": 1.0,
    "device": "cpu",
}
_SEQUENCES: dict[str, Any] = {"training_sequences": 6400, "epochs": 15, "patience": 15}
_LARGE: dict[str, Any] = {"hidden_size": 130, "learning_rate": 0.002}
_QUICK: dict[str, Any] = {"epochs": 1, "hidden_size": 8}
_QUICK_SEQUENCES = {"training_sequences": 256, "validation_sequences": 64, "test_sequences": 64}


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
        rates_tried: Whether each cell finds its own learning rate.
    """

    name: str
    problem: str
    task: str
    steps: int | None
    figure: str
    given: Callable[[Files], Mapping[str, Any]]
    rates_tried: bool = True

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
            **digit_files(files, by),
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
        return {**mnist_files(files, by), "hidden_size": 128, "dropout": 0.0, "epochs": 3}

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


def _large_adding(files: Files) -> Mapping[str, Any]:
    return {**_adding(600).given(files), **_LARGE, "epochs": 30, "patience": 30}


def _large_copying(files: Files) -> Mapping[str, Any]:
    sizes = {"hidden_size": 56, "batch_size": 32, "epochs": 10, "patience": 10}
    return {**_copying(1000).given(files), **_LARGE, **sizes}


def _large_mnist(files: Files) -> Mapping[str, Any]:
    return {**_mnist("pixels").given(files), **_LARGE}


MNIST = {setting.name: setting for setting in map(_mnist, ("rows", "pixels"))}
"""Those that need the file of MNIST."""

LARGE = {
    setting.name: setting
    for setting in (
        Setting("large-adding", "large-adding", "adding", 600, "loss", _large_adding, False),
        Setting("large-copying", "large-copying", "copying", 1020, "loss", _large_copying, False),
        Setting("large-mnist", "large-mnist", "classify", 784, "accuracy", _large_mnist, False),
    )
}
"""Those with sequences and networks of the sizes of Bai, Kolter & Koltun (2018), at one learning
rate: they are trained only where they are named, and stand only beside the published figures."""

_WITH_DIGITS = (*MNIST, "large-mnist")


def settings_of(problems: Iterable[str], digits: Path | None = None) -> list[Setting]:
    """The settings of some problems, or of all, in the order of the study.

    Args:
        problems: The names of the problems, or of settings of them; all but the large ones without
            any.
        digits: The file of MNIST, without which its problems are none.

    Raises:
        OptionError: There is no such problem.
    """
    wanted = list(problems)
    known = [
        each
        for each in (*SETTINGS.values(), *MNIST.values(), *LARGE.values())
        if digits or each.name not in _WITH_DIGITS
    ]
    names = {name for setting in known for name in (setting.problem, setting.name)}
    for name in wanted:
        if name in _WITH_DIGITS and not digits:
            raise OptionError(
                f"{option_name('problem', name)} needs {option_name('digits')}, the file of MNIST"
            )
        if name not in names:
            listed = ", ".join(dict.fromkeys(setting.problem for setting in known))
            raise OptionError(
                f"{option_name('problem')} {name!r} is not in the study, which has: {listed}"
            )
    if not wanted:
        return [each for each in known if each.name not in LARGE]
    return [each for each in known if {each.problem, each.name} & {*wanted}]
