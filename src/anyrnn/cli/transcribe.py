"""`anyrnn transcribe RUN FILE...`: what is said in recordings, by the network of a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from anyrnn.cli.options import ask
from anyrnn.cli.terminal import shown
from anyrnn.errors import OptionError

if TYPE_CHECKING:
    from anyrnn.tasks.trained import Model
    from anyrnn.tasks.transcribe.options import TranscribeOptions
    from anyrnn.tasks.transcribe.scores import Word
    from anyrnn.tasks.transcribe.task import Transcribe

_HELP = (
    "Write down what is said in recordings, with the network of a run: a line for each "
    "recording, and one for each of its words with its times.\n\n"
    "[bold]Example:[/bold] anyrnn transcribe runs/spoken interview.wav\n\n"
    "[bold]From a microphone:[/bold] arecord -t raw -f S16_LE -r 16000 | anyrnn transcribe "
    "runs/spoken - --rate 16000"
)


def transcribe(ctx: typer.Context) -> None:
    """Write down what is said in recordings, with the network of a run."""
    ask(ctx, "transcribe", _HELP, _print)


def _print(model: Model[Transcribe], options: TranscribeOptions) -> None:
    from anyrnn.tasks.audio.options import PCM

    if PCM in map(str, options.recordings):
        if len(options.recordings) > 1:
            raise OptionError(f"{PCM} stands for standard input and goes with no file")
        for word in model.task.heard(model.network, options):
            _write(_timed(word) if options.times else shown(word.text))
        return
    for path, found in model.task.asked(model.network, options):
        _write(shown(f"{path}: {found.text}"))
        if options.times:
            _write(*map(_timed, found.words))


def _timed(word: Word) -> str:
    return f"{word.start:.2f}\t{word.end:.2f}\t{shown(word.text)}"


def _write(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
