"""Where the trials of a study are kept: Optuna's journal file in its folder, or a database."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from anyrnn.errors import AnyrnnError, MissingExtraError, StorageError, WriteError, option_name
from anyrnn.files import writing

JOURNAL = "trials.journal"
HEARTBEAT, GRACE = 30, 120
"""Seconds: how often a worker says to a database that it is alive, and how long it may be silent
until its trial is taken from it."""

_CONNECT = 10  # seconds
_WITH_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")
_PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "MySQLdb": "mysqlclient",
}
"""The packages of drivers that are called otherwise."""

_STORAGE = option_name("storage")


def shown_url(url: str) -> str:
    """The address of a database without its password.

    Raises:
        StorageError: It is none.

    Example:
        >>> shown_url("postgresql://me:secret@host/trials")
        'postgresql://me:***@host/trials'
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        without = re.sub("(//[^:/@]*):[^@]*@", r"\1:***@", url)
        raise StorageError(
            f"{_STORAGE} is {without!r}, but has to be the URL of a database, such as "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None


@contextmanager
def reached(url: str | None, folder: Path) -> Iterator[None]:
    """Tell in one line why a storage cannot be used.

    Args:
        url: Its URL, if it is a database.
        folder: The folder of the study.

    Raises:
        StorageError: It cannot be.
        MissingExtraError: The driver of the database is not installed.
        WriteError: The disk is full, or the folder cannot be written.
    """
    place = folder / JOURNAL if url is None else shown_url(url)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    except ImportError as error:
        if url is None or isinstance(error, MissingExtraError):
            raise
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        name = (cause.name or str(cause)).partition(".")[0]
        package = _PACKAGES.get(name, name)
        raise MissingExtraError(
            f"the storage {place} needs the package {name}; pip install {package}"
        ) from None
    except NoSuchModuleError as error:
        raise StorageError(f"{_STORAGE} {place} names no database: {_reason(error)}") from None
    except SQLAlchemyError as error:
        raise StorageError(f"cannot reach the storage {place}: {_reason(error)}") from None
    except OptunaError as error:
        raise StorageError(f"cannot use the storage {place}: {_reason(error)}") from None
    except OSError as error:
        if url is not None or isinstance(error, AnyrnnError):
            raise
        raise WriteError(f"cannot write {place}: {error.strerror or error}") from None


def opened(
    url: str | None, folder: Path, stale: Callable[[Any, Any], None] | None = None
) -> optuna.storages.BaseStorage:
    """The storage of a study.

    Args:
        url: The URL of a database; without one, it is a file in the folder of the study.
        folder: That folder.
        stale: Called with a study and a trial of it whose worker is silent.

    Raises:
        StorageError: It cannot be reached or used.
        MissingExtraError: The driver of the database is not installed.
    """
    with reached(url, folder):
        if url is None:
            path = str(folder / JOURNAL)
            with writing(path):
                backend = JournalFileBackend(path, JournalFileOpenLock(path))
            try:
                return optuna.storages.JournalStorage(backend)
            except (ValueError, KeyError, AssertionError) as error:
                raise StorageError(f"the storage {path} is damaged: {_reason(error)}") from None
        found = make_url(url)
        settings: dict[str, Any] = {"pool_pre_ping": True}
        if found.get_dialect().driver in _WITH_TIMEOUT:
            settings["connect_args"] = {"connect_timeout": _CONNECT}
        storage = optuna.storages.RDBStorage(
            found.render_as_string(hide_password=False),
            settings,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=stale,
        )
        return optuna.storages.get_storage(storage)


def mended(folder: Path) -> None:
    """Make a journal whole again that a process which was killed left: a line that it did not come
    to end is removed, and its lock. No other process may use it.

    Raises:
        WriteError: It cannot be written.
    """
    path = folder / JOURNAL
    with suppress(FileNotFoundError):
        (folder / f"{JOURNAL}.lock").unlink()
    with writing(path), suppress(FileNotFoundError), path.open("rb+") as file:
        written = file.read()
        file.truncate(written.rfind(b"\n") + 1)


def _reason(error: Exception) -> str:
    """The first line of what a library says, without what SQLAlchemy puts around it."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    text = str(cause) or str(error) or type(cause).__name__
    return text.strip().splitlines()[0]


def quiet() -> None:
    """Let Optuna tell nothing on standard error: what matters is told by us."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
