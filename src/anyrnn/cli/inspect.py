"""`anyrnn inspect RUN`: what goes on in a network of a run while it reads an input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE

from anyrnn.cli.options import CELL, RUN, chosen, command, flag_parameter, parameter, pass_on
from anyrnn.cli.terminal import say, say_json, say_table

if TYPE_CHECKING:
    from anyrnn.tasks.inspection.findings import Findings
    from anyrnn.tasks.inspection.inspecting import Inspection

_JSON = flag_parameter("json", bool, False, help="Print JSON instead of tables.")
_HELP = (
    "Look into a network of a run while it reads an input: gates over time and how saturated they "
    "are, what the answer rests on, how far back the gradient reaches, how long a perturbation "
    "survives, eigenvalues. Writes a page, pictures (PNG, SVG) and numbers (JSON, npz).\n\n"
    '[bold]Example:[/bold] anyrnn inspect runs/reviews --input "a film that never lets go of you"'
)


def inspect(ctx: typer.Context) -> None:
    """Look into a network of a run while it reads an input: gates, saliency, gradients, memory."""
    pass_on(ctx, lambda entries: _command())


def _command() -> Any:
    from anyrnn.tasks.inspection.options import InspectOptions
    from anyrnn.tasks.options.declaration import declared

    def run(ctx: typer.Context, run: Path, cell: str | None, json: bool, **_: Any) -> None:
        from anyrnn.tasks.inspection.inspecting import inspect

        found = inspect(run, chosen(ctx, InspectOptions), cell)
        if json:
            say_json(found.findings.plain(), indent=2)
        else:
            _print(found)

    options = map(parameter, declared(InspectOptions))
    return command(run, [RUN, *options, CELL, _JSON], "inspect", _HELP)


def _print(inspection: Inspection) -> None:
    from anyrnn.tasks.inspection.report import told
    from anyrnn.tasks.inspection.words import heading, said

    found = inspection.findings
    language = found.examined.language
    say(f"{found.examined.title}", "bold", wrap=True)
    say(found.examined.answer, wrap=True)
    for note in (*found.examined.notes, *found.notes):
        say(note, "dim", wrap=True)
    _print_saliency(found)
    limits = found.gates.limits
    rows = [
        (name, limits[name].activation, f"{100 * each.low:.1f}", f"{100 * each.high:.1f}")
        for name, each in found.gates.saturation.items()
    ]
    names = ("value", "activation", "near low", "near high")
    value, activation, low, high = (heading(name, language) for name in names)
    columns = (value, activation, f"{low} %", f"{high} %")
    title = heading("saturation", language)
    say_table(columns, rows, right=columns[2:], box=SIMPLE, title=title)
    say(told(found.gradient.whole, "gradient", language), wrap=True)
    if found.persistence is not None:
        say(told(found.persistence.whole, "perturbation", language), wrap=True)
    for each in found.spectra:
        say(said("radius", language, matrix=each.name, radius=each.radius))
    say(f"see {inspection.files[0]}")


def _print_saliency(found: Findings) -> None:
    from anyrnn.tasks.inspection.words import heading, said

    order = sorted(range(len(found.integrated)), key=lambda step: -abs(found.integrated[step]))
    rows = [
        (
            str(step + 1),
            found.examined.places[step],
            f"{found.integrated[step]:+.3f}",
            f"{found.gradient_times_input[step]:+.3f}",
        )
        for step in order[:10]
    ]
    language = found.examined.language
    names = ("number", "input", "integrated", "gradient x input")
    columns = tuple(heading(name, language) for name in names)
    title = said("adds most", language, explained=found.examined.explained)
    say_table(columns, rows, right=(columns[0], *columns[2:]), box=SIMPLE, title=title)
