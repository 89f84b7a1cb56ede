"""The kernels of a cell for a reader: the form of each loop, its tiles, and its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from anyrnn.graph.cell import Cell
from anyrnn.kernels.gpu.form import Loop
from anyrnn.kernels.gpu.source import LoopSource
from anyrnn.schedule.forms import Policy
from anyrnn.schedule.show import describe as describe_schedule

FORMS = {
    Loop.SCAN: "a scan over time: a program for each sequence and tile of units goes over chunks "
    "of steps",
    Loop.RESIDENT: "one program for each tile of {rows} sequences goes over all steps, with the "
    "matrices on the chip",
    Loop.TIME: "one program for each tile of {rows} sequences goes over all steps",
    Loop.STEPS: "each stage of each step is a launch over tiles of {rows} sequences and of units",
}


def form_lines(source: LoopSource) -> Iterator[str]:
    """The form of a loop, and how each of its kernels is cut."""
    form = source.form
    yield FORMS[form.loop].format(rows=form.rows)
    for kernel in source.kernels:
        parts = [f"{cut.units} units" for cut in kernel.cuts]
        for place, cut in enumerate(kernel.cuts):
            what = "steps" if form.loop is Loop.SCAN else "terms of a product"
            parts[place] += f" x {cut.terms} {what}" if cut.terms else ""
        yield f"  {kernel.name}: tiles of {', '.join(parts)}" if parts else f"  {kernel.name}"


def describe(
    cell: Cell,
    memory: str,
    policy: Policy,
    sizes: Mapping[str, int],
    sources: Iterable[LoopSource],
) -> str:
    """The schedule of a cell, the forms of its loops and their source.

    Args:
        cell: The cell.
        memory: What is saved for the derivative.
        policy: What is outside the loop, and what inside.
        sizes: The named sizes as numbers.
        sources: The loop forwards and the loop back.
    """
    lines = [describe_schedule(cell, memory, policy)]
    given = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    for direction, source in zip(("forward", "backward"), sources, strict=True):
        lines += ["", f"kernels, {direction}, for {given} in {source.form.element}"]
        lines += [f"  {line}" for line in form_lines(source)]
        lines += ["", source.text.rstrip()]
    return "\n".join(lines)
