"""The program that draws README's picture runs, briefly."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "gates.py"


def test_a_picture_of_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    path = tmp_path / "gates.png"
    runpy.run_path(str(PROGRAM))["main"](str(path), "2")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.startswith("mean square error 0.")
