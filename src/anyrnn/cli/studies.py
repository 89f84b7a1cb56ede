"""What a study prints while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from anyrnn.cli.terminal import say, terminal

if TYPE_CHECKING:
    from anyrnn.studies.trials import TrialPlan, TrialRecord
    from anyrnn.studies.worker import StudyListener
    from anyrnn.tasks.task import Task
    from anyrnn.tasks.training.listener import Epoch


@contextmanager
def told() -> Iterator[StudyListener]:
    """A listener that prints a line for each trial and, on a terminal, moves a bar within it."""
    from anyrnn.studies.worker import StudyListener

    console = terminal()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    class Printer(StudyListener):
        task: Task

        def __init__(self) -> None:
            self.preparations: dict[str, TaskID] = {}
            self.bars: dict[int, tuple[str, TaskID]] = {}

        def prepared(self, task: Task) -> None:
            self.task = task

        def noted(self, text: str) -> None:
            say(text, "dim", console=console)

        def preparing(self, what: str, done: int, total: int) -> None:
            if what not in self.preparations:
                self.preparations[what] = progress.add_task(what, total=total)
            progress.update(self.preparations[what], completed=done, total=total)
            if done >= total:
                progress.remove_task(self.preparations.pop(what))

        def trial_started(self, number: int, plan: TrialPlan) -> None:
            name = f"{number + 1}: {described(plan)}"
            self.bars[number] = name, progress.add_task(name, total=None)

        def batch_done(self, number: int, epoch: int, done: int, total: int) -> None:
            name, bar = self.bars[number]
            text = f"{name}, epoch {epoch}"
            progress.update(bar, description=text, completed=done, total=total)

        def epoch_done(self, number: int, epoch: Epoch) -> None:
            pass

        def trial_done(self, record: TrialRecord) -> None:
            name, bar = self.bars.pop(record.number, ("", None))
            if bar is not None:
                progress.remove_task(bar)
            say(f"{name or described(record.plan)}: {self._became(record)}", console=console)

        def _became(self, record: TrialRecord) -> str:
            if record.deciding is None or record.state != "finished":
                return f"{record.state}: {record.reason}"
            figure = self.task.decides()
            value = figure.shown(record.deciding) + ("%" if figure.percent else "")
            place = f"epoch {record.best_epoch} of {len(record.epochs)}"
            seconds = f"{record.training_seconds:.1f} s"
            return f"validation {figure.title} {value} at {place}, {seconds}"

    with progress:
        yield Printer()


def described(plan: TrialPlan) -> str:
    """What a trial trains, in short."""
    changes = (
        f"{path.rpartition('.')[2].replace('_', ' ')} {_shown(value)}"
        for path, value in plan.changes.items()
    )
    return ", ".join([plan.cell, *changes, f"seed {plan.seed}"])


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
