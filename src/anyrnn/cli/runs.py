"""`anyrnn runs`: the runs that are there with their figures, and two of them side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE

from anyrnn.cli.terminal import say, say_json, say_table

if TYPE_CHECKING:
    from anyrnn.studies.listing import StudySummary
    from anyrnn.tasks.runs import Summary


def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER] | RUN RUN",
            help="A folder with runs or studies; or two runs to compare.",
            show_default="runs",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """List runs and studies with their figures, the last finished first; or compare two runs.

    [bold]Example:[/bold] anyrnn runs runs/small runs/large
    """
    from anyrnn.studies.listing import study_summaries
    from anyrnn.tasks.runs import summaries, summary

    given = folders or [Path("runs")]
    if len(given) == 1:
        studies = study_summaries(given[0])
        places = [each.folder for each in studies]
        found, skipped = summaries(given[0]) if given[0] not in places else ([], {})
        for place in places:
            skipped.pop(str(place), None)
        _list(found, studies, skipped, given[0], as_json)
    elif len(given) == 2:
        _compare(summary(given[0]), summary(given[1]), as_json)
    else:
        raise typer.BadParameter(f"one folder, or two runs to compare; {len(given)} were given")


def _list(
    found: list[Summary],
    studies: list[StudySummary],
    skipped: dict[str, str],
    folder: Path,
    as_json: bool,
) -> None:
    if as_json:
        plain = {"runs": found, "studies": studies}
        listed = {name: [each.plain() for each in some] for name, some in plain.items()}
        say_json({**listed, "skipped": skipped}, indent=2)
        return
    if not found and not studies:
        say(f"{folder} has no run and no study")
    # Runs of a task have the same figures, hence a table of their own.
    kinds = sorted({(each.task, *(f.heading for f in each.figures)) for each in found})
    for kind in kinds:
        rows = [each for each in found if (each.task, *(f.heading for f in each.figures)) == kind]
        _table(rows)
    if studies:
        rows = [
            (
                str(each.folder),
                f"{each.kind} {each.task}",
                str(each.trials),
                each.best or "",
                each.shown(),
                f"{each.date:%Y-%m-%d %H:%M}",
            )
            for each in studies
        ]
        columns = ("study", "command", "trials", "best", "figure (validation)", "date")
        say_table(columns, rows, right=("trials",), box=SIMPLE, title="studies")
    for path, reason in skipped.items():
        say(f"skipped {path}: {reason}", "dim", wrap=True)


def _table(found: list[Summary]) -> None:
    first = found[0]
    headings = [f"{figure.heading} ({first.measured_on})" for figure in first.figures]
    decides = f"{first.decides.heading} (validation)"
    rows = [
        (
            str(each.run),
            ", ".join(f"{cell} *" if cell == each.best_cell else cell for cell in each.cells),
            ", ".join(map(str, each.seeds)),
            each.decides.shown(each.deciding[each.best_cell]),
            *(each.shown(each.best_cell, figure) for figure in each.figures),
            f"{each.date:%Y-%m-%d %H:%M}",
        )
        for each in found
    ]
    say_table(
        ("run", "cells", "seeds", decides, *headings, "date"),
        rows,
        right=(decides, *headings),
        box=SIMPLE,
        title=first.task,
        caption="* the cell whose figures these are: the best on the validation data",
    )


def _compare(one: Summary, other: Summary, as_json: bool) -> None:
    from anyrnn.tasks.runs import differing_options

    options = differing_options(one, other)
    names = (str(one.run), str(other.run))
    if as_json:
        differing = {name: dict(zip(names, pair, strict=True)) for name, pair in options.items()}
        say_json({"runs": [one.plain(), other.plain()], "options": differing}, indent=2)
        return
    rows = [(name, *map(_shown, pair)) for name, pair in options.items()]
    say_table(("option", *names), rows, box=SIMPLE, title="Options that differ")
    rows = []
    for cell in dict.fromkeys([*one.cells, *other.cells]):
        sides = [each if cell in each.cells else None for each in (one, other)]
        values = [side.decides.shown(side.deciding[cell]) if side else "" for side in sides]
        headings = {each.decides.heading: None for each in (one, other)}
        if len(headings) == 1:
            rows.append((cell, f"{one.decides.heading} (validation)", *values))
        known = {figure.name: figure for each in (one, other) for figure in each.figures}
        for figure in known.values():
            values = [side.shown(cell, figure) if side else "" for side in sides]
            rows.append((cell, f"{figure.heading} ({one.measured_on})", *values))
    say_table(("cell", "figure", *names), rows, right=names, box=SIMPLE, title="Figures")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
