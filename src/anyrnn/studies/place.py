"""Where a study is kept."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anyrnn.errors import RunError, option_name
from anyrnn.studies.listing import FORMAT, STUDY
from anyrnn.studies.storage import JOURNAL, shown_url
from anyrnn.tasks.run_files import read_json

if TYPE_CHECKING:
    from anyrnn.studies.options import StudyOptions

FORMAT_VERSION = 1

_RESUME = option_name("resume")


@dataclass(frozen=True)
class Place:
    """Where a study is kept.

    Attributes:
        folder: Its folder.
        name: Its name in a storage, which may hold several.
        url: The URL of a database, through which several machines take trials of one study; without
            one its trials are in a file in the folder.
        resume: Whether to go on with a study of that name.
        option: The option that says which folder it is.
    """

    folder: Path
    name: str
    url: str | None = None
    resume: bool = False
    option: str = "name"

    @classmethod
    def of(cls, options: "StudyOptions", data: str) -> Self:
        """Where options have a study kept.

        Args:
            options: The options.
            data: The name of the data.
        """
        option = "name" if options.output is None else "output"
        named = options.folder(data), options.named(data)
        return cls(*named, options.storage, options.resume, option)

    @property
    def shown(self) -> str:
        """The study in messages."""
        if self.url is None:
            return f"the study {self.folder}"
        return f"the study {self.name!r} in {shown_url(self.url)}"

    @property
    def other(self) -> str:
        """The option that names another study: a storage knows them by their names."""
        return self.option if self.url is None else "name"

    def check(self) -> None:
        """Refuse a folder that holds something else, before data are read.

        Raises:
            RunError: It does, or the study is not to be gone on with, or there is none.
            StorageError: The URL is none.
        """
        if self.url is not None:
            shown_url(self.url)
        flag = option_name(self.option)
        there = check_folder(self.folder, is_study, self.resume, "study", flag)
        if not there and self.resume and self.url is None:
            raise RunError(f"there is no study {self.folder} to go on with; leave {_RESUME} out")


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    known: Mapping[str, Any] = {}
    with suppress(RunError):
        known = read_json(folder / STUDY)
    return known.get("format") == FORMAT or (folder / JOURNAL).exists()


def check_folder(
    folder: Path, own: Callable[[Path], bool], resume: bool, what: str, flag: str
) -> bool:
    """Refuse a folder that holds something else, or what is not to be gone on with.

    Args:
        folder: The folder.
        own: Whether a folder holds what belongs there.
        resume: Whether that is to be gone on with.
        what: What it is, in words.
        flag: The option that names the folder.

    Returns:
        Whether there is something to go on with.

    Raises:
        RunError: It is a file, holds something else, or exists and is not to be gone on with.
    """
    if not os.path.lexists(folder) or (folder.is_dir() and not os.listdir(folder)):
        return False
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another {flag}")
    if not own(folder):
        raise RunError(
            f"{folder} is no {what} of anyrnn, so it stays as it is; choose another {flag}"
        )
    if not resume:
        raise RunError(
            f"the {what} {folder} exists: go on with it by {option_name('resume', True)}, or "
            f"choose another {flag}"
        )
    return True
