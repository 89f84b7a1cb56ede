"""`anyrnn tune TASK`: find the options with which a task's network becomes best."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE
from rich.progress import Progress, TaskID

from anyrnn.cli.bars import Printer, bars
from anyrnn.cli.options import Sources, command, flag_parameter, given, parameter, telling
from anyrnn.cli.task_commands import FROM_FILE, task_app
from anyrnn.cli.terminal import say, say_table

if TYPE_CHECKING:
    from anyrnn.studies.trials import TrialPlan, TrialRecord
    from anyrnn.studies.tuning.result import TuneResult
    from anyrnn.studies.tuning.tuning import Search
    from anyrnn.studies.worker import StudyListener
    from anyrnn.tasks.registry import Entry
    from anyrnn.tasks.task import Task

_MOST_ROWS = 10  # of the table of trials


_SEARCHED = flag_parameter(
    "search",
    list[str],
    [],
    metavar="NAME=LOW..HIGH",
    help="What is searched of an option: a range, such as hidden_size=32..256:log or "
    "dropout=0..0.5:step=0.1, or values, such as optimiser=adam,sgd; may be repeated. These win "
    "over the section [bold]search[/bold] of the file; without both learning rate, hidden size, "
    "layers and dropout are searched.",
    rich_help_panel="Search",
)


def _command(entry: Entry) -> Any:
    from anyrnn.studies.options import StudyOptions
    from anyrnn.studies.tuning.options import TuneOptions
    from anyrnn.tasks.options.declaration import declared

    options = list(declared(entry.options))
    study, tuning = list(declared(StudyOptions)), list(declared(TuneOptions))

    def tune(
        ctx: typer.Context, config: Path | None, set: list[str], search: list[str], **_: Any
    ) -> None:
        from anyrnn.studies.tuning.tuning import Search

        sources = Sources(entry.options, config, set, given(ctx, options))
        with telling(sources.flag):
            found = sources.options()
            space = _space(found, sources.search, search, config)
            _tune_task(
                Search(
                    found,
                    space,
                    StudyOptions(**given(ctx, study)),
                    TuneOptions(**given(ctx, tuning)),
                )
            )

    example = entry.example.replace("--cell lstm --cell gru", "--cell gru").replace(
        "--cell gru --cell lstm", "--cell gru"
    )
    about = (
        f"Find the options with which the networks of {entry.name} become best.\n\n"
        f"[bold]Example:[/bold] anyrnn tune {entry.name} {example} --trials 30 --budget 1h\n\n"
        "Writes the folder of a study: best (the run folder of the best trial), trials, "
        "results.json and report.html."
    )
    parameters = [
        *map(parameter, options),
        *FROM_FILE,
        _SEARCHED,
        *map(parameter, tuning),
        *map(parameter, study),
    ]
    return command(tune, parameters, entry.name, about)


app = task_app(_command, "Find the options with which models become best on your own files.")


def _space(options: Any, section: Any, flags: list[str], file: Path | None) -> Any:
    """What is searched: the section of the file, and what flags say."""
    from anyrnn.studies.search_section import read_search, space_of
    from anyrnn.studies.space import default_space, together

    spaces = []
    if section is not None:
        spaces.append(space_of(options, section, f"search in {file}"))
    for text in flags:
        name, wanted = read_search(text)
        spaces.append(space_of(options, {name: wanted}, "--search"))
    return together(spaces) if spaces else default_space(options)


def _tune_task(search: Search) -> None:
    with bars() as progress:
        result = search.run(listener=_listener(progress, search))
    _print_result(result)


def _listener(progress: Progress, search: Search) -> StudyListener:
    """What prints a line for each trial and, on a terminal, moves bars."""
    from anyrnn.studies.tuning.report import own_name, shown_value
    from anyrnn.studies.worker import StudyListener
    from anyrnn.tasks.scores.figures import duration

    def shown(plan: TrialPlan | TrialRecord) -> str:
        changes: Mapping[str, object] = plan.changes
        if "cells" in {each.path for each in search.space.dimensions}:
            changes = {"cells": plan.cell, **changes}
        return ", ".join(f"{own_name(path)} {shown_value(v)}" for path, v in changes.items())

    class SearchPrinter(Printer, StudyListener):
        def __init__(self, progress: Progress) -> None:
            super().__init__(progress)
            self.bars: dict[int, TaskID] = {}
            self.best: float | None = None

        def prepared(self, task: Task) -> None:
            self.figure = task.decides()
            self.all = progress.add_task("trials", total=search.tuning.trials)

        def trial_started(self, number: int, plan: TrialPlan) -> None:
            self.bars[number] = progress.add_task(f"trial {number}: {shown(plan)}", total=None)

        def batch_done(self, number: int, epoch: int, done: int, total: int) -> None:
            told = f"trial {number} epoch {epoch}"
            progress.update(self.bars[number], description=told, completed=done, total=total)

        def trial_done(self, record: TrialRecord) -> None:
            progress.remove_task(self.bars.pop(record.number))
            progress.advance(self.all)
            self.say(f"trial {record.number}: {shown(record)}: {self.told(record)}")

        def told(self, record: TrialRecord) -> str:
            if record.deciding is None:
                return f"{record.state}, {record.reason}"
            value = self.figure.shown(record.deciding) + ("%" if self.figure.percent else "")
            told = f"{self.figure.title} {value}, {duration(record.training_seconds)}"
            if record.state == "finished":
                worth = record.deciding * (1 if self.figure.larger_is_better else -1)
                better = self.best is None or worth > self.best
                self.best = worth if better else self.best
                return f"{told}, best so far" if better else told
            return f"{told}, {'given up' if record.state == 'pruned' else record.reason}"

    return SearchPrinter(progress)


def _print_result(result: TuneResult) -> None:
    from anyrnn.studies.tuning.report import own_name, shown_options
    from anyrnn.tasks.scores.figures import duration

    decides = result.task.decides()
    names = [own_name(each.path).replace("_", " ") for each in result.space.dimensions]
    columns = (f"{decides.heading} (validation)", *names, "epochs", "training")
    rows = [
        (
            f"{record.number} *" if record is result.best else str(record.number),
            decides.shown(record.deciding or 0.0),
            *shown_options(result, record).values(),
            str(len(record.epochs)),
            duration(record.training_seconds),
        )
        for record in result.ranked[:_MOST_ROWS]
    ]
    given_up = sum(each.state == "pruned" for each in result.records)
    others = len(result.records) - len(result.ranked) - given_up
    told = [f"{len(result.records)} trials", f"{given_up} given up"]
    told += [f"{others} without a result"] if others else []
    say_table(
        ("trial", *columns),
        rows,
        right=columns,
        box=SIMPLE,
        title="The best trials",
        caption=f"{', '.join(told)}; * its weights are kept as the best run",
    )
    if result.importance:
        shares = [f"{own_name(p)} {100 * share:.0f}%" for p, share in result.importance.items()]
        say(f"importance: {', '.join(shares)}")
    figures = [
        f"{figure.title} {figure.shown(result.best.figures[figure.name])}"
        + ("%" if figure.percent else "")
        for figure in result.task.shown_figures()
        if figure.name in result.best.figures
    ]
    say(f"best trial on the test {result.task.units}: {', '.join(figures)}")
    if len(result.records) < result.wanted:
        say(f"the time was over after {len(result.records)} of {result.wanted} trials")
    place = result.run or f"{result.best.run} in the study's folder on {result.best.host}"
    say(f"best run: {place}")
    say(f"report: {result.folder / 'report.html'}")
