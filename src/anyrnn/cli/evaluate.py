"""`anyrnn evaluate RUN`: how good the model of a run is on a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE

from anyrnn.cli.options import (
    CELL,
    RUN,
    WEIGHTS,
    command,
    flag_parameter,
    given,
    options_of,
    parameter,
    pass_on,
)
from anyrnn.cli.terminal import say, say_json, say_table

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry
    from anyrnn.tasks.trained import Evaluation

_DIGITS = (2, 4)  # in per cent, and otherwise
_JSON = flag_parameter("json", bool, False, help="Print JSON instead of tables.")


def evaluate(ctx: typer.Context) -> None:
    """Measure the model of a run on a file with the right answers."""
    pass_on(ctx, _command)


def _command(entries: Sequence[Entry]) -> Any:
    found = [
        option
        for option in options_of(entries, lambda entry: entry.options)
        if option.path.startswith(("data.", "decoding."))
        and option.declaration.evaluation != "left out"
    ]

    def run(
        ctx: typer.Context,
        run: Path,
        cell: str | None,
        weights: str | None,
        json: bool,
        **_: Any,
    ) -> None:
        from anyrnn.tasks.trained import evaluate

        evaluation = evaluate(run, given(ctx, found), cell=cell, weights=weights)
        if json:
            say_json(_plain(evaluation), indent=2)
            return
        for words in _skipped(evaluation.facts):
            say(words, "dim", wrap=True)
        _print_scores(evaluation)

    made = [parameter(option, as_trained=True) for option in found]
    help = (
        "Measure the model of a run on a file with the right answers.\n\n"
        "[bold]Example:[/bold] anyrnn evaluate runs/reviews --data test.csv"
    )
    return command(run, [RUN, *made, CELL, WEIGHTS, _JSON], "evaluate", help)


def _plain(evaluation: Evaluation) -> dict[str, object]:
    scores = evaluation.scores.plain()
    named = {"cell": evaluation.model.cell, **evaluation.facts}
    named[evaluation.model.task.units] = scores.pop("count")
    return {**named, **scores.pop("figures"), **scores}


def _skipped(facts: Mapping[str, object]) -> Iterator[str]:
    reasons = facts.get("skipped")
    if isinstance(reasons, Mapping) and reasons:
        yield "skipped rows: " + ", ".join(f"{count:,} {why}" for why, count in reasons.items())


def _print_scores(evaluation: Evaluation) -> None:
    task, scores = evaluation.model.task, evaluation.scores
    columns = (task.units, *(figure.heading for figure in task.shown_figures()))
    measured = {evaluation.model.cell: scores.figures, **scores.baselines}
    rows = [
        (name, f"{scores.count:,}", *task.shown(reached, _DIGITS))
        for name, reached in measured.items()
    ]
    say_table(("cell", *columns), rows, right=columns, box=SIMPLE)
    for table in task.tables(scores):
        numbers = table.columns[1:] if table.numbers else ()
        say_table(table.columns, table.rows, right=numbers, box=SIMPLE)
