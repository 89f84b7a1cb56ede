"""Files that others see whole or not at all, and why one cannot be read or written."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from anyrnn.errors import AnyrnnError, DataError, WriteError

UNFINISHED = re.compile(r".+\.[0-9a-f]{8}\.partial(\.[.\w]+)?")
"""The names of files that `whole` did not come to finish, because the process was killed."""


@contextmanager
def reading(
    path: object, error: type[AnyrnnError] = DataError, missing: str = "there is no file {}"
) -> Iterator[None]:
    """Tell in one line why a file cannot be read.

    Args:
        path: The file, as the message names it.
        error: What is raised.
        missing: What is said of a file that is not there.
    """
    try:
        yield
    except FileNotFoundError:
        raise error(missing.format(path)) from None
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror or reason}") from None
    except ValueError as reason:
        if isinstance(reason, AnyrnnError) or "\0" not in str(path):
            raise
        raise error(missing.format(path)) from None  # no file can be called so


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Tell in one line why a file or folder cannot be written.

    Raises:
        WriteError: It cannot be.
    """
    try:
        yield
    except OSError as reason:
        raise WriteError(f"cannot write {path}: {reason.strerror or reason}") from None
    except ValueError:
        if "\0" not in str(path):
            raise
        raise WriteError(f"cannot write {path}: no name has a zero byte") from None


@contextmanager
def whole(
    path: Path,
    ending: str = "",
    *,
    replace: bool = True,
    durable: bool = True,
    follow: bool = True,
) -> Iterator[Path]:
    """A name beside a file, to be written to; it becomes the file when that is complete.

    Args:
        path: The file.
        ending: What the name has to end in, if whoever writes looks at that.
        replace: Whether a file that is there by then is replaced.
        durable: Whether to wait until it is on disk.
        follow: Whether a link stays, and the file that it names is written.

    Raises:
        OSError: The file cannot be written; `FileExistsError` if there is one that is not to be
            replaced. Nothing new is left, and what was there is still there.
    """
    path = followed(path) if follow else path
    if not path.name:  # "." and "/" have none
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    unfinished = beside(path, ending)
    try:
        yield unfinished
        if durable:
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
        if replace:
            unfinished.replace(path)
        else:
            _publish(unfinished, path)
        if durable:
            sync_folder(path.parent)
    finally:
        with suppress(OSError):
            unfinished.unlink()


def followed(path: Path) -> Path:
    """What a link names; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def beside(path: Path, ending: str = "") -> Path:
    """A name that nothing has, in the same folder; it is not too long where `path` is not."""
    stem = path.name.removesuffix(ending)[:50]
    return path.with_name(f"{stem}.{token_hex(4)}.partial{ending}")


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def locked(folder: Path) -> int | None:
    """A descriptor that keeps other processes out of a folder until it, or the process, ends;
    nothing where the system knows no such locks.

    Raises:
        BlockingIOError: Another process has the folder.
    """
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been renamed, by one who has finished, before it was locked.
        mine = os.path.lexists(folder) and os.path.samestat(os.fstat(handle), folder.stat())
    except BlockingIOError:
        mine = False
    except OSError:  # a file system that knows no locks
        mine = True
    if not mine:
        os.close(handle)
        raise BlockingIOError(f"another process has {folder}")
    return handle


def _publish(unfinished: Path, path: Path) -> None:
    """Name a file that must not replace another: only a link fails where something is already."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists") from None
        unfinished.rename(path)
