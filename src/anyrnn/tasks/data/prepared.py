"""Data that was prepared once and lies on disk, to be mapped into memory.

The files lie beside the compiled code (`anyrnn.kernels.store`), each called by a hash of all that
it follows from, as Arrow writes them.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy
import pyarrow
from pyarrow import ipc

from anyrnn.errors import CacheError, WriteError
from anyrnn.files import whole
from anyrnn.kernels import store
from anyrnn.tasks.data.columns import key_on_disk
from anyrnn.tasks.data.sequences import Sequences

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

Watch = Callable[[str, int, int], None]
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)
_UNUSED = 30 * 86400  # seconds after which data is removed when other data is prepared
_NUMBERS = pyarrow.large_list(pyarrow.int32())
_own: list[tempfile.TemporaryDirectory[str]] = []


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Have a function told how far a preparation is: what is prepared, how much, of how much.

    Args:
        watch: The function; what it raises ends the preparation, of which nothing is left.
    """
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def watching() -> Watch:
    """The function that is told, for another thread, which does not know it."""
    return _watch.get() or (lambda what, done, total: None)


def advanced(what: str, done: int, total: int) -> None:
    """Tell how far a preparation is."""
    watching()(what, done, total)


def prepared(
    parts: tuple[str, ...], make: Callable[[pyarrow.NativeFile], None], *, on_disk: bool = True
) -> tuple[str, ipc.RecordBatchFileReader]:
    """The file that follows from some strings; made once, whole or not at all.

    Args:
        parts: All that it follows from.
        make: Writes it; called again if the file that is there is damaged.
        on_disk: Whether it is kept on disk, or made in memory each time.

    Returns:
        Its name, and the file in memory as it lies on disk.

    Raises:
        WriteError: It cannot be written.
    """
    key = store.key("data 1", *parts)
    if not on_disk:
        with pyarrow.BufferOutputStream() as buffer:
            make(buffer)
            return key, ipc.open_file(buffer.getvalue())
    folder = folder_of_data()
    path = folder / (key + store.DATA)
    try:
        with _alone(folder / (key + store.LOCK)):
            reader = _opened(path)
            if reader is None:
                _forget_unused(folder)
                with (
                    whole(path, follow=False) as unfinished,
                    pyarrow.OSFile(str(unfinished), "wb") as file,
                ):
                    make(file)
                reader = _opened(path)
    except OSError as error:
        raise WriteError(
            f"cannot prepare data in {folder}: {error.strerror or error}; "
            f"set {store.VARIABLE} to a folder with enough space"
        ) from None
    if reader is None:
        raise WriteError(f"cannot prepare data: {path} is not as it was written")
    return key, reader


def number_sequences(
    parts: tuple[str, ...], source: Sequence[Any], chunks: Callable[[], Iterator[Any]]
) -> Sequences:
    """A sequence of whole numbers for each of some values; on disk, prepared once, if they are.

    Args:
        parts: All that the numbers follow from beside the values.
        source: The values.
        chunks: Makes the numbers, some lists of 32 bits after the other.

    Raises:
        WriteError: They cannot be written.
    """
    key = key_on_disk(source)
    if not key:
        return Sequences([pyarrow.array(chunk, _NUMBERS) for chunk in chunks()])

    def make(file: pyarrow.NativeFile) -> None:
        schema = pyarrow.schema([("numbers", _NUMBERS)])
        with ipc.new_file(file, schema) as writer:
            for chunk in chunks():
                array = pyarrow.array(chunk, _NUMBERS)
                writer.write_batch(pyarrow.record_batch([array], schema=schema))

    _, reader = prepared((*parts, key), make)
    numbers = range(reader.num_record_batches)
    return Sequences([reader.get_batch(number).column(0) for number in numbers])


def write_columns(file: pyarrow.NativeFile, columns: Sequence[numpy.ndarray]) -> None:
    """Write arrays of numbers, each in one piece, to be read by `read_columns`."""
    lists: list[Any] = [
        pyarrow.LargeListArray.from_arrays(pyarrow.array([0, len(each)]), pyarrow.array(each))
        for each in columns
    ]
    batch = pyarrow.record_batch(lists, names=[str(number) for number in range(len(lists))])
    with ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def read_columns(reader: ipc.RecordBatchFileReader) -> list[numpy.ndarray]:
    """The arrays that `write_columns` wrote, as they lie on disk."""
    return [column.values.to_numpy() for column in reader.get_batch(0).columns]


def _opened(path: Path) -> ipc.RecordBatchFileReader | None:
    """A file mapped into memory; None if there is none that is whole."""
    try:
        reader = ipc.open_file(pyarrow.memory_map(str(path)))
        os.utime(path)
    except (FileNotFoundError, pyarrow.ArrowInvalid):
        return None
    return reader


def folder_of_data() -> Path:
    """The folder of what is kept; one for this process alone if nothing is to be kept."""
    with suppress(CacheError):
        folder = store.ready_folder()
        if folder is not None:
            return folder
    if not _own:
        _own.append(tempfile.TemporaryDirectory(prefix="anyrnn-"))
    return Path(_own[0].name)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Meanwhile no other process prepares the same."""
    if fcntl is None:
        yield
        return
    with path.open("w") as lock:
        with suppress(OSError):  # a file system that knows no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _forget_unused(folder: Path) -> None:
    for path in folder.glob("*" + store.DATA):
        with suppress(OSError):
            if store.OWN.fullmatch(path.name) and time.time() - path.stat().st_mtime > _UNUSED:
                path.unlink()
