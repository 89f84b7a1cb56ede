"""`anyrnn evaluate RUN`: how well the model of a run labels a file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

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
        typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
        return
    console = Console()
    if evaluation.skipped:
        listing = ", ".join(f"{count:,} {why}" for why, count in evaluation.skipped.items())
        console.print(f"skipped rows: {listing}", style="dim", markup=False, highlight=False)
    _print_scores(console, evaluation.cell, evaluation.scores)


def _print_scores(console: Console, cell: str, scores: Scores) -> None:
    summary = Table(box=SIMPLE, header_style="bold")
    summary.add_column("cell")
    for column in ("texts", "accuracy %", "macro F1 %", "loss"):
        summary.add_column(column, justify="right")
    summary.add_row(
        cell,
        f"{scores.texts:,}",
        f"{100 * scores.accuracy:.2f}",
        f"{100 * scores.macro_f1:.2f}",
        f"{scores.loss:.4f}",
    )
    console.print(summary)
    classes = Table(box=SIMPLE, header_style="bold")
    classes.add_column("label", overflow="fold")
    for column in ("precision %", "recall %", "F1 %", "texts"):
        classes.add_column(column, justify="right")
    for one in scores.classes:
        shares = (f"{100 * share:.1f}" for share in (one.precision, one.recall, one.f1))
        classes.add_row(escape(one.label), *shares, f"{one.texts:,}")
    console.print(classes)
