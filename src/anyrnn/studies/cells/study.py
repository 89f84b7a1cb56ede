"""Trains the study of cells, setting by setting, and measures what the networks cost and keep."""

import os
import platform
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from anyrnn.errors import RunError, option_name
from anyrnn.studies.cells.costs import measured_costs
from anyrnn.studies.cells.data_files import Files
from anyrnn.studies.cells.flows import FLOWS, measured_flows
from anyrnn.studies.cells.options import CellStudyOptions
from anyrnn.studies.cells.results import (
    CellResult,
    SettingResult,
    StoredFigure,
    StudyResults,
    TrialResult,
    write_results,
)
from anyrnn.studies.cells.settings import Setting, settings_of
from anyrnn.studies.comparison.compare import Comparison, compare
from anyrnn.studies.comparison.options import CompareOptions
from anyrnn.studies.comparison.outcomes import rate_curves, results_of
from anyrnn.studies.comparison.sizes import check_cells
from anyrnn.studies.listing import STUDY
from anyrnn.studies.options import StudyOptions
from anyrnn.studies.place import check_folder
from anyrnn.studies.worker import StudyListener
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.registry import entry_named
from anyrnn.tasks.run_files import versions
from anyrnn.tasks.task import Task

RESULTS, _TRAINED = "results.json", "settings"
QUICK_RATES = (0.006, 0.06)
_COSTLY = "adding"  # the problem on whose longest sequences the costs are measured


class CellStudyListener(StudyListener):
    """What a caller may want to be told; does nothing by itself."""

    def setting_started(self, name: str, number: int, total: int) -> None:
        """A setting begins or is taken up: its name, its number from 1, and how many there are."""

    def measuring(self, what: str) -> None:
        """Something is measured that takes a while."""


def run_study(options: CellStudyOptions, listener: CellStudyListener | None = None) -> StudyResults:
    """Train what is not trained yet, measure, and store the results.

    Args:
        options: What the user chose.
        listener: Told what happens.

    Returns:
        The results, which lie in the folder of the study, too.

    Raises:
        DataError: A file is missing or cannot be used.
        OptionError: There is no such problem, or a problem cannot take a cell.
        RunError: The folder holds a study that is not to be gone on with, or another one.
        StoppedError: Ctrl-C or SIGTERM; the study can be gone on with.
    """
    listener = listener or CellStudyListener()
    wanted = settings_of(options.problem, options.digits)
    place = (options.output, is_cell_study, options.resume, "study of cells", option_name("output"))
    if not check_folder(*place) and options.resume:
        raise RunError(
            f"there is no study {options.output} to go on with; leave "
            f"{option_name('resume', True)} out"
        )
    files = Files(
        options.examples,
        options.output / "data",
        options.digits,
        options.images,
        options.quick,
        options.share,
    )
    prepared = [_Prepared.of(each, files, options) for each in wanted]
    longest = {each.setting.problem: each for each in prepared}  # the last one of each
    settings, flows = {}, {}
    for number, each in enumerate(prepared, start=1):
        listener.setting_started(each.setting.name, number, len(prepared))
        found = each.compared(options, listener)
        settings[each.setting.name] = each.result(found, timed=options.times)
        if each.setting.problem in FLOWS and each is longest[each.setting.problem]:
            listener.measuring(f"gradients of {each.setting.name}")
            flows[each.setting.name] = measured_flows(each.task, each.data, each.networks(found))
    costs = None
    if costly := longest.get(_COSTLY):
        listener.measuring("time and memory of a training step")
        sizes = {
            name: cell.hidden_size for name, cell in settings[costly.setting.name].cells.items()
        }
        costs = measured_costs(costly.setting.name, costly.task, costly.data, sizes)
    results = StudyResults(
        date=date.today().isoformat(),
        machine=_machine(),
        versions=versions(),
        quick=options.quick,
        cells=list(options.cells),
        settings=settings,
        costs=costs,
        flows=flows,
    )
    write_results(options.output / RESULTS, results)
    return results


def is_cell_study(folder: Path) -> bool:
    """Whether a folder is that of a study of cells."""
    return (folder / _TRAINED).is_dir() or (folder / RESULTS).exists()


@dataclass(frozen=True)
class _Prepared:
    """A setting with its data."""

    setting: Setting
    options: Any
    data: Data
    task: Task

    @classmethod
    def of(cls, setting: Setting, files: Files, options: CellStudyOptions) -> "_Prepared":
        """Read the data: a mistake shows before anything is trained."""
        found = setting.options(files, options.cells, options.seeds)
        kind = entry_named(setting.task).task
        data = kind.read(found)
        task = kind.prepare(found, data.training, lambda note: None)
        check_cells(task, options.cells)
        return cls(setting, found, data, task)

    def compared(self, options: CellStudyOptions, listener: StudyListener) -> Comparison:
        """Find the learning rate of each cell, then train it from each seed."""
        folder = options.output / _TRAINED / self.setting.name
        kept = StudyOptions(
            name=self.setting.name,
            output=folder,
            resume=(folder / STUDY).exists(),
            budget=options.budget,
            workers=options.workers,
        )
        choices = CompareOptions(fixed_rate=not self.setting.rates_tried)
        if options.quick and self.setting.rates_tried:
            choices = CompareOptions(rates=QUICK_RATES)
        return compare(self.options, choices, kept, data=self.data, listener=listener)

    def networks(self, found: Comparison) -> dict[str, list[Path]]:
        """The runs of each cell at its learning rate."""
        return {
            cell: [found.folder / each.run for each in results_of(found.records, cell) if each.run]
            for cell in self.options.cells
        }

    def result(self, found: Comparison, *, timed: bool) -> SettingResult:
        """What the trainings gave."""
        figures = {figure.name: figure for figure in self.task.shown_figures()}
        figure = figures[self.setting.figure]
        baselines = found.evidence.baselines
        batches = self.task.batches(self.data.training, self.options.training.batch_size, 0)
        facts: Any = self.data.facts
        return SettingResult(
            self.setting.problem,
            self.setting.task,
            self.setting.steps or _median_steps(batches),
            {name: int(facts[name]) for name in ("training", "validation", "test")},
            self.options.training.epochs,
            len(batches),
            StoredFigure.of(figure),
            self.task.decides().title,
            {name: each[figure.name] for name, each in baselines.items() if figure.name in each},
            {cell: _cell(cell, figure.name, found) for cell in self.options.cells},
            timed,
        )


def _cell(cell: str, figure: str, found: Comparison) -> CellResult:
    outcome = found.evidence.outcome(cell)
    curves = rate_curves(found.records, found.task.decides()).get(cell, {})
    return CellResult(
        outcome.hidden_size,
        outcome.parameters,
        outcome.learning_rate,
        {f"{rate:g}": curves.get(rate) for rate in outcome.rates},
        [
            TrialResult(
                each.seed,
                each.state,
                each.figures.get(figure),
                each.best_epoch,
                [epoch["figures"][f"validation_{figure}"] for epoch in each.epochs],
                each.training_seconds / max(1, len(each.epochs)),
                each.reason,
            )
            for each in results_of(found.records, cell)
        ],
    )


def _median_steps(batches: Any) -> int:
    """The median number of steps of the sequences of an epoch."""
    lengths = [
        length for batch in batches for length in next(iter(batch.lengths.values())).tolist()
    ]
    return int(median(lengths))


def _machine() -> str:
    """The processor, and how many of its cores there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}"
