"""`anyrnn cells`: what is in the catalogue."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anyrnn.cells.catalogue import CATALOGUE, CellRecord
from anyrnn.errors import UnknownCellError

COLUMNS = ("cell", "states", "parameters", "recurrence", "what it is")
NARROW = 70  # columns of a terminal; below, a table has a word or less in each of its own


def cells(
    family: Annotated[
        str | None, typer.Option(help="Only the cells of one family, such as lstm.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="All that is known of each cell, as JSON.")
    ] = False,
) -> None:
    """List the cells of the catalogue: name, states, families of parameters, recurrence, source."""
    families = dict.fromkeys(record.family for record in CATALOGUE.records.values())
    if family is not None and family not in families:
        raise UnknownCellError(f"no family is called '{family}'; known: {', '.join(families)}")
    records = [r for r in CATALOGUE.records.values() if family in (None, r.family)]
    if as_json:
        typer.echo(json.dumps([*map(_known, records)], indent=2, ensure_ascii=False))
        return
    console = Console()
    rows = [_row(record) for record in records]
    if console.width < NARROW:
        for row in rows:
            for column, value in zip(COLUMNS, row, strict=True):
                console.print(f"[bold]{column}[/bold] {escape(value)}")
            console.print()
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _row(record: CellRecord) -> tuple[str, ...]:
    cell = CATALOGUE[record.name]
    parameters = ", ".join(stored.name for stored in cell.parameters)
    what = f"{record.summary} ({record.source})"
    return record.name, ", ".join(cell.states), parameters, record.recurrence, what


def _known(record: CellRecord) -> dict[str, object]:
    """What is known of a cell, as values that JSON can hold."""
    cell = CATALOGUE[record.name]
    parameters = {stored.name: list(stored.members) for stored in cell.parameters}
    return {**dataclasses.asdict(record), "states": cell.states, "parameters": parameters}
