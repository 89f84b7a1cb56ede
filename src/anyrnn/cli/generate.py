"""`anyrnn generate RUN`: texts that the language model of a run writes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from anyrnn.cli.options import ask
from anyrnn.cli.terminal import say, shown
from anyrnn.errors import DataError

if TYPE_CHECKING:
    from anyrnn.tasks.generate.options import WritingOptions
    from anyrnn.tasks.generate.sampling import Writing
    from anyrnn.tasks.generate.task import Generate
    from anyrnn.tasks.trained import Model

_CHOICES = 9
_HELP = (
    "Write texts with the language model of a run, as fast as they are made.\n\n"
    '[bold]Example:[/bold] anyrnn generate runs/book --prompt "It was" --temperature 0.7'
)


def generate(ctx: typer.Context) -> None:
    """Write texts with the language model of a run."""
    ask(ctx, "generate", _HELP, _print)


def _print(model: Model[Generate], options: WritingOptions) -> None:
    for writing in model.task.writings(model.network, options, options.count):
        if options.interactive:
            _choose(writing)
            continue
        _write([writing.text])
        _write(writing.pieces())
        _write(["\n"])


def _write(pieces: Iterable[str]) -> None:
    """Print pieces of a text at once; only line ends and tabs steer the terminal."""
    for piece in pieces:
        sys.stdout.write(re.sub(r"[^\n\t]+", lambda found: shown(found[0]), piece))
        sys.stdout.flush()


def _choose(writing: Writing) -> None:
    """Ask for each next token, until the text or the input ends, or the input says q."""
    going_on = True
    while going_on:
        _write(["\n", writing.text, "\n"])
        choices = writing.likeliest(_CHOICES)
        for number, (_, token, chance) in enumerate(choices, start=1):
            say(f"{number}  {token!r:<14} {chance:6.1%}")
        _write(["a number, or text to go on with; Enter draws, q ends: "])
        answer = sys.stdin.readline() if sys.stdin else ""
        if answer.strip() == "q" or not answer:
            break
        answer = answer.rstrip("\n")
        if answer.isdecimal() and 1 <= int(answer) <= len(choices):
            going_on = writing.take(choices[int(answer) - 1][0]) is not None
        elif answer:
            _add(writing, answer)
        else:
            going_on = writing.draw() is not None
    _write(["\n", writing.text, "\n"])


def _add(writing: Writing, text: str) -> None:
    """Go on with what the user has typed; what the model does not know is told."""
    try:
        writing.add(text)
    except DataError as error:
        say(str(error), wrap=True)
