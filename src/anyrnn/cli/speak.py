"""`anyrnn speak RUN`: texts spoken into a file of sound, by the voice of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anyrnn.cli.options import CELL, RUN, chosen, command, parameter, pass_on
from anyrnn.cli.terminal import say

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry


def speak(ctx: typer.Context) -> None:
    """Speak texts with the voice of a run."""
    pass_on(ctx, _command)


def _command(entries: Sequence[Entry]) -> Any:
    from anyrnn.tasks.options.declaration import declared
    from anyrnn.tasks.speak.options import PredictOptions

    def run(ctx: typer.Context, run: Path, cell: str | None, **_: Any) -> None:
        from anyrnn.tasks.speak.task import Speak
        from anyrnn.tasks.trained import load

        options = chosen(ctx, PredictOptions)
        model = load(run, cell, Speak)
        told = list(model.task.answers(model.network, options))
        say(f"{options.output}: {told[-1]['end']:.2f} s of speech")

    help = (
        "Speak texts into a file of sound; several are spoken one after the other.\n\n"
        '[bold]Example:[/bold] anyrnn speak runs/voice "Good evening." --output evening.wav'
    )
    return command(run, [RUN, *map(parameter, declared(PredictOptions)), CELL], "speak", help)
