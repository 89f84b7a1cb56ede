"""`anyrnn evaluate RUN`: how good the model of a run is on a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE

from anyrnn.cli.options import (
    CELL,
    RUN,
    command,
    flag_parameter,
    given,
    options_of,
    parameter,
    pass_on,
)
from anyrnn.cli.terminal import say, say_json, say_table

if TYPE_CHECKING:
    from anyrnn.tasks.classify import Scores
    from anyrnn.tasks.registry import Entry

_JSON = flag_parameter("json", bool, False, help="Print JSON instead of tables.")


def evaluate(ctx: typer.Context) -> None:
    """Measure the model of a run on a file with the right answers."""
    pass_on(ctx, _command)


def _command(entries: Sequence[Entry]) -> Any:
    found = [
        option
        for option in options_of(entries, lambda entry: entry.options)
        if option.path.startswith("data.") and option.declaration.evaluation != "left out"
    ]

    def run(ctx: typer.Context, run: Path, cell: str | None, json: bool, **_: Any) -> None:
        from anyrnn.tasks.registry import entry_of_run

        evaluation = entry_of_run(run).commands.evaluate(run, cell, given(ctx, found))
        if json:
            values = {"cell": evaluation.cell, "skipped": evaluation.skipped}
            say_json(values | asdict(evaluation.scores), indent=2)
            return
        if evaluation.skipped:
            listing = ", ".join(f"{count:,} {why}" for why, count in evaluation.skipped.items())
            say(f"skipped rows: {listing}", "dim", wrap=True)
        _print_scores(evaluation.cell, evaluation.scores)

    made = [parameter(option, as_trained=True) for option in found]
    help = (
        "Measure the model of a run on a file with the right answers.\n\n"
        "[bold]Example:[/bold] anyrnn evaluate runs/reviews --data test.csv"
    )
    return command(run, [RUN, *made, CELL, _JSON], "evaluate", help)


def _print_scores(cell: str, scores: Scores) -> None:
    figures = (
        f"{scores.texts:,}",
        f"{100 * scores.accuracy:.2f}",
        f"{100 * scores.macro_f1:.2f}",
        f"{scores.loss:.4f}",
    )
    columns = ("texts", "accuracy %", "macro F1 %", "loss")
    say_table(("cell", *columns), [(cell, *figures)], right=columns, box=SIMPLE)
    rows = []
    for one in scores.classes:
        shares = (f"{100 * share:.1f}" for share in (one.precision, one.recall, one.f1))
        rows.append((one.label, *shares, f"{one.texts:,}"))
    columns = ("precision %", "recall %", "F1 %", "texts")
    say_table(("label", *columns), rows, right=columns, box=SIMPLE)
