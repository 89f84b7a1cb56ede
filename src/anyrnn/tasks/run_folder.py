"""The folder of a run: written beside its place, renamed when whole; read without pickle."""

import csv
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from anyrnn.errors import RunError

CONFIG = "config.json"
FORMAT = "anyrnn run"
FORMAT_VERSION = 1

_SETTINGS = "settings.json"

_LIBRARIES = ("anyrnn", "torch", "lightning", "torchmetrics", "tokenizers", "pandas")

T = TypeVar("T")


class UnfinishedRun:
    """A run folder in the making: `RUN.partial`, which becomes `RUN` when it is whole.

    Args:
        target: The folder that the run will be.
        overwrite: Whether a run that exists there may be replaced.
        resume: Whether to go on with an unfinished run there.

    Raises:
        RunError: The folder exists and may not be replaced, or there is nothing to go on with, or
            its place cannot be written. Nothing has been written yet.
    """

    def __init__(self, target: Path, *, overwrite: bool, resume: bool) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".partial")
        self._resume = resume
        if not target.name:
            raise RunError(f"--output {target} is no name of a new folder")
        if os.path.lexists(target):
            _check_replaceable(target, overwrite)
        if resume and not self.path.is_dir():
            raise RunError(
                f"there is no unfinished run {self.path} to go on with; leave --resume out"
            )
        if self.path.exists() and not resume and not overwrite:
            raise RunError(
                f"{self.path} holds an unfinished run: go on with it by --resume, "
                "or start again with --overwrite"
            )
        _check_writable(target)

    def open(self, settings: Mapping[str, object]) -> None:
        """Make the unfinished folder, or check that the one there was made with the same settings.

        Args:
            settings: Whatever the result depends on.

        Raises:
            RunError: The settings differ, or the folder cannot be written.
        """
        if self._resume:
            known = read_json(self.path / _SETTINGS)
            for name, value in json.loads(json.dumps(settings)).items():
                if known.get(name) != value:
                    raise RunError(
                        f"cannot go on with {self.path}: {name} was {known.get(name)!r} "
                        f"and is {value!r} now; repeat the command as it was, "
                        "or start again with --overwrite"
                    )
            return
        try:
            if self.path.exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}") from None
        write_json(self.path / _SETTINGS, settings)

    def subfolder(self, name: str) -> Path:
        """A folder for checkpoints; it is removed when the run is whole."""
        folder = self.path / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def discard(self) -> None:
        """Remove what was begun."""
        shutil.rmtree(self.path, ignore_errors=True)

    def finish(self) -> None:
        """Give the folder its name; a run that it replaces is removed last."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        (self.path / _SETTINGS).unlink()
        old = self.target.with_name(self.target.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        try:
            if self.target.exists():
                self.target.rename(old)
            self.path.rename(self.target)
        except OSError as error:
            raise RunError(
                f"cannot rename {self.path} to {self.target}: {error.strerror or error}"
            ) from None
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    with _whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a value as readable JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write dictionaries of equal keys as CSV."""
    with _whole(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_weights(path: Path, network: torch.nn.Module) -> None:
    """Write the weights of a network as safetensors."""
    weights = {
        name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()
    }
    with _whole(path) as unfinished:
        save_file(weights, unfinished)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside the wanted one, which takes its name when it is complete."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a result depends on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def read_config(run: Path, task: str) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        RunError: The folder is missing, is no run, or is one of another task or a later version.
    """
    if not run.exists():
        unfinished = run.with_name(run.name + ".partial")
        hint = (
            f"; {unfinished} is unfinished: train on with --resume" if unfinished.exists() else ""
        )
        raise RunError(f"there is no run folder {run}{hint}")
    if not run.is_dir():
        raise RunError(f"{run} is a file, not a run folder")
    path = run / CONFIG
    if not path.exists():
        raise RunError(f"{run} is no run of anyrnn: it has no {CONFIG}")
    config = read_json(path)
    if config.get("format") != FORMAT:
        raise RunError(f'{run} is no run of anyrnn: {path} does not say "format": "{FORMAT}"')
    if config.get("version") != FORMAT_VERSION:
        raise RunError(
            f"{path} has version {config.get('version')!r}, "
            f"but this anyrnn reads version {FORMAT_VERSION}"
        )
    if config.get("task") != task:
        raise RunError(f"{run} is a run of the task {config.get('task')!r}, not of {task!r}")
    return config


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run.

    Raises:
        RunError: The file is missing, unreadable, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"the run is damaged: {path} is missing") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise RunError(f"the run is damaged: {path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"the run is damaged: {path} does not hold a JSON object")
    return value


def entry(config: Mapping[str, Any], name: str, kind: type[T], path: Path) -> T:
    """One entry of a configuration, of the type it has to have.

    Raises:
        RunError: It is missing or of another type.
    """
    value = config.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        what = "lacks it" if name not in config else f"has {value!r}"
        raise RunError(f"the run is damaged: {path} needs {name!r} ({kind.__name__}) but {what}")
    return value


def load_weights(path: Path, network: torch.nn.Module) -> None:
    """Fill a network with the weights of a safetensors file.

    Raises:
        RunError: The file is missing or damaged, or its weights are not those of the network.
    """
    if not path.exists():
        raise RunError(f"the run is damaged: {path} is missing")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"the run is damaged: {path} holds no weights: {error}") from None
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise RunError(
                f"the run is damaged: in {path}, {name!r} has the shape {found.get(name, 'none')}, "
                f"but {CONFIG} asks for {expected.get(name, 'none')}"
            )
    network.load_state_dict(weights)


def _check_replaceable(target: Path, overwrite: bool) -> None:
    if not target.is_dir():
        raise RunError(f"{target} is a file; choose another --output")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise RunError(f"{target} exists; choose another --output, or replace it with --overwrite")
    if not (target / CONFIG).exists():
        raise RunError(
            f"{target} is no run of anyrnn, so --overwrite leaves it; choose another --output"
        )


def _check_writable(target: Path) -> None:
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise RunError(f"cannot write {target}: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"cannot write {target}: no permission to write in {parent}")
