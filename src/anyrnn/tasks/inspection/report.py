"""The folder of an inspection: a page, pictures and numbers."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy

from anyrnn.errors import RunError, option_name
from anyrnn.files import beside, followed, writing
from anyrnn.inspect import Flow, GradientFlow, Persistence
from anyrnn.tasks.inspection.drawing import Picture
from anyrnn.tasks.inspection.findings import Findings
from anyrnn.tasks.inspection.pictures import pictures_of, visible
from anyrnn.tasks.inspection.words import heading, headings, said
from anyrnn.tasks.report import render_page
from anyrnn.tasks.run_files import read_json, versions, write_bytes, write_json, write_text
from anyrnn.tasks.words import Language

FORMAT = "anyrnn inspection"
_NUMBERS, _ARRAYS, _PAGE = "results.json", "values.npz", "report.html"
_OUTPUT, _OVERWRITE = option_name("output"), option_name("overwrite", True)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder whose content must stay.

    Raises:
        RunError: It is a file, or holds something that may not be replaced.
    """
    if not os.path.lexists(followed(folder)):
        return
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another {_OUTPUT}")
    if not os.listdir(folder):
        return
    if not overwrite:
        raise RunError(
            f"{folder} exists; choose another {_OUTPUT}, or replace it with {_OVERWRITE}"
        )
    if not _own(folder):
        raise RunError(
            f'{folder} is no inspection of anyrnn (no {_NUMBERS} in it says "format": "{FORMAT}"), '
            f"so it stays as it is; choose another {_OUTPUT}"
        )


def write(findings: Findings, folder: Path, of: Mapping[str, Any]) -> list[Path]:
    """Write the page, the pictures and the numbers; all of them are there, or none.

    Args:
        findings: What was found out.
        folder: Where; what an earlier inspection wrote there is replaced.
        of: The run and the cell, for readers.

    Returns:
        The files.

    Raises:
        WriteError: They cannot be written.
    """
    pictures = pictures_of(findings)
    drawn = [each for picture in pictures for each in picture.files()]
    names = [_PAGE, _NUMBERS, _ARRAYS, *(name for name, _ in drawn)]
    arrays = io.BytesIO()
    every: dict[str, Any] = {**findings.arrays()}
    numpy.savez_compressed(arrays, **every)
    place = followed(folder)
    new = beside(place)
    with writing(folder):
        new.mkdir(parents=True)
    try:
        for name, content in drawn:
            write_bytes(new / name, content)
        write_bytes(new / _ARRAYS, arrays.getvalue())
        write_text(new / _PAGE, page(findings, pictures, of))
        record = {"format": FORMAT, "files": names, **of, **findings.plain()}
        write_json(new / _NUMBERS, {**record, "versions": versions()})
        with writing(folder):
            _put(new, place, names)
    finally:
        _remove(new, names)
    return [folder / name for name in names]


def _put(new: Path, folder: Path, names: Sequence[str]) -> None:
    """Give the new folder its name, or its files to the one that is there."""
    if not os.path.lexists(folder) or not os.listdir(folder):
        with suppress(OSError):
            folder.rmdir()
        new.rename(folder)
        return
    for name in set(_own(folder)) - set(names):
        with suppress(OSError):
            (folder / name).unlink()
    for name in names:
        (new / name).replace(folder / name)


def _remove(folder: Path, names: Sequence[str]) -> None:
    with suppress(OSError):
        for name in names:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _own(folder: Path) -> list[str]:
    """The names of the files that an inspection wrote into a folder."""
    try:
        known = read_json(folder / _NUMBERS)
    except RunError:
        return []
    files = known.get("files")
    if known.get("format") != FORMAT or not isinstance(files, list):
        return []
    return [name for name in files if isinstance(name, str) and os.path.basename(name) == name]


def page(findings: Findings, pictures: Sequence[Picture], of: Mapping[str, Any]) -> str:
    """The page that shows the findings."""
    found = {picture.name: picture.inline() for picture in pictures}
    gates = [(p.label, found[p.name]) for p in pictures if p.name.startswith("gates")]
    examined, language = findings.examined, findings.examined.language
    survives, explained = findings.persistence, findings.saliency
    return render_page(
        "inspection.html",
        {
            "config": {"versions": versions()},
            "lang": {"en": "en", "zh": "zh-CN"}[language],
            "words": headings(language),
            "of": of,
            "about": said("about", language, **of, steps=len(examined.steps)),
            "findings": findings,
            "examined": examined,
            "gates": gates,
            "pictures": found,
            "tokens": _tokens(findings),
            "left": [_left(flow, language) for flow in (findings.gradient, survives) if flow],
            "integrated_explained": said(
                "integrated explained",
                language,
                zeros=explained.baseline_value,
                value=explained.value,
                gap=100 * explained.gap,
            ),
            "gradient": told(findings.gradient.whole, "gradient", language),
            "perturbation": survives and told(survives.whole, "perturbation", language),
            "notes_on_memory": [
                said(f"{key} explained", language)
                for key, there in (
                    ("gradient", True),
                    ("singular", findings.singular),
                    ("perturbation", survives),
                )
                if there
            ],
            "notes": [*examined.notes, *findings.notes],
        },
    )


def told(flow: Flow, what: Literal["gradient", "perturbation"], language: Language) -> str:
    """In a sentence, how long something lasts.

    Args:
        flow: What is left of it.
        what: It.
        language: The language of the sentence.
    """
    steps, count = flow.steps_left(), max(len(flow.share) - 1, 0)
    if not flow.share.any():
        return said(f"{what} is 0", language)
    if flow.verdict == "explodes":
        return said(f"{what} explodes", language, steps=count, times=flow.share.max())
    if steps is None:
        return said(f"{what} lasts", language, steps=count, percent=100 * flow.share[-1])
    return said(f"{what} vanishes", language, steps=steps)


def _left(flow: GradientFlow | Persistence, language: Language) -> str:
    """After how many steps 1 % is left."""
    steps = flow.steps_left()
    if steps is None:
        return heading("more steps", language)
    return said("steps after which", language, steps=steps)


def _tokens(findings: Findings) -> list[tuple[str, float, float]]:
    """Each token with its share of the largest integrated gradient, from -1 to 1, and the
    gradient itself; none if numbers or a picture are read.
    """
    examined = findings.examined
    if any(examined.read.grid) if examined.read else examined.values is not None:
        return []
    largest = float(numpy.abs(findings.integrated).max()) or 1.0
    values = findings.integrated.tolist()
    steps = examined.places
    return [
        (visible(step), value / largest, value) for step, value in zip(steps, values, strict=True)
    ]
