"""Inspect a network of a run: read the input, find out, write the folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from anyrnn.tasks.inspection.findings import Findings, look_into
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.report import check_folder, write
from anyrnn.tasks.trained import load


@dataclass(frozen=True)
class Inspection:
    """What an inspection gave.

    Attributes:
        findings: What was found out.
        files: The files that were written.
    """

    findings: Findings
    files: list[Path]


def inspect(
    run: Path | str,
    options: InspectOptions,
    cell: str | None = None,
    noted: Callable[[str], None] = lambda words: None,
) -> Inspection:
    """Look into a network of a run on an input, and write report, pictures and numbers.

    Args:
        run: The folder that `train` wrote.
        options: The input, and where to write.
        cell: Which of the run's networks; by default the best one on the validation data.
        noted: Called with what is computed next.

    Raises:
        RunError: The run cannot be used, or the folder holds something else.
        OptionError: The task has no such thing, or an option does not fit.
        DataError: The input cannot be read or used.
        InputError: The memory that is free does not suffice for the gradient.
    """
    check_folder(options.output, options.overwrite)
    model = load(run, cell)
    examined = model.task.examined(model.network, options)
    examined = replace(examined, language=options.language)
    findings = look_into(examined, noted)
    noted("pictures")
    about = {"run": str(run), "task": model.task.name, "cell": model.cell}
    return Inspection(findings, write(findings, options.output, about))
