"""`anyrnn transcribe RUN FILE...`: what is said in recordings, by the network of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anyrnn.cli.options import CELL, RUN, chosen, command, flag_parameter, parameter, pass_on
from anyrnn.cli.terminal import shown
from anyrnn.errors import OptionError

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry
    from anyrnn.tasks.transcribe.scores import Word

_TIMES = flag_parameter(
    "times",
    bool,
    True,
    "--times/--no-times",
    help="After each text its words, each in a line with the seconds from which to which it lasts.",
)


def transcribe(ctx: typer.Context) -> None:
    """Write down what is said in recordings, with the network of a run."""
    pass_on(ctx, _command)


def _command(entries: Sequence[Entry]) -> Any:
    from anyrnn.tasks.options.declaration import declared
    from anyrnn.tasks.transcribe.options import PredictOptions

    def run(ctx: typer.Context, run: Path, cell: str | None, times: bool, **_: Any) -> None:
        from anyrnn.tasks.audio.options import PCM
        from anyrnn.tasks.trained import load
        from anyrnn.tasks.transcribe.task import Transcribe

        options = chosen(ctx, PredictOptions)
        model = load(run, cell, Transcribe)
        if PCM in map(str, options.recordings):
            if len(options.recordings) > 1:
                raise OptionError(f"{PCM} stands for standard input and goes with no file")
            for word in model.task.heard(model.network, options):
                _write(_timed(word) if times else shown(word.text))
            return
        for path, found in model.task.asked(model.network, options):
            _write(shown(f"{path}: {found.text}"))
            if times:
                _write(*map(_timed, found.words))

    help = (
        "Write down what is said in recordings, with the network of a run: a line for each "
        "recording, and one for each of its words with its times.\n\n"
        "[bold]Example:[/bold] anyrnn transcribe runs/spoken interview.wav\n\n"
        "[bold]From a microphone:[/bold] arecord -t raw -f S16_LE -r 16000 | anyrnn transcribe "
        "runs/spoken - --rate 16000"
    )
    return command(
        run, [RUN, *map(parameter, declared(PredictOptions)), CELL, _TIMES], "transcribe", help
    )


def _timed(word: Word) -> str:
    return f"{word.start:.2f}\t{word.end:.2f}\t{shown(word.text)}"


def _write(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
