"""`anyrnn translate RUN`: lines to their translations, by the translator of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anyrnn.cli.options import CELL, RUN, chosen, command, parameter, pass_on
from anyrnn.cli.terminal import shown

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry


def translate(ctx: typer.Context) -> None:
    """Translate sentences with the translator of a run."""
    pass_on(ctx, _command)


def _command(entries: Sequence[Entry]) -> Any:
    from anyrnn.tasks.options.declaration import declared
    from anyrnn.tasks.translate.options import PredictOptions

    def run(ctx: typer.Context, run: Path, cell: str | None, **_: Any) -> None:
        from anyrnn.tasks.trained import load
        from anyrnn.tasks.translate.task import Translate

        options = chosen(ctx, PredictOptions)
        model = load(run, cell, Translate)
        several = options.search.n_best > 1
        for number, found in enumerate(model.task.asked(model.network, options), start=1):
            for each in found.candidates:
                line = shown(" ".join(each.text.splitlines()))
                line = f"{number}\t{each.score:.3f}\t{line}" if several else line
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    help = (
        "Translate sentences, a line for a line; with --n-best several lines for each, with its "
        "number and the score before the translation.\n\n"
        "[bold]Example:[/bold] anyrnn translate runs/train --file letter.de > letter.en"
    )
    return command(run, [RUN, *map(parameter, declared(PredictOptions)), CELL], "translate", help)
