"""Studies that are there: what they trained, and the best figure of each. Imports nothing heavy."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from anyrnn.errors import RunError
from anyrnn.files import reading
from anyrnn.tasks.run_files import entry, read_json, reading_run
from anyrnn.tasks.scores.figures import Figure

FORMAT = "anyrnn study"
STUDY, RESULTS = "study.json", "results.json"


@dataclass(frozen=True)
class StudySummary:
    """A study in short.

    Attributes:
        folder: Its folder.
        kind: What it is for: "tune", "compare".
        task: The name of its task.
        date: When it was finished, or last gone on with.
        trials: How many trainings have ended.
        best: What is best: the number of a trial, or a cell; nothing if it is not finished.
        figure: The figure that decides, on the validation data; nothing if it is not finished.
        value: That of what is best; of a comparison the mean of the seeds.
    """

    folder: Path
    kind: str
    task: str
    date: datetime
    trials: int
    best: str | None = None
    figure: Figure | None = None
    value: float | None = None

    def shown(self) -> str:
        """The figure as people read it."""
        if self.figure is None or self.value is None:
            return "unfinished" if self.best is None else ""
        percent = " %" if self.figure.percent else ""
        return f"{self.figure.title} {self.figure.shown(self.value)}{percent}"

    def plain(self) -> dict[str, object]:
        """All of it as JSON knows it."""
        return {
            "study": str(self.folder),
            "kind": self.kind,
            "task": self.task,
            "date": self.date.isoformat(timespec="seconds"),
            "trials": self.trials,
            "best": self.best,
            "deciding": None if self.figure is None else {self.figure.name: self.value},
        }


def study_summaries(folder: Path) -> list[StudySummary]:
    """The studies in a folder, or the one that it is, the last finished first; what cannot be read
    is left out.

    Args:
        folder: The folder.
    """
    with reading(folder, RunError, "there is no folder {}"):
        folders = [folder, *folder.iterdir()] if folder.is_dir() else []
    found = []
    for each in folders:
        if (each / STUDY).exists():
            try:
                found.append(study_summary(each))
            except RunError:
                continue
    return sorted(found, key=lambda each: each.date, reverse=True)


def study_summary(folder: Path) -> StudySummary:
    """The summary of a study.

    Raises:
        RunError: The folder is damaged, or that of no study.
    """
    path, results = folder / STUDY, folder / RESULTS
    record = read_json(path)
    if record.get("format") != FORMAT:
        raise RunError(f"{folder} is no study of anyrnn")
    newest = results if results.exists() else path
    with reading_run(path):
        date = datetime.fromtimestamp(newest.stat().st_mtime).astimezone()
        trials = len(list((folder / "trials").glob("*.json")))
    known = (folder, entry(record, "kind", str, path), entry(record, "task", str, path))
    if newest is path:
        return StudySummary(*known, date, trials)
    try:
        return StudySummary(*known, date, trials, *_best(known[1], read_json(results)))
    except RunError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the study is damaged: {results} lacks figures: {type(error).__name__} {error}"
        ) from None


def _best(kind: str, found: dict[str, Any]) -> tuple[str, Figure | None, float | None]:
    """What is best, the figure that says so, and its value."""
    figure = Figure(**found["deciding"])
    if kind == "tune":
        return f"trial {found['best']['trial']}", figure, float(found["best"]["validation"])
    cell = found["recommended"]
    if cell is None:
        return "none", None, None
    values = found["cells"][cell]["validation"].values()
    return cell, figure, fmean(float(each[figure.name]) for each in values)
