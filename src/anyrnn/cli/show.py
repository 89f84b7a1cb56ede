"""`anyrnn show`: one cell, from its equations to its derivative."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
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
from anyrnn.kernels.target import target_for
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


class Machine(StrEnum):
    """What a schedule is for."""

    CPU = "cpu"
    GPU = "gpu"


class Element(StrEnum):
    """The types that GPUs compute in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


DEVICES = {Machine.CPU: "cpu", Machine.GPU: "cuda"}  # as PyTorch calls them
SIZE = 256  # that is not given


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
    target: Annotated[
        Machine | None,
        typer.Option(
            help="For a schedule: the machine; for a GPU, which need not be there, with the form, "
            "the tiles and the source of each kernel."
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help=f"For a GPU: a size, as hidden=512; {SIZE} for those not given."),
    ] = None,
    element: Annotated[
        Element | None, typer.Option("--type", help="For a GPU: the type of the arrays.")
    ] = None,
) -> None:
    """Print a cell: its equations, parameters with shapes and source; or its graph, derivative or
    schedule.
    """
    found = find(cell)
    if format is Format.LATEX and stage in (Stage.GRAPH, Stage.PASSES, Stage.SCHEDULE):
        raise CellError(f"a {stage} is listed as text only; leave out --format, or out --stage")
    for option, value in (("--memory", memory), ("--target", target)):
        if value is not None and stage is not Stage.SCHEDULE:
            raise CellError(f"{option} {value} changes a schedule only; add --stage schedule")
    for option, value in (("--size", size and size[0]), ("--type", element)):
        if value and target is not Machine.GPU:
            raise CellError(
                f"{option} {value} changes what a GPU runs only; add --stage schedule --target gpu"
            )
    graph = derivative(found.graph) if stage is Stage.DERIVATIVE else found.graph
    if stage is Stage.GRAPH:
        say(listing(graph))
    elif stage is Stage.PASSES:
        say(passes(found))
    elif stage is Stage.SCHEDULE:
        known = target_for(DEVICES[target or Machine.CPU])
        assert known is not None
        sizes = _sizes(found, size or ())
        given = found, memory or Memory.HIGH, sizes, element or Element.FLOAT32
        say(known.describe(*given))
    elif format is Format.LATEX:
        say(latex(graph))
    elif stage is Stage.DERIVATIVE:
        say(equations(graph))
    else:
        _overview(found)


def _sizes(cell: Cell, given: Iterable[str]) -> dict[str, int]:
    """The named sizes of a cell.

    Raises:
        CellError: One that is given is no size of the cell, or no number.
    """
    found = dict.fromkeys(cell.free_sizes, SIZE)
    for each in given:
        name, _, number = each.partition("=")
        if name not in found:
            raise CellError(f"--size {each}: the sizes of '{cell.name}' are {', '.join(found)}")
        if not number.isdecimal() or not int(number):
            raise CellError(f"--size {each}: expected a whole number of at least 1, as {name}=512")
        found[name] = int(number)
    return cell.bind_sizes(**found)


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
