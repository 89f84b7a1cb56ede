"""`anyrnn show`: one cell, from its equations to its derivative."""

from __future__ import annotations

import runpy
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anyrnn.cells.catalogue import get
from anyrnn.cli.terminal import say, say_table
from anyrnn.derivative.reverse import derivative
from anyrnn.errors import AnyrnnError, CellError, DataError
from anyrnn.graph.cell import Cell
from anyrnn.graph.show import equations, latex, listing
from anyrnn.schedule.show import describe
from anyrnn.schedule.show_passes import passes


class Stage(StrEnum):
    """The forms on the way from equations to code."""

    EQUATIONS = "equations"
    GRAPH = "graph"
    DERIVATIVE = "derivative"
    PASSES = "passes"
    SCHEDULE = "schedule"


class Memory(StrEnum):
    """How much is kept for the derivative."""

    HIGH = "high"
    LOW = "low"


class Format(StrEnum):
    """How equations are written."""

    TEXT = "text"
    LATEX = "latex"


def find(name: str) -> Cell:
    """A cell by its name in the catalogue, or as FILE.py:NAME from a file of one's own."""
    path, separator, own = name.rpartition(":")
    if not separator or not path.endswith(".py"):
        return get(name)
    if not Path(path).is_file():
        raise DataError(f"no file '{path}'")
    try:
        names = runpy.run_path(path)
    except AnyrnnError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's own file raises
        raise DataError(f"'{path}' does not run: {type(error).__name__}: {error}") from error
    cells = {key: value for key, value in names.items() if isinstance(value, Cell)}
    if own not in cells:
        raise CellError(f"'{path}' has no cell '{own}'; its cells: {', '.join(cells) or 'none'}")
    return cells[own]


def show(
    cell: Annotated[
        str, typer.Argument(help="A name from 'anyrnn cells', or FILE.py:NAME for a cell of yours.")
    ],
    stage: Annotated[
        Stage,
        typer.Option(
            help="The equations, the graph node by node, the derivative, what each pass of the "
            "schedule makes, or what is computed when."
        ),
    ] = Stage.EQUATIONS,
    format: Annotated[Format, typer.Option(help="Plain text or LaTeX.")] = Format.TEXT,
    memory: Annotated[
        Memory | None,
        typer.Option(help="For a schedule: what the derivative reads is kept, or the states only."),
    ] = None,
) -> None:
    """Print a cell: its equations, parameters with shapes and source; or its graph, derivative or
    schedule.
    """
    found = find(cell)
    if format is Format.LATEX and stage in (Stage.GRAPH, Stage.PASSES, Stage.SCHEDULE):
        raise CellError(f"a {stage} is listed as text only; leave out --format, or out --stage")
    if memory is not None and stage is not Stage.SCHEDULE:
        raise CellError(f"--memory {memory} changes a schedule only; add --stage schedule")
    graph = derivative(found.graph) if stage is Stage.DERIVATIVE else found.graph
    if stage is Stage.GRAPH:
        say(listing(graph))
    elif stage is Stage.PASSES:
        say(passes(found))
    elif stage is Stage.SCHEDULE:
        say(describe(found, memory or Memory.HIGH))
    elif format is Format.LATEX:
        say(latex(graph))
    elif stage is Stage.DERIVATIVE:
        say(equations(graph))
    else:
        _overview(found)


def _overview(cell: Cell) -> None:
    say(cell.name, "bold")
    for paragraph in cell.documentation.split("\n\n"):
        say(" ".join(paragraph.split()), wrap=True)
    say()
    say(equations(cell.graph))
    say()
    rows = []
    for stored in cell.parameters:
        shape = " x ".join(
            f"({size})" if " + " in str(size) else str(size) for size in stored.shape
        )
        rows.append((stored.name, shape, ", ".join(stored.members)))
    say_table(("parameter", "shape", "stacked from"), rows)
    if cell.hyperparameters:
        values = ", ".join(f"{name} = {value}" for name, value in cell.hyperparameters.items())
        say(f"\nhyperparameters: {values}", wrap=True)
    if cell.unused:
        say(f"\nwithout influence, left out: {', '.join(cell.unused)}", wrap=True)
