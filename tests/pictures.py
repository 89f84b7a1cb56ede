"""Reports without drawn pictures: to draw them takes longer than the short trainings of tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TextIO

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG

CANVAS = "matplotlib.backends.backend_svg.FigureCanvasSVG"


class Blank:
    """In the place of matplotlib's: a figure is made, and not drawn."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def print_svg(self, file: TextIO, **_: Any) -> None:
        file.write("<svg></svg>")


@pytest.fixture(scope="module", autouse=True)
def _no_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CANVAS, Blank)
        yield


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw them in this test."""
    monkeypatch.setattr(CANVAS, FigureCanvasSVG)
