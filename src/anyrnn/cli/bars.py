"""Bars on a terminal while something long goes on, and lines above them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from anyrnn.cli.terminal import say, terminal


@contextmanager
def bars() -> Iterator[Progress]:
    """Bars that go when all is done; there are none where the output is no terminal."""
    console = terminal()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        yield progress


class Printer:
    """What every listener of a command does: it prints notes, and moves a bar while data are read.

    Args:
        progress: Where the bars are.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._preparations: dict[str, TaskID] = {}

    def say(self, text: str, style: str = "") -> None:
        """Print lines above the bars."""
        say(text, style, console=self.progress.console)

    def noted(self, text: str) -> None:
        """Something about the data or a choice that was made."""
        self.say(text, "dim")

    def preparing(self, what: str, done: int, total: int) -> None:
        """Large data are read, or put in another form: how much of how much was done."""
        if what not in self._preparations:
            self._preparations[what] = self.progress.add_task(what, total=total)
        self.progress.update(self._preparations[what], completed=done, total=total)
        if done >= total:
            self.progress.remove_task(self._preparations.pop(what))
