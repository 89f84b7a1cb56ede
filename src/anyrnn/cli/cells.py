"""`anyrnn cells`: what is in the catalogue."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from anyrnn.cells.catalogue import CATALOGUE, CellRecord
from anyrnn.cli.terminal import say_json, say_table
from anyrnn.errors import UnknownCellError

COLUMNS = ("cell", "states", "parameters", "recurrence", "what it is")


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
        say_json([*map(_known, records)], indent=2)
    else:
        say_table(COLUMNS, [_row(record) for record in records])


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
