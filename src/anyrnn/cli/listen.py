"""`anyrnn listen RUN FILE`: the words that are heard in a stream of sound."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anyrnn.cli.options import CELL, RUN, chosen, command, flag, parameter, pass_on, telling
from anyrnn.cli.terminal import shown

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry


def listen(ctx: typer.Context) -> None:
    """Tell the words in a stream of sound as they are heard, with the run of a training."""
    pass_on(ctx, _command)


def _command(entries: Sequence[Entry]) -> Any:
    from anyrnn.tasks.command.options import ListenOptions
    from anyrnn.tasks.options.declaration import declared

    def run(ctx: typer.Context, run: Path, cell: str | None, **_: Any) -> None:
        from anyrnn.tasks.command.task import Command
        from anyrnn.tasks.trained import load

        with telling(lambda name: "FILE" if name == "recording" else flag(name)):
            options = chosen(ctx, ListenOptions)
        model = load(run, cell, Command)
        for heard in model.task.listen(model.network, options):
            sys.stdout.write(f"{heard.seconds:.2f}\t{shown(heard.word)}\t{heard.probability:.2f}\n")
            sys.stdout.flush()

    help = (
        "Tell the words in a stream of sound as they are heard: a line for each, with the time in "
        "seconds before and the probability behind.\n\n"
        "[bold]Example:[/bold] anyrnn listen runs/words kitchen.wav\n\n"
        "[bold]From a microphone:[/bold] arecord -t raw -f S16_LE -r 16000 | anyrnn listen "
        "runs/words - --rate 16000"
    )
    return command(run, [RUN, *map(parameter, declared(ListenOptions)), CELL], "listen", help)
