"""Compare cells: find sizes and learning rates, train from several seeds, say which one to use."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anyrnn.errors import AnyrnnError, OptionError, SizeError, option_name
from anyrnn.studies.comparison.advice import Advice, advise
from anyrnn.studies.comparison.evidence import Choice, Evidence, Signal, choose
from anyrnn.studies.comparison.options import LEVEL, CompareOptions
from anyrnn.studies.comparison.outcomes import (
    baselines_of,
    best_rates,
    figure_compared,
    further_trials,
    outcome_of,
    results_of,
)
from anyrnn.studies.comparison.plan import RESULT, Plan, planned, rates_tried
from anyrnn.studies.comparison.statistics import CORRECTION, TEST
from anyrnn.studies.options import StudyOptions
from anyrnn.studies.place import Place
from anyrnn.studies.search import Study
from anyrnn.studies.trials import TrialRecord
from anyrnn.studies.worker import StudyListener
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.options.declaration import check_needs
from anyrnn.tasks.registry import entry_of
from anyrnn.tasks.run_files import read_json, write_json, write_text
from anyrnn.tasks.scores.figures import Figure
from anyrnn.tasks.task import Task
from anyrnn.tasks.words import Language

_PLAN = "plan"
# The most sequences that gradients are taken of.
_SEQUENCES = 64
# So often a learning rate beyond the best one is tried.
_FURTHER_RATES = 2
_NO_SETTING = ("language", "significance")


@dataclass(frozen=True)
class Comparison:
    """Cells compared on one person's data.

    Attributes:
        folder: The folder of the study.
        task: The task.
        plan: What was trained: sizes, learning rates, epochs.
        records: What became of every training.
        evidence: What the trainings gave, cell by cell.
        choice: Which cell is recommended, with the tests that it rests on.
        shares: By cell, how much of the gradient is left so many steps back.
        complete: Whether everything that was planned was trained: otherwise the time was over.
    """

    folder: Path
    task: Task
    plan: Plan
    records: list[TrialRecord]
    evidence: Evidence
    choice: Choice
    shares: Mapping[str, list[float]] = field(default_factory=dict)
    complete: bool = True

    @property
    def recommended(self) -> str | None:
        """The cell that is recommended, if any."""
        return self.choice.recommended

    def advice(self, language: Language = "en") -> Advice:
        """The recommendation with its reasons and doubts, in sentences."""
        return advise(self.evidence, self.choice, language)

    def plain(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        evidence, choice = self.evidence, self.choice
        level = evidence.level
        return {
            "task": self.task.name,
            "recommended": choice.recommended,
            "why": choice.why,
            "advice": {language: asdict(self.advice(language)) for language in ("en", "zh")},
            "compared_by": evidence.figure.name,
            "deciding": {
                **evidence.figure.plain(),
                "larger_is_better": evidence.figure.larger_is_better,
            },
            "measured_on": evidence.measured_on,
            "seeds": evidence.seeds,
            "complete": self.complete,
            "plan": self.plan.plain(),
            "cells": {each.cell: asdict(each) for each in evidence.outcomes},
            "gradient_shares": dict(self.shares),
            "baselines": evidence.baselines,
            "test": {"name": TEST, "correction": CORRECTION, "level": level},
            "on_validation": [
                {**asdict(each), "verdict": each.verdict(level)} for each in choice.validation
            ],
            "on_test": [{**asdict(each), "verdict": each.verdict(level)} for each in choice.test],
        }


def compare(
    options: Any,
    choices: CompareOptions | None = None,
    study: StudyOptions | None = None,
    *,
    data: Data | None = None,
    listener: StudyListener | None = None,
) -> Comparison:
    """Compare cells on the same data: a learning rate for each, several seeds, what is certain.

    Args:
        options: Those of a task; their `cells` are compared, from `training.seeds` seeds each.
        choices: How cells are compared.
        study: Where the study is kept, how long it may take, how many processes train.
        data: The data, if they do not come from files.
        listener: Told what happens.

    Returns:
        The figures of each cell, tests of their differences, and a recommendation. The folder of
        the study holds `results.json` and `report.html`.

    Raises:
        DataError: The data cannot be used.
        OptionError: An option has no effect, or the task cannot take a cell.
        SizeError: The budget is too small.
        RunError: A study of that name exists, or there is none to go on with.
        StorageError: The storage cannot be reached.
        StoppedError: Ctrl-C or SIGTERM; the study can be gone on with.
    """
    choices, kept = choices or CompareOptions(), study or StudyOptions()
    _check(options, choices)
    settings = {name: value for name, value in choices.plain().items() if name not in _NO_SETTING}
    named = entry_of(options).task.main_file(options).name
    place = Place.of(kept, named)
    budget, workers = kept.seconds, kept.workers
    with Study("compare", options, place, settings=settings, listener=listener, data=data) as begun:
        figure = figure_compared(begun.task, choices.figure)
        plan = _plan(begun, choices, budget, workers)
        complete = _rates_tried(begun, plan, choices, figure, kept)
        if complete:
            rates = best_rates(begun.records(), plan, options.cells, figure)
            begun.enqueue(plan.result_trials(options, rates))
            complete = begun.run(workers=workers, budget=budget)
        comparison = _comparison(begun, plan, choices, begun.records(), complete)
        _write(comparison, choices)
        if not kept.keep_runs:
            begun.drop_runs(lambda record: record.purpose == RESULT)
    return comparison


def _check(options: Any, choices: CompareOptions) -> None:
    """Refuse what cannot be compared, before data are read."""
    check_needs(options)
    check_needs(choices, data={"seeds": (options.training.seeds,)})
    entry_of(options)
    for rate in choices.rates:
        if not 0 < rate < math.inf:
            raise SizeError(f"{option_name('rates')} is {rate}, but has to be above 0")
    if len(options.cells) < 2:
        raise OptionError(
            f"{option_name('cells')} names only {options.cells[0]}, but two or more are compared"
        )
    for name in ("devices", "nodes"):
        if getattr(options.training, name) > 1:
            raise OptionError(
                f"{option_name(name)} has no effect on a comparison, whose trainings run beside "
                f"each other with {option_name('workers')}; leave it out"
            )


def _plan(study: Study, choices: CompareOptions, budget: float | None, workers: int) -> Plan:
    """What is trained; of a study that was begun as it was planned then."""
    known = study.kept(_PLAN)
    if known is not None:
        return Plan.restored(known)
    plan = planned(study.task, study.trainer.data, choices, budget, workers)
    study.keep(_PLAN, plan.plain())
    return plan


def _rates_tried(
    study: Study, plan: Plan, choices: CompareOptions, figure: Figure, kept: StudyOptions
) -> bool:
    """Try learning rates; beyond those that were planned where the best one is at an end, but for
    rates that the user has named. Whether there was time for it.
    """
    options = study.trainer.options
    study.enqueue(plan.rate_trials(options))
    all_tried = len(plan.rates) > 1 and plan.rates == rates_tried(options, choices)
    further = _FURTHER_RATES if all_tried and not choices.rates else 0
    for left in range(further, -1, -1):
        if not study.run(workers=kept.workers, budget=kept.seconds):
            return False
        plans = further_trials(study.records(), plan, options, figure) if left else []
        if not plans:
            break
        study.enqueue(plans)
    return True


def _comparison(
    study: Study,
    plan: Plan,
    choices: CompareOptions,
    records: list[TrialRecord],
    complete: bool,
) -> Comparison:
    """What follows from the records."""
    task, options = study.task, study.trainer.options
    data = study.trainer.data
    shares: dict[str, list[float]] = {}
    signals: dict[str, Signal] = {}
    baselines: dict[str, dict[str, float]] = {}
    for cell in options.cells:
        finished = [each for each in results_of(records, cell) if each.run]
        if finished:
            run = study.folder / str(finished[0].run)
            baselines = baselines or baselines_of(read_json(run / "results.json"))
            if reach := gradient_reach(run, data):
                shares[cell], signals[cell] = reach
    evidence = Evidence(
        figure_compared(task, choices.figure),
        task.shown_figures(),
        tuple(outcome_of(cell, records, plan, signals.get(cell)) for cell in options.cells),
        plan.seeds(options),
        baselines,
        choices.significance or LEVEL,
        data.measured[0],
    )
    if not complete and not evidence.seeds:
        raise SizeError(
            f"the time of {option_name('budget')} was over before each cell was trained once; go "
            f"on with {option_name('resume', True)} and a larger one"
        )
    return Comparison(
        study.folder, task, plan, records, evidence, choose(evidence), shares, complete
    )


def gradient_reach(run: Path, data: Data) -> tuple[list[float], Signal] | None:
    """How much of the gradient of a trained network is left so many steps back, the median over
    sequences of the part that decides, and after how many steps 1 % is; nothing where the task has
    no steps to go back.
    """
    from anyrnn.tasks.inspection.gradients import gradient_norms
    from anyrnn.tasks.trained import load

    try:
        model = load(run)
        flow = gradient_norms(
            model.task, model.network, data.deciding[1], sequences=_SEQUENCES, seed=0
        )
    except AnyrnnError:
        return None
    shares = [float(share) for share in flow.whole.share]
    return shares if all(map(math.isfinite, shares)) else [], Signal(flow.steps_left(), len(shares))


def _write(comparison: Comparison, choices: CompareOptions) -> None:
    from anyrnn.studies.comparison.report import render

    write_json(comparison.folder / "results.json", comparison.plain())
    write_text(comparison.folder / "report.html", render(comparison, choices))
