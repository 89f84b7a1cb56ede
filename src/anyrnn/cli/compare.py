"""`anyrnn compare TASK`: which recurrent cell to use, on the user's own files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE

from anyrnn.cli.bars import bars
from anyrnn.cli.options import Sources, command, given, parameter, telling
from anyrnn.cli.task_commands import FROM_FILE, task_app
from anyrnn.cli.terminal import say, say_table
from anyrnn.errors import OptionError, option_name

if TYPE_CHECKING:
    from anyrnn.studies.comparison.compare import Comparison
    from anyrnn.tasks.options.declaration import Option
    from anyrnn.tasks.registry import Entry

_HELP = (
    "Say which recurrent cell to use for a task, on your own files: every cell on the same data, "
    "with a learning rate of its own, from several seeds."
)
# Trainings of a comparison run beside each other, each in one process.
_LEFT_OUT = ("devices", "nodes", "node_rank", "rendezvous", "tensorboard")


def _command(entry: Entry) -> Any:
    from anyrnn.studies.comparison.options import CELLS, SEEDS, CompareOptions
    from anyrnn.studies.options import StudyOptions
    from anyrnn.tasks.options.declaration import declared

    options = [_compared(found) for found in declared(entry.options)]
    own, kept = list(declared(CompareOptions)), list(declared(StudyOptions))
    shown = [found for found in options if found.name not in _LEFT_OUT]

    def compare(ctx: typer.Context, config: Path | None, set: list[str], **_: Any) -> None:
        flags = given(ctx, shown)
        if "cells" in flags:
            flags["cells"] = _separated(flags["cells"])
        defaults = {"cells": CELLS, "training.seeds": SEEDS}
        sources = Sources(
            entry.options, config, set, flags, defaults=defaults, found=[*options, *own, *kept]
        )
        with telling(sources.flag):
            choices = _with_fixed_rate(given(ctx, own), flags, sources)
            _compare(sources.options(), CompareOptions(**choices), StudyOptions(**given(ctx, kept)))

    about = (
        f"{_HELP}\n\n[bold]Example:[/bold] anyrnn compare {entry.name} "
        f"{entry.example.split(' --cell ')[0]} --cells rnn,lstm,gru\n\n"
        "Writes the folder of a study: report.html, results.json and a run for each training."
    )
    parameters = [*map(parameter, [*own, *kept, *shown]), *FROM_FILE]
    return command(compare, parameters, entry.name, about)


app = task_app(_command, _HELP)


def _compared(found: Option) -> Option:
    """An option of a task as a comparison has it."""
    from anyrnn.studies.comparison.options import CELLS, SEEDS

    changes: dict[str, Any] = {}
    if found.name == "cells":
        changes = {
            "default": CELLS,
            "flags": ("--cells", "--cell"),
            "metavar": "NAMES",
            "help": "The recurrent cells, with commas between them; the first one is the one that "
            "sizes are made equal to. See [bold]anyrnn cells[/bold].",
            "shown": ",".join(CELLS),
        }
    elif found.name == "seeds":
        changes = {
            "default": SEEDS,
            "help": "The number of trainings of each cell that are compared, each from the next "
            "seed.",
        }
    declaration = dataclasses.replace(found.declaration, **changes)
    return dataclasses.replace(found, declaration=declaration)


def _separated(names: Iterable[str]) -> tuple[str, ...]:
    """The names between commas."""
    found = (part.strip() for name in names for part in name.split(","))
    return tuple(name for name in found if name)


def _with_fixed_rate(
    choices: Mapping[str, Any], flags: Mapping[str, Any], sources: Sources
) -> dict[str, Any]:
    """The choices of a comparison; a learning rate that is given is that of every cell.

    Raises:
        OptionError: Rates to try are given beside it.
    """
    place = sources.given_in_place("learning_rate")
    if "learning_rate" not in flags and place != " in --set":
        return dict(choices)
    if "rates" in choices:
        raise OptionError(
            f"{option_name('rates')} has no effect with {option_name('learning_rate')}, which is "
            "that of every cell; leave one of them out"
        )
    return {**choices, "fixed_rate": True}


def _compare(options: Any, choices: Any, kept: Any) -> None:
    from anyrnn.cli.studies import TrialPrinter
    from anyrnn.studies.comparison.compare import compare

    with bars() as progress:
        comparison = compare(options, choices, kept, listener=TrialPrinter(progress))
    _print(comparison, choices.language)


def _print(comparison: Comparison, language: Any) -> None:
    from anyrnn.studies.comparison.report import explanation, tables

    for columns, rows in tables(comparison, language):
        starred = [
            (f"{row[0]} *" if row[0] == comparison.recommended else row[0], *row[1:])
            for row in rows
        ]
        say_table(columns, starred, right=columns[1:], box=SIMPLE)
    say(explanation(comparison, language), "dim italic", wrap=True)
    advice = comparison.advice(language)
    say()
    say(advice.recommendation, "bold", wrap=True)
    for mark, texts in (("+", advice.reasons), ("?", advice.doubts)):
        for text in texts:
            say(f"{mark} {text}", wrap=True)
    say()
    say(f"study: {comparison.folder}")
    say(f"report: {comparison.folder / 'report.html'}")
