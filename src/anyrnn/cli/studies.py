"""What a study prints while it trains; imported only when one does."""

from __future__ import annotations

from rich.progress import Progress, TaskID

from anyrnn.cli.bars import Printer
from anyrnn.studies.trials import TrialPlan, TrialRecord
from anyrnn.studies.worker import StudyListener
from anyrnn.tasks.task import Task


class TrialPrinter(Printer, StudyListener):
    """Prints a line for each trial and, on a terminal, moves a bar within it."""

    task: Task

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self.bars: dict[int, tuple[str, TaskID]] = {}

    def prepared(self, task: Task) -> None:
        """Its task says what figures are called."""
        self.task = task

    def trial_started(self, number: int, plan: TrialPlan) -> None:
        """A bar for it."""
        name = f"{number + 1}: {described(plan)}"
        self.bars[number] = name, self.progress.add_task(name, total=None)

    def batch_done(self, number: int, epoch: int, done: int, total: int) -> None:
        """Moves the bar."""
        name, bar = self.bars[number]
        text = f"{name}, epoch {epoch}"
        self.progress.update(bar, description=text, completed=done, total=total)

    def trial_done(self, record: TrialRecord) -> None:
        """A line instead of its bar."""
        name, bar = self.bars.pop(record.number, ("", None))
        if bar is not None:
            self.progress.remove_task(bar)
        self.say(f"{name or described(record.plan)}: {self._became(record)}")

    def _became(self, record: TrialRecord) -> str:
        if record.deciding is None or record.state != "finished":
            return f"{record.state}: {record.reason}"
        figure = self.task.decides()
        value = figure.shown(record.deciding) + ("%" if figure.percent else "")
        place = f"epoch {record.best_epoch} of {len(record.epochs)}"
        seconds = f"{record.training_seconds:.1f} s"
        return f"validation {figure.title} {value} at {place}, {seconds}"


def described(plan: TrialPlan) -> str:
    """What a trial trains, in short."""
    changes = (
        f"{path.rpartition('.')[2].replace('_', ' ')} {_shown(value)}"
        for path, value in plan.changes.items()
    )
    return ", ".join([plan.cell, *changes, f"seed {plan.seed}"])


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
