"""What a wheel holds; `make try-wheel` installs one."""

from __future__ import annotations

from pathlib import Path

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def test_a_wheel_holds_every_file_of_the_package_and_nothing_else() -> None:
    held = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    package = ROOT / "src"
    there = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there
    assert {"anyrnn/tasks/templates/base.html", "anyrnn/py.typed"} <= held


def test_a_source_distribution_holds_what_its_tests_need() -> None:
    held = {file.relative_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert {"conftest.py", "constraints.txt", "Makefile"} <= held
    for folder in ("src", "tests", "docs", "examples", "benchmarks"):
        there = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*.py")
            if "_build" not in path.parts
        }
        assert there <= held
    assert {path.name for path in ROOT.glob("*.md")} <= held
