"""The folder of a run: made beside its place, renamed when whole; nothing foreign is removed."""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anyrnn.errors import (
    AnyrnnError,
    RunError,
    StoppedError,
    WriteError,
    option_name,
    option_value,
)
from anyrnn.files import UNFINISHED, beside, followed, locked, sync_folder, writing
from anyrnn.tasks.options.nested import differing
from anyrnn.tasks.run_files import CONFIG, read_json, write_json

FORMAT = "anyrnn run"
FORMAT_VERSION = 2

CHECKPOINT, WEIGHTS, EPOCHS = "checkpoint.ckpt", "weights.safetensors", "epochs.json"
"""What lies in the subfolder of a training."""

_SETTINGS = "settings.json"
_CHECKPOINTS = "checkpoints"
_OUTPUT = option_name("output")
_OVERWRITE = option_name("overwrite", True)
_RESUME = option_name("resume", True)


class UnfinishedRun:
    """A run folder in the making: `RUN.partial`, which becomes `RUN` when it is whole.

    A context manager. Within it the folder is locked: no other process can write to it. When it is
    left by an error after which nothing is worth going on with, what was begun is removed.

    Args:
        target: The folder that the run will be.
        overwrite: Whether a run that exists there may be replaced.
        resume: Whether to go on with an unfinished run there.

    Raises:
        RunError: The folder exists and may not be replaced, another process writes it, or there is
            nothing to go on with, or its place cannot be written. Nothing has been written yet.
    """

    def __init__(self, target: Path, *, overwrite: bool, resume: bool) -> None:
        if target.name in ("", ".."):
            raise RunError(f"{_OUTPUT} {target} is no name of a new folder")
        self.target = followed(target)
        self.path = _partial(self.target)
        self._overwrite = overwrite
        self._resume = resume
        self._lock: int | None = None
        self._begun = False
        if resume and os.path.lexists(self.target) and not os.path.lexists(self.path):
            raise RunError(
                f"there is no unfinished run {self.path} to go on with; {target} is there already"
            )
        _check_target(self.target, overwrite)
        self._there = _holds_something(self.path)
        if self._there:
            self._take_over()
        elif resume:
            raise RunError(
                f"there is no unfinished run {self.path} to go on with; leave {_RESUME} out"
            )
        _check_writable(self.target)

    def _take_over(self) -> None:
        """Lock the unfinished run that is there, if it is one and may be gone on with."""
        _check_own(self.path, _SETTINGS)
        self._lock = _locked(self.path)
        if not (self._resume or self._overwrite):
            self.close()
            raise RunError(
                f"{self.path} holds an unfinished run: go on with it by {_RESUME}, "
                f"or start again with {_OVERWRITE}"
            )

    def open(self, settings: Mapping[str, object], files: Iterable[str]) -> None:
        """Make the unfinished folder, or check that the one there was made with the same settings.

        Args:
            settings: Whatever the result depends on.
            files: The names of all files that the run will hold, besides its configuration.

        Raises:
            RunError: The settings differ, another process was faster, or the folder cannot be
                written.
        """
        self._files = sorted(files)
        record = {"format": FORMAT, "version": FORMAT_VERSION, "files": self._files}
        settings = {**record, **settings}
        if self._resume:
            self._compare(json.loads(json.dumps(settings)))
            return
        if not self._there:
            self._make(settings)
        else:  # start again
            own = _own_names(self.path, _SETTINGS)
            _remove_checkpoints(self.path)
            _remove(self.path, own - {_SETTINGS})
            write_json(self.path / _SETTINGS, settings)
        self._begun = True

    def _compare(self, settings: Mapping[str, object]) -> None:
        known = read_json(self.path / _SETTINGS)
        for name, pair in differing(known, settings).items():
            was, found = map(option_value, pair)
            raise RunError(
                f"cannot go on with {self.path}: {name} was {was} and is {found} now; "
                f"repeat the command as it was, or start again with {_OVERWRITE}"
            )

    def _make(self, settings: Mapping[str, object]) -> None:
        """The folder appears with its settings, locked; a rename fails where another one has."""
        new = beside(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new.mkdir()
            write_json(new / _SETTINGS, settings)
            self._lock = _locked(new)
            new.rename(self.path)
        except OSError as error:
            self.close()
            if _holds_something(self.path):
                raise _taken(self.path) from None
            raise WriteError(f"cannot write {self.path}: {error.strerror or error}") from None
        finally:
            if new.exists():
                _remove(new, [_SETTINGS])

    def subfolder(self, name: str) -> Path:
        """A folder for checkpoints; it is removed when the run is whole."""
        folder = self.path / _CHECKPOINTS / name
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self, config: Mapping[str, object]) -> None:
        """Write the configuration, give the folder its name, and remove a run that it replaces.

        Whenever the process is killed in here, one of `RUN` and `RUN.partial` is whole.

        Raises:
            RunError: Something else has the name meanwhile. The run lies whole in `RUN.partial`.
        """
        write_json(self.path / CONFIG, {**config, "files": self._files})
        try:
            _check_target(self.target, self._overwrite)
        except RunError as error:  # it was checked at the beginning, too
            raise WriteError(f"{error.message}; the new run lies whole in {self.path}") from None
        replaced = None
        try:
            if _holds_something(self.target):
                replaced = beside(self.target)
                self.target.rename(replaced)
            try:
                self.path.rename(self.target)
            except OSError:
                if replaced:
                    replaced.rename(self.target)
                raise
        except OSError as error:
            raise WriteError(
                f"cannot rename {self.path} to {self.target}: {error.strerror or error}"
            ) from None
        sync_folder(self.target.parent)
        if replaced:
            _remove_run(replaced, CONFIG)
        _remove_checkpoints(self.target)
        with suppress(OSError):
            (self.target / _SETTINGS).unlink()

    def close(self) -> None:
        """Give the folder free for other processes."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was begun if it is not worth going on with."""
        mistake = isinstance(error, AnyrnnError) and not isinstance(
            error, StoppedError | WriteError
        )
        if self._begun and error is not None and (mistake or not _has_checkpoint(self.path)):
            _remove_run(self.path, _SETTINGS)
        self.close()


def resumable(target: Path) -> Path | None:
    """The unfinished run beside a place, if there is something in it to go on with."""
    path = _partial(followed(target))
    return path if _has_checkpoint(path) else None


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _has_checkpoint(path: Path) -> bool:
    with suppress(OSError):
        return any((path / _CHECKPOINTS).glob(f"*/{CHECKPOINT}"))
    return False


def read_config(run: Path, task: str | None = None) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        RunError: The folder is missing, is no run, or is one of another task or a later version.
    """
    if not run.exists():
        unfinished = run.with_name(run.name + ".partial")
        hint = (
            f"; {unfinished} is unfinished: train on with {_RESUME}" if unfinished.exists() else ""
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
    if task is not None and config.get("task") != task:
        raise RunError(f"{run} is a run of the task {config.get('task')!r}, not of {task!r}")
    return config


def _holds_something(folder: Path) -> bool:
    """Whether there is anything but an empty folder."""
    return os.path.lexists(folder) and not (folder.is_dir() and not os.listdir(folder))


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse a place whose present content must stay."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise RunError(f"{target} is a file; choose another {_OUTPUT}")
    if target.is_mount():
        raise RunError(f"{target} is a whole file system; choose a folder in it as {_OUTPUT}")
    if not _holds_something(target):
        return
    if not overwrite:
        raise RunError(
            f"{target} exists; choose another {_OUTPUT}, or replace it with {_OVERWRITE}"
        )
    _check_own(target, CONFIG)


def _check_own(folder: Path, record: str) -> None:
    """Refuse a folder that is none of ours, or that holds something which is not ours.

    Args:
        folder: The folder.
        record: The file in it that says `"format"`, and which files are ours.
    """
    leave = f"so it stays as it is; choose another {_OUTPUT}"
    own = _own_names(folder, record)
    if not own:
        raise RunError(
            f'{folder} is no run of anyrnn (no {record} in it says "format": "{FORMAT}"), {leave}'
        )
    foreign = sorted(set(os.listdir(folder)) - own)
    foreign = [name for name in foreign if not UNFINISHED.fullmatch(name)]
    if foreign:
        raise RunError(f"{folder} holds {foreign[0]!r}, which anyrnn did not write, {leave}")


def _own_names(folder: Path, record: str) -> set[str]:
    """The names of what anyrnn wrote into a folder; empty if its record does not say so."""
    try:
        known = read_json(folder / record) if folder.is_dir() else {}
    except RunError:
        return set()
    if known.get("format") != FORMAT:
        return set()
    files = known.get("files")
    listed = {name for name in files if isinstance(name, str)} if isinstance(files, list) else set()
    return listed | {CONFIG, _SETTINGS, _CHECKPOINTS}


def _remove_run(folder: Path, record: str) -> None:
    """Remove what anyrnn wrote into a folder, and the folder if that is all."""
    own = _own_names(folder, record)
    _remove_checkpoints(folder)
    _remove(folder, own)


def remove_run(run: Path) -> None:
    """Remove what anyrnn wrote into a run folder, and the folder if that is all."""
    _remove_run(run, CONFIG)


def _remove_checkpoints(run: Path) -> None:
    folder = run / _CHECKPOINTS
    if folder.is_dir() and not folder.is_symlink():
        for subfolder in folder.iterdir():
            if subfolder.is_dir() and not subfolder.is_symlink():
                _remove(subfolder, [CHECKPOINT, WEIGHTS, EPOCHS])
        _remove(folder, [])


def _remove(folder: Path, names: Collection[str]) -> None:
    """Remove files with these names from a folder, and the folder if nothing else is in it."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name in names or UNFINISHED.fullmatch(name):
                (folder / name).unlink()
        folder.rmdir()


def _locked(folder: Path) -> int | None:
    """See `locked`.

    Raises:
        RunError: Another process has the folder.
    """
    try:
        return locked(folder)
    except BlockingIOError:
        raise _taken(folder) from None


def _taken(folder: Path) -> RunError:
    return RunError(f"another training writes {folder} just now; choose another {_OUTPUT}")


def _check_writable(target: Path) -> None:
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise RunError(f"cannot write {target}: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"cannot write {target}: no permission to write in {parent}")
