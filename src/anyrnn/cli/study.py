"""`anyrnn study`: train every main cell on problems of memory and real data; write the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.progress import Progress, TaskID

from anyrnn.cli.bars import Printer, bars
from anyrnn.cli.options import call, chosen, command, parameter
from anyrnn.cli.terminal import say

if TYPE_CHECKING:
    from anyrnn.studies.cells.options import CellStudyOptions
    from anyrnn.studies.cells.study import CellStudyListener
    from anyrnn.studies.trials import TrialRecord

_HELP = (
    "Train every main cell on problems that ask for memory and on real data, and write the page "
    "[bold]Which cell should I use?[/bold]\n\n"
    "[bold]Example:[/bold] anyrnn study --problem adding --cell lstm --cell gru --seeds 3\n\n"
    "Writes results.json, the pages which-cell and gallery in English and in Chinese, and their "
    "pictures. It takes tens of minutes; [bold]--quick[/bold] takes few and says nothing."
)


def study(ctx: typer.Context) -> None:
    """Train cells on problems of memory and real data; write the page on which one to use."""
    from anyrnn.studies.cells.options import CellStudyOptions
    from anyrnn.tasks.options.declaration import declared

    def run(inner: typer.Context, **_: Any) -> None:
        _study(chosen(inner, CellStudyOptions))

    call(ctx, command(run, map(parameter, declared(CellStudyOptions)), "study", _HELP))


def _study(options: CellStudyOptions) -> None:
    from anyrnn.studies.cells.page import joined, write_pages
    from anyrnn.studies.cells.study import RESULTS, run_study

    if options.results:
        results, folder = joined(options.results), options.pages or options.results[0].parent
    else:
        with bars() as progress:
            results = run_study(options, _listener(progress))
        folder = options.pages or options.output
        say(f"results: {options.output / RESULTS}")
    for page in write_pages(results, folder):
        say(f"page: {page}")


def _listener(progress: Progress) -> CellStudyListener:
    """What prints a line for each training, and moves a bar within it on a terminal."""
    from anyrnn.studies.cells.study import CellStudyListener

    class CellsPrinter(Printer, CellStudyListener):
        def __init__(self, progress: Progress) -> None:
            super().__init__(progress)
            self.bars: dict[int, TaskID] = {}

        def setting_started(self, name: str, number: int, total: int) -> None:
            self.say(f"{name} ({number} of {total})", "bold")

        def measuring(self, what: str) -> None:
            self.noted(f"measuring {what}")

        def trial_started(self, number: int, plan: Any) -> None:
            rate = plan.changes["training.learning_rate"]
            name = f"{plan.cell} seed {plan.seed}, learning rate {rate:g}"
            self.bars[number] = progress.add_task(name, total=None)

        def batch_done(self, number: int, epoch: int, done: int, total: int) -> None:
            if number in self.bars:
                progress.update(self.bars[number], completed=done, total=total)

        def trial_done(self, record: TrialRecord) -> None:
            if record.number in self.bars:
                progress.remove_task(self.bars.pop(record.number))
            rate = record.changes["training.learning_rate"]
            told = [f"{record.cell} seed {record.seed}, learning rate {rate:g}: {record.state}"]
            if record.deciding is not None:
                told.append(f"validation {record.deciding:.4g}")
            told.append(record.reason or f"{record.training_seconds:.1f} s")
            self.say(", ".join(told))

    return CellsPrinter(progress)
