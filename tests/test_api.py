"""Every public name has a docstring, and is in the reference."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import anyrnn.errors

REFERENCE = Path(__file__).parents[1] / "docs" / "api.md"
NAMED = re.findall(r"^\.\. auto\w+:: ([\w.]+)", REFERENCE.read_text("utf-8"), re.MULTILINE)
ERRORS = [f"anyrnn.errors.{name}" for name in vars(anyrnn.errors) if name.endswith(("or", "ing"))]


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    "module",
    ["anyrnn", "anyrnn.torch", "anyrnn.inspect", "anyrnn.keras", "anyrnn.tasks", "anyrnn.studies"],
)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    pytest.importorskip(module.rpartition(".")[2])
    public = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    described = {
        name for name in public if inspect.isroutine(o := found(name)) or inspect.isclass(o)
    }
    text = REFERENCE.read_text("utf-8")
    assert described <= {*NAMED, "anyrnn.AnyrnnError"}
    assert all(f"`{name}`" in text for name in public - described)


def test_every_error_is_in_the_reference() -> None:
    assert set(ERRORS) == {name for name in NAMED if name.startswith("anyrnn.errors.")}


def test_what_the_reference_names_has_a_docstring() -> None:
    pytest.importorskip("keras")
    assert [name for name in NAMED if not (found(name).__doc__ or "").strip()] == []
