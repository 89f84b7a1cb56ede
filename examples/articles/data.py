"""What the articles' programs leave out: data, and pictures of what is learned."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent

Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def surnames(of_language: str | None = None) -> Parts:
    """Surnames as sequences of letters, each letter one of many: for training and for testing.

    Args:
        of_language: The language to be told from all others; if None, each language is a class.

    Returns:
        X_train, y_train, X_test, y_test; X (names, letters, alphabet), y (names,) or (names,
        languages). No name is in both parts.
    """
    with (HERE.parent / "surnames" / "surnames.csv").open(encoding="utf-8") as file:
        rows = [(_letters(row["surname"]), row["language"]) for row in csv.DictReader(file)]
    names, languages = map(list, zip(*rows, strict=True))
    x = _one_hot(names)
    classes = sorted(set(languages))
    if of_language is None:
        y = np.eye(len(classes), dtype="float32")[[classes.index(one) for one in languages]]
    else:
        y = np.array([language == of_language for language in languages], dtype="float32")
    return _parts(x, y, np.unique(names, return_inverse=True)[1])


def commands() -> Parts:
    """Spoken commands as energies in ten bands, 31 times a second; see the README.

    Returns:
        X_train, y_train, X_test, y_test; X (recordings, steps, bands), y (recordings, words). No
        speaker is in both parts.
    """
    with np.load(HERE / "speech_commands.npz") as file:
        energies, words, speakers = (file[name] for name in ("energies", "word", "speaker"))
    x = (energies.astype("float32") - energies.mean()) / energies.std()
    return _parts(x, np.eye(5, dtype="float32")[words], speakers)


def _letters(name: str) -> str:
    """A name without accents and capitals."""
    plain = unicodedata.normalize("NFKD", name.lower())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _one_hot(names: list[str]) -> np.ndarray:
    """Names of one length, zeros before the shorter ones."""
    alphabet = {letter: k for k, letter in enumerate(sorted(set("".join(names))))}
    x = np.zeros((len(names), max(map(len, names)), len(alphabet)), dtype="float32")
    for row, name in zip(x, names, strict=True):
        row[range(-len(name), 0), [alphabet[letter] for letter in name]] = 1
    return x


def _parts(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> Parts:
    """Four fifths to train and one to test, in random order; a group is in one part."""
    random = np.random.default_rng(0)
    testing = random.permutation(group.max() + 1) < (group.max() + 1) / 5
    order = random.permutation(len(x))
    train, test = (order[testing[group[order]] == part] for part in (False, True))
    return x[train], y[train], x[test], y[test]


def draw(name: str, **histories: dict[str, Any]) -> None:
    """Write a picture of learning curves to `runs/NAME.png`.

    Args:
        name: The file's name.
        **histories: For each model what Keras recorded, epoch by epoch.
    """
    quantities = list(dict.fromkeys(key for each in histories.values() for key in each))
    figure = Figure(figsize=(4.5 * len(quantities), 3.2), layout="constrained")
    for axes, quantity in zip(
        np.atleast_1d(figure.subplots(1, len(quantities))), quantities, strict=True
    ):
        for place, (model, history) in enumerate(histories.items()):
            values = history[quantity]
            epochs = range(1, len(values) + 1)
            style = "--" if place else "-"  # curves that are the same are both seen
            marker = "." if len(values) < 20 else ""
            axes.plot(epochs, values, style, label=model, marker=marker)
        axes.set(xlabel="epoch", ylabel=f"{quantity} in training")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    path = Path("runs") / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"learning curve: {path}")
