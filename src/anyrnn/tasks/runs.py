"""Runs that are there: what was trained, and how good it became."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from anyrnn.errors import RunError
from anyrnn.files import reading
from anyrnn.tasks.options.nested import differing
from anyrnn.tasks.run_files import CONFIG, entry, read_json, reading_run, strings
from anyrnn.tasks.run_folder import read_config
from anyrnn.tasks.scores.figures import Figure


@dataclass(frozen=True)
class Summary:
    """A run in short.

    Attributes:
        run: Its folder.
        task: The name of its task.
        date: When it was finished.
        cells: The names of its cells.
        best_cell: The best one on the validation data.
        seeds: The seeds that each cell was trained from.
        figures: The figures, the most important one first.
        decides: The one that decides.
        measured_on: What `measured` was measured on: "test" or "validation".
        deciding: By cell, the figure that decides, at the best epoch on the validation data.
        measured: By cell, the figures that the run ended with, each with a value for each seed.
        options: What was chosen.
    """

    run: Path
    task: str
    date: datetime
    cells: list[str]
    best_cell: str
    seeds: list[int]
    figures: list[Figure]
    decides: Figure
    measured_on: str
    deciding: dict[str, float]
    measured: dict[str, dict[str, list[float]]]
    options: Mapping[str, Any]

    def shown(self, cell: str, figure: Figure) -> str:
        """A figure of a cell as people read it: the mean of the seeds, and their deviation."""
        values = self.measured[cell].get(figure.name)
        return figure.of_trials(values) if values else ""

    def plain(self) -> dict[str, object]:
        """All of it as JSON knows it."""
        return {
            "run": str(self.run),
            "task": self.task,
            "date": self.date.isoformat(timespec="seconds"),
            "cells": self.cells,
            "best_cell": self.best_cell,
            "seeds": self.seeds,
            "measured_on": self.measured_on,
            "deciding": {self.decides.name: self.deciding},
            "figures": {
                cell: {
                    name: {"mean": fmean(values), "values": values}
                    for name, values in figures.items()
                }
                for cell, figures in self.measured.items()
            },
            "options": dict(self.options),
        }


def summary(run: Path) -> Summary:
    """The summary of a run.

    Raises:
        RunError: The folder is missing, damaged or no run.
    """
    config, path = read_config(run), run / CONFIG
    cells, best = strings(config, "cells", path), entry(config, "best_cell", str, path)
    results = run / "results.json"
    listed = entry(read_json(results), "cells", dict, results)
    with reading_run(path):
        date = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    try:
        figures = [Figure(**figure) for figure in entry(config, "figures", list, path)]
        decides = Figure(**entry(config, "deciding", dict, path))
        deciding = f"validation_{decides.name}"
        found = Summary(
            run,
            entry(config, "task", str, path),
            date,
            cells,
            best,
            sorted(map(int, listed[best]["trials"])),
            figures,
            decides,
            entry(config, "measured_on", str, path),
            {cell: float(listed[cell]["validation"][deciding]) for cell in cells},
            {cell: _measured(listed[cell]["trials"]) for cell in cells},
            entry(config, "options", dict, path),
        )
    except RunError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"the run is damaged: {results} lacks figures: {type(error).__name__} {error}"
        ) from None
    return found


def _measured(trials: Mapping[str, Any]) -> dict[str, list[float]]:
    """The values of each figure, one for each trial."""
    rows = [trial["test"] for trial in trials.values()]
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def summaries(folder: Path) -> tuple[list[Summary], dict[str, str]]:
    """The runs in a folder, or the one that it is, the last finished first.

    Args:
        folder: The folder.

    Returns:
        The runs, and why each other folder in it is none.

    Raises:
        RunError: There is no such folder, or it cannot be read.
    """
    if (folder / CONFIG).exists():
        return [summary(folder)], {}
    with reading(folder, RunError, "there is no folder {}"):
        folders = sorted(each for each in folder.iterdir() if each.is_dir())
    found: list[Summary] = []
    skipped: dict[str, str] = {}
    for each in folders:
        try:
            found.append(summary(each))
        except RunError as error:
            unfinished = each.suffix == ".partial" and not (each / CONFIG).exists()
            skipped[str(each)] = "unfinished" if unfinished else error.message
    return sorted(found, key=lambda each: each.date, reverse=True), skipped


def differing_options(one: Summary, other: Summary) -> dict[str, tuple[object, object]]:
    """The options that differ, by name; `None` where a run has no such option or value."""
    return differing(one.options, other.options)
