"""`anyrnn speak RUN`: texts spoken into a file of sound, by the voice of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from anyrnn.cli.bars import Printer, bars
from anyrnn.cli.options import ask
from anyrnn.cli.terminal import say

if TYPE_CHECKING:
    from anyrnn.tasks.speak.options import PredictOptions
    from anyrnn.tasks.speak.task import Speak
    from anyrnn.tasks.trained import Model

_HELP = (
    "Speak texts into a file of sound; several are spoken one after the other.\n\n"
    '[bold]Example:[/bold] anyrnn speak runs/voice "Good evening." --output evening.wav'
)


def speak(ctx: typer.Context) -> None:
    """Speak texts with the voice of a run."""
    ask(ctx, "speak", _HELP, _write)


def _write(model: Model[Speak], options: PredictOptions) -> None:
    from anyrnn.tasks.data.prepared import watched

    with bars() as progress, watched(Printer(progress).preparing):
        told = list(model.task.answers(model.network, options))
    say(f"{options.output}: {told[-1]['end']:.2f} s of speech")
