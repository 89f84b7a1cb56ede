"""Where a study is kept."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyrnn.errors import RunError, option_name
from anyrnn.studies.storage import JOURNAL, shown_url
from anyrnn.tasks.run_files import read_json

FORMAT = "anyrnn study"
FORMAT_VERSION = 1
STUDY = "study.json"

_NAME, _RESUME = map(option_name, ("name", "resume"))


@dataclass(frozen=True)
class Place:
    """Where a study is kept.

    Attributes:
        folder: Its folder.
        name: Its name in a storage, which may hold several.
        url: The URL of a database, through which several machines take trials of one study; without
            one its trials are in a file in the folder.
        resume: Whether to go on with a study of that name.
    """

    folder: Path
    name: str
    url: str | None = None
    resume: bool = False

    @property
    def shown(self) -> str:
        """The study in messages."""
        if self.url is None:
            return f"the study {self.folder}"
        return f"the study {self.name!r} in {shown_url(self.url)}"

    def check(self) -> None:
        """Refuse a folder that holds something else, before data are read.

        Raises:
            RunError: It does, or the study is not to be gone on with, or there is none.
            StorageError: The URL is none.
        """
        if self.url is not None:
            shown_url(self.url)
        folder = self.folder
        if not os.path.lexists(folder) or (folder.is_dir() and not os.listdir(folder)):
            if self.resume and self.url is None:
                raise RunError(f"there is no study {folder} to go on with; leave {_RESUME} out")
            return
        if not folder.is_dir():
            raise RunError(f"{folder} is a file; choose another {_NAME}")
        known: Mapping[str, Any] = {}
        with suppress(RunError):
            known = read_json(folder / STUDY)
        if known.get("format") != FORMAT and not (folder / JOURNAL).exists():
            raise RunError(
                f"{folder} is no study of anyrnn, so it stays as it is; choose another {_NAME}"
            )
        if not self.resume:
            raise RunError(
                f"the study {folder} exists: go on with it by {option_name('resume', True)}, "
                f"or choose another {_NAME}"
            )
