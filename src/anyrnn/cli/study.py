"""`anyrnn study`: train every main cell on problems of memory and real data; write the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.progress import Progress

from anyrnn.cli.bars import bars
from anyrnn.cli.options import call, chosen, command, parameter
from anyrnn.cli.terminal import say

if TYPE_CHECKING:
    from anyrnn.studies.cells.options import CellStudyOptions
    from anyrnn.studies.cells.study import CellStudyListener

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
    from anyrnn.cli.studies import TrialPrinter
    from anyrnn.studies.cells.study import CellStudyListener

    class CellsPrinter(TrialPrinter, CellStudyListener):
        def setting_started(self, name: str, number: int, total: int) -> None:
            self.say(f"{name} ({number} of {total})", "bold")

        def measuring(self, what: str) -> None:
            self.noted(f"measuring {what}")

    return CellsPrinter(progress)
