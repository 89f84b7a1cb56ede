"""What can be chosen for every study."""

import re
from pathlib import Path

from anyrnn.errors import OptionError, SizeError, option_name
from anyrnn.tasks.options.declaration import OptionGroup, option

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "": 1}


class StudyOptions(OptionGroup, panel="Study"):
    """Where a study is kept, how long it may take, and which processes train."""

    name: str | None = option(
        None,
        "The name of the study; it is written to the folder studies/NAME.",
        metavar="NAME",
        shown="the name of the data",
    )
    output: Path | None = option(
        None,
        "The folder of the study, if it is another one.",
        metavar="FOLDER",
        shown="studies/NAME",
        flags=("--output", "-o"),
    )
    resume: bool = option(
        False,
        "Go on with an interrupted study, or take part in one that another machine has begun.",
        flags=("--resume",),
    )
    budget: str | None = option(
        None,
        "The time that the study may take, such as 30m, 2h or 90s; a training that is not done by "
        "then is not counted.",
        metavar="TIME",
        shown="no limit",
    )
    workers: int = option(1, "The number of processes that train at the same time.", ge=1, le=1000)
    keep_runs: bool = option(
        False,
        "Keep the run folders of all trials, also of those that are neither best nor compared.",
        flags=("--keep-runs",),
    )
    storage: str | None = option(
        None,
        "The URL of a database that several machines share, such as "
        "postgresql://USER:PASSWORD@HOST/DATABASE.",
        metavar="URL",
        shown="a file in the folder of the study",
    )

    def folder(self, data: str) -> Path:
        """The folder of the study.

        Args:
            data: The name of the data, if there is no other one.
        """
        return self.output or Path("studies") / self.named(data)

    def named(self, data: str) -> str:
        """The name of the study.

        Raises:
            OptionError: It is none of a folder.
        """
        name = self.name if self.name is not None else data.split(".")[0]
        if not name or name in (".", "..") or re.search(r"[/\\\0]", name):
            raise OptionError(
                f"{option_name('name')} is {name!r}, but has to be the name of a folder"
            )
        return name

    @property
    def seconds(self) -> float | None:
        """The budget in seconds, if there is one.

        Raises:
            OptionError, SizeError: It is no time.
        """
        return None if self.budget is None else seconds(self.budget)


def seconds(time: str) -> float:
    """The seconds of a time as people write it.

    Raises:
        OptionError: It is none.
        SizeError: It is zero.

    Example:
        >>> seconds("90s"), seconds("1h 30m"), seconds("0.5 min")
        (90.0, 5400.0, 30.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]*)", time.strip().lower())
    written = "".join(number + unit for number, unit in parts)
    unknown = {unit for _, unit in parts} - _UNITS.keys()
    if not parts or unknown or written != re.sub(r"\s", "", time.lower()):
        raise OptionError(
            f"{option_name('budget')} is {time!r}, but has to be a time, such as 30m, 2h or 90s"
        )
    found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if found <= 0 or found > 1e9:
        raise SizeError(f"{option_name('budget')} is {time!r}, but has to be a time above 0s")
    return found
