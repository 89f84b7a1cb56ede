"""`anyrnn predict RUN`: what the model of a run says about new data, as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anyrnn.cli.options import CELL, RUN, WEIGHTS, chosen, command, options_of, parameter, pass_on
from anyrnn.cli.terminal import say_json

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry


def predict(ctx: typer.Context) -> None:
    """Ask the model of a run about new data: one JSON object a line."""
    pass_on(ctx, _command)


def _command(entries: Sequence[Entry]) -> Any:
    found = options_of(entries, lambda entry: entry.predict_options)

    def run(ctx: typer.Context, run: Path, cell: str | None, weights: str | None, **_: Any) -> None:
        from anyrnn.tasks.registry import entry_of_run
        from anyrnn.tasks.trained import load

        options: Any = chosen(ctx, entry_of_run(run).predict_options)
        model = load(run, cell, weights=weights)
        for answer in model.task.answers(model.network, options):
            say_json(answer)

    help = (
        "Ask the model of a run about new data: one JSON object a line.\n\n"
        '[bold]Example:[/bold] anyrnn predict runs/reviews "a film that never lets go of you"'
    )
    return command(run, [RUN, *map(parameter, found), CELL, WEIGHTS], "predict", help)
