"""`anyrnn listen RUN FILE`: the words that are heard in a stream of sound."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from anyrnn.cli.options import ask
from anyrnn.cli.terminal import shown

if TYPE_CHECKING:
    from anyrnn.tasks.command.options import ListenOptions
    from anyrnn.tasks.command.task import Command
    from anyrnn.tasks.trained import Model

_HELP = (
    "Tell the words in a stream of sound as they are heard: a line for each, with the time in "
    "seconds before and the probability behind.\n\n"
    "[bold]Example:[/bold] anyrnn listen runs/words kitchen.wav\n\n"
    "[bold]From a microphone:[/bold] arecord -t raw -f S16_LE -r 16000 | anyrnn listen "
    "runs/words - --rate 16000"
)


def listen(ctx: typer.Context) -> None:
    """Tell the words in a stream of sound as they are heard, with the run of a training."""
    ask(ctx, "command", _HELP, _print)


def _print(model: Model[Command], options: ListenOptions) -> None:
    for heard in model.task.listen(model.network, options):
        sys.stdout.write(f"{heard.seconds:.2f}\t{shown(heard.word)}\t{heard.probability:.2f}\n")
        sys.stdout.flush()
