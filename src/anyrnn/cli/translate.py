"""`anyrnn translate RUN`: lines to their translations, by the translator of a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from anyrnn.cli.options import ask
from anyrnn.cli.terminal import shown

if TYPE_CHECKING:
    from anyrnn.tasks.trained import Model
    from anyrnn.tasks.translate.options import PredictOptions
    from anyrnn.tasks.translate.task import Translate

_HELP = (
    "Translate sentences, a line for a line; with --n-best several lines for each, with its "
    "number and the score before the translation.\n\n"
    "[bold]Example:[/bold] anyrnn translate runs/train --file letter.de > letter.en"
)


def translate(ctx: typer.Context) -> None:
    """Translate sentences with the translator of a run."""
    ask(ctx, "translate", _HELP, _print)


def _print(model: Model[Translate], options: PredictOptions) -> None:
    several = options.search.n_best > 1
    for number, found in enumerate(model.task.asked(model.network, options), start=1):
        for each in found.candidates:
            line = shown(" ".join(each.text.splitlines()))
            line = f"{number}\t{each.score:.3f}\t{line}" if several else line
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
