"""Reports without drawn pictures: to draw them takes longer than the short trainings of tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG

CANVASES = {
    "matplotlib.backends.backend_svg.FigureCanvasSVG": FigureCanvasSVG,
    "matplotlib.backends.backend_agg.FigureCanvasAgg": FigureCanvasAgg,
}


class Blank:
    """In the place of matplotlib's: a figure is made, and not drawn."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def print_svg(self, file: TextIO, **_: Any) -> None:
        file.write("<svg></svg>")

    def print_png(self, file: BinaryIO, **_: Any) -> None:
        file.write(b"\x89PNG")


@pytest.fixture(scope="module", autouse=True)
def _no_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in CANVASES:
            patch.setattr(name, Blank)
        yield


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw them in this test."""
    for name, canvas in CANVASES.items():
        monkeypatch.setattr(name, canvas)
