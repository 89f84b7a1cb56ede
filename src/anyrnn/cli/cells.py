"""`anyrnn cells`: what is in the catalogue."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anyrnn.cells.catalogue import CATALOGUE


def cells() -> None:
    """List the cells of the catalogue: name, states, families of parameters, source."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("cell", "states", "parameters", "what it is"):
        table.add_column(column, overflow="fold")
    for name, cell in CATALOGUE.items():
        parameters = ", ".join(stored.name for stored in cell.parameters)
        summary = " ".join(cell.documentation.split("\n\n")[0].split())
        table.add_row(name, ", ".join(cell.states), parameters, escape(summary))
    Console().print(table)
