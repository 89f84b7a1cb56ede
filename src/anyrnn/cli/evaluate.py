"""`anyrnn evaluate RUN`: how well the model of a run labels a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE

from anyrnn.cli.terminal import say, say_json, say_table

if TYPE_CHECKING:
    from anyrnn.tasks.classify import Scores


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.", show_default=False)],
    data: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Texts with labels: CSV, TSV, JSON lines or parquet."),
    ],
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which model of the run.", show_default="the best on validation"
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of the texts.", show_default="as trained"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of the labels.", show_default="as trained"),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The file's encoding.", show_default="as trained"),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            metavar="CHARACTER", help="What separates the columns.", show_default="as trained"
        ),
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="The first line names the columns.",
            show_default="as trained",
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows without text or label.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure the model of a run on a file with labels.

    [bold]Example:[/bold] anyrnn evaluate runs/reviews --data test.csv
    """
    from anyrnn.tasks.classify import evaluate_file

    evaluation = evaluate_file(
        run,
        data,
        cell=cell,
        text=text,
        label=label,
        encoding=encoding,
        separator=separator,
        header=header,
        skip_bad=skip_bad,
    )
    if as_json:
        values = {"cell": evaluation.cell, "skipped": evaluation.skipped}
        values |= asdict(evaluation.scores)
        say_json(values, indent=2)
        return
    if evaluation.skipped:
        listing = ", ".join(f"{count:,} {why}" for why, count in evaluation.skipped.items())
        say(f"skipped rows: {listing}", "dim", wrap=True)
    _print_scores(evaluation.cell, evaluation.scores)


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
