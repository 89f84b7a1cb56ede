"""The pages that say how anyrnn is made name files and functions that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mutations import BREAKAGES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "anyrnn"
STEP = re.compile(r"`([\w/]+\.py)`: `([\w.]+)`")


def names(path: Path) -> set[str]:
    """The functions, classes and methods of a file."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if hasattr(part, "name")}
    return found


def test_what_make_mutations_breaks_is_there() -> None:
    for each in BREAKAGES:
        each.find(PACKAGE)


@pytest.mark.parametrize("page", ["docs/design.md", "docs/design.zh-CN.md"])
def test_the_walk_of_a_parameter(page: str) -> None:
    steps = STEP.findall((ROOT / page).read_text("utf-8"))
    assert len(steps) >= 20
    for file, name in steps:
        assert name in names(PACKAGE / file), f"{page}: {file} has no {name}"


@pytest.mark.parametrize("page", ["docs/design.md", "docs/design.zh-CN.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    every = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    assert named
    missing = [
        name
        for name in sorted(named)
        if not any(known == name or known.endswith(f"/{name}") for known in every | tests)
    ]
    assert not missing, f"{page} names files that are not there"
