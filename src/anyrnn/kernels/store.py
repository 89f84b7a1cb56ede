"""Compiled code on disk, so that a kernel is compiled once on a machine, not in each process; and
the folder for data that tasks have prepared.

One file for each kernel, in a folder that only its user may write to: whoever can write to it can
have code executed. A file is called by a hash of all that the code follows from. Inside are that
name again and a checksum, so that a file that is damaged or comes from elsewhere is never loaded.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path

from anyrnn.errors import CacheError, CacheWarning
from anyrnn.files import whole

VARIABLE = "ANYRNN_CACHE"
LIMIT = 256 << 20  # bytes
PRUNE_EVERY = 32  # files that a process writes: to look at thousands takes as long as compiling
FORMAT = b"anyrnn code 1\n"
CHECKSUM = 32  # bytes
ENDING, PARTIAL = ".code", ".partial"
DATA, LOCK = ".arrow", ".lock"  # what tasks have prepared, and prepare just now
PREPARED = "prepared data"
OWN = re.compile(rf"[0-9a-f]{{40}}(\{ENDING}|\{DATA}|\{LOCK}|\.[\w.]+\{PARTIAL})")
ABANDONED = 3600  # seconds after which a partial file has no writer any more


@dataclass(frozen=True)
class Entry:
    """A piece of compiled code on disk, or prepared data.

    Attributes:
        label: What it computes, or that it is data.
        target: What it was compiled for; data has none.
        size: Of the file, in bytes.
        used: When it was last used, in seconds since the epoch.
        damaged: Whether it will be built again when it is needed.
    """

    label: str
    target: str
    size: int
    used: float
    damaged: bool


def folder() -> Path | None:
    """The folder of the compiled code, which need not exist: the environment variable ANYRNN_CACHE,
    or the platform's. None if the variable is empty or `off`.

    Raises:
        CacheError: The home folder is not known.
    """
    chosen = os.environ.get(VARIABLE)
    try:
        if chosen is not None:
            off = chosen.strip().lower() in ("", "off")
            return None if off else Path(chosen).expanduser().absolute()
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
        elif sys.platform == "darwin":
            base = "~/Library/Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME", "")
            base = base if os.path.isabs(base) else "~/.cache"
        return Path(base).expanduser() / "anyrnn"
    except RuntimeError as error:
        raise _refusal("the home folder is not known") from error


def ready_folder() -> Path | None:
    """The folder, made if there is none; None if nothing is to be kept.

    Raises:
        CacheError: It cannot be used; the message says why.
    """
    place = folder()
    if place is not None:
        with _explaining(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
            _check(place)
    return place


def key(*parts: str) -> str:
    """The name of code that follows from some texts."""
    found = blake2b(digest_size=20)
    for part in parts:
        encoded = part.encode()
        found.update(len(encoded).to_bytes(8, "little") + encoded)
    return found.hexdigest()


def load(name: str) -> bytes | None:
    """Compiled code from disk, by its key; None if it is not there, or not as it was written."""
    try:
        place = folder()
        if place is None or not place.exists():
            return None
        _check(place)
        path = place / (name + ENDING)
        found = _read(path)
    except CacheError as error:
        _say_once(error)
        return None
    except OSError:  # no such file, or none that can be read: `save` tries to replace it
        return None
    if found is None or found[0]["key"] != name:
        return None
    with suppress(OSError):
        os.utime(path)
    return found[1]


def save(name: str, code: bytes, label: str, target: str) -> None:
    """Write compiled code to disk under its key; where that is impossible, warn once."""
    header = json.dumps({"key": name, "label": label, "target": target})
    content = header.encode() + b"\n" + code
    try:
        place = ready_folder()
        if place is None:
            return
        with _explaining(place):
            _write(place / (name + ENDING), FORMAT + _checksum(content) + content)
            if next(_saves) % PRUNE_EVERY == 0:
                _prune(place)
    except CacheError as error:
        _say_once(error)


def entries() -> list[Entry]:
    """What is on disk, the last used first.

    Raises:
        CacheError: The folder cannot be used; the message says why.
    """
    found = []
    for path, status in _own_files():
        if path.suffix == DATA:
            found.append(Entry(PREPARED, "", status.st_size, status.st_mtime, False))
        if path.suffix != ENDING:
            continue
        try:
            header, _ = _read(path) or ({}, b"")
        except OSError:
            header = {}
        damaged = header.get("key") != path.stem
        texts = ("", "") if damaged else (header["label"], header["target"])
        found.append(Entry(*texts, status.st_size, status.st_mtime, damaged))
    return sorted(found, key=lambda entry: -entry.used)


def clear() -> tuple[int, int]:
    """Remove all compiled code and prepared data from disk, and nothing else that is in the folder:
    the number of files and of bytes that were removed.

    Raises:
        CacheError: The folder cannot be used; the message says why.
    """
    sizes = []
    for path, status in _own_files():
        with _explaining(path):
            path.unlink(missing_ok=True)
        sizes.append(status.st_size)
    return len(sizes), sum(sizes)


def _refusal(reason: str) -> CacheError:
    way_out = f"set {VARIABLE} to a folder of your own, or to 'off'"
    return CacheError(f"compiled code is not kept on disk: {reason}; {way_out}")


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """What the system says about a path, in our words."""
    try:
        yield
    except CacheError:
        raise
    except OSError as error:
        raise _refusal(f"{path}: {error.strerror or error}") from error


def _check(place: Path) -> None:
    """Refuse a folder that others than the user may write to."""
    status = place.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise _refusal(f"{place} is no folder")
    if others := _others(status):
        raise _refusal(others.format(place))


def _others(status: os.stat_result) -> str:
    """Who else than the user may write to a file or folder, with a place for its name; or \"\"."""
    if not hasattr(os, "geteuid"):
        return ""  # on Windows the user's own folders are protected by their place
    if status.st_uid != os.geteuid():
        return "{} belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than you may write to {} (chmod go-w forbids it; then anyrnn cache clear)"
    return ""


_told: set[str] = set()
_saves = count()


def _say_once(error: CacheError) -> None:
    if str(error) not in _told:
        _told.add(str(error))
        warnings.warn(str(error), CacheWarning, stacklevel=2)


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=CHECKSUM).digest()


def _read(path: Path) -> tuple[dict[str, str], bytes] | None:
    """The header and the code of a file; None if it is not as it was written."""
    with path.open("rb") as file:
        if _others(os.fstat(file.fileno())) or file.read(len(FORMAT)) != FORMAT:
            return None
        checksum = file.read(CHECKSUM)
        content = file.read()
    if checksum != _checksum(content):
        return None
    header, _, code = content.partition(b"\n")
    try:
        found = json.loads(header)
        texts = {name: found[name] for name in ("key", "label", "target")}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (texts, code) if all(isinstance(text, str) for text in texts.values()) else None


def _write(path: Path, content: bytes) -> None:
    with whole(path, durable=False, follow=False) as unfinished:
        unfinished.touch(0o600, exist_ok=False)  # nobody else may write to it
        unfinished.write_bytes(content)


def _files(place: Path) -> list[tuple[Path, os.stat_result]]:
    """The files that this module has written; those that just went away are left out."""
    found = []
    with os.scandir(place) as listed:
        for item in listed:
            if OWN.fullmatch(item.name):
                with suppress(FileNotFoundError):
                    found.append((Path(item.path), item.stat(follow_symlinks=False)))
    return found


def _own_files() -> list[tuple[Path, os.stat_result]]:
    place = folder()
    if place is None:
        return []
    with _explaining(place):
        if not place.exists():
            return []
        _check(place)
        return _files(place)


def _prune(place: Path) -> None:
    """Remove what was abandoned half-written, and the longest unused code beyond the limit."""
    now = time.time()
    files = sorted(_files(place), key=lambda file: file[1].st_mtime)
    total = sum(status.st_size for path, status in files if path.suffix == ENDING)
    for path, status in files:
        abandoned = path.suffix == PARTIAL and now - status.st_mtime > ABANDONED
        if abandoned or (path.suffix == ENDING and total > LIMIT):
            with suppress(OSError):
                path.unlink()
            total -= status.st_size if path.suffix == ENDING else 0
