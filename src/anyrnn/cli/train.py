"""`anyrnn train TASK`: train models on the user's own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE
from rich.progress import Progress, TaskID

from anyrnn.cli.bars import Printer, bars
from anyrnn.cli.options import Sources, command, given, parameter, telling
from anyrnn.cli.task_commands import FROM_FILE, task_app
from anyrnn.cli.terminal import say, say_table

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry
    from anyrnn.tasks.scores.figures import Figure
    from anyrnn.tasks.task import Task
    from anyrnn.tasks.training.listener import Epoch, Listener
    from anyrnn.tasks.training.results import Result


def _command(entry: Entry) -> Any:
    from anyrnn.tasks.options.declaration import declared
    from anyrnn.tasks.options.training_options import RunOptions

    options, run = list(declared(entry.options)), list(declared(RunOptions))

    def train(ctx: typer.Context, config: Path | None, set: list[str], **_: Any) -> None:
        sources = Sources(entry.options, config, set, given(ctx, options))
        if sources.search is not None:
            say(f"search in {config} is read by anyrnn tune, and has no effect here", "dim")
        with telling(sources.flag):
            _train_task(entry, sources.options(), RunOptions(**given(ctx, run)))

    about = (
        f"{entry.summary}\n\n[bold]Example:[/bold] anyrnn train {entry.name} {entry.example}\n\n"
        "Writes a run folder: models (safetensors), config.json, history.csv, results.json and "
        "report.html."
    )
    return command(
        train, [*map(parameter, options), *FROM_FILE, *map(parameter, run)], entry.name, about
    )


app = task_app(_command, "Train models on your own files.")


def _train_task(entry: Entry, options: Any, run: Any) -> None:
    from anyrnn.tasks.experiment import train

    named = entry.task.main_file(options).name
    output = run.output or Path("runs") / (named.split(".")[0] or "run")
    with bars() as progress:
        result = train(
            options,
            output,
            overwrite=run.overwrite,
            resume=run.resume,
            listener=_listener(progress),
        )
    _print_result(result)


def _listener(progress: Progress) -> Listener:
    """What prints a line for each epoch and, on a terminal, moves a bar within it."""
    from anyrnn.tasks.scores.figures import LOSS
    from anyrnn.tasks.training.listener import Listener

    class TrainingPrinter(Printer, Listener):
        name = ""
        bar: TaskID | None = None
        figures: Sequence[Figure] = ()

        def prepared(self, task: Task) -> None:
            self.figures = task.epoch_figures()

        def trial_started(self, cell: str, seed: int | None, number: int, total: int) -> None:
            self.name = cell if seed is None else f"{cell} seed {seed}"
            self.bar = progress.add_task(f"{self.name} ({number} of {total})", total=None)

        def batch_done(self, epoch: int, done: int, total: int) -> None:
            assert self.bar is not None
            progress.update(
                self.bar, description=f"{self.name} epoch {epoch}", completed=done, total=total
            )

        def epoch_done(self, epoch: Epoch) -> None:
            told = [f"training loss {LOSS.shown(epoch.figures['training_loss'])}"]
            # The validation loss stands beside it.
            for figure in sorted(self.figures, key=lambda figure: figure.name != "loss"):
                value = figure.shown(epoch.figures[f"validation_{figure.name}"])
                title = f"validation {figure.title}" if figure.name == "loss" else figure.title
                told.append(f"{title} {value}{'%' if figure.percent else ''}")
            line = f"{self.name} epoch {epoch.number}: {', '.join(told)}, {epoch.seconds:.1f} s"
            self.say(line)

        def trial_done(self) -> None:
            assert self.bar is not None
            progress.remove_task(self.bar)

    return TrainingPrinter(progress)


def _print_result(result: Result) -> None:
    from anyrnn.tasks.scores.figures import duration, short_duration

    task, figures = result.task, result.task.shown_figures()
    several = len(result.cells) > 1
    rows = []
    for cell in result.cells:
        best = cell.cell == result.best.cell and several
        rows.append(
            (
                f"{cell.cell} *" if best else cell.cell,
                f"{cell.parameters:,}",
                *(cell.shown(figure) for figure in figures),
                duration(cell.training_seconds),
                short_duration(cell.seconds_per_row),
            )
        )
    for name, reached in result.baselines.items():
        rows.append((name, "", *task.shown(reached), "", ""))
    headings = (figure.heading for figure in figures)
    columns = ("parameters", *headings, "training", f"per {task.unit}")
    say_table(
        ("cell", *columns),
        rows,
        right=columns,
        box=SIMPLE,
        title=f"On the {result.measured_on} {task.units}",
        caption=f"* best on the validation {task.units}" if several else "",
    )
    say(f"run folder: {result.run}")
    say(f"report: {result.run / 'report.html'}")
