"""How pictures of an inspection are drawn: for a page in its colours, and for files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from anyrnn.tasks.inspection.words import heading
from anyrnn.tasks.report import FAINT_COLOUR, SERIES_COLOURS, TEXT_COLOUR, themed
from anyrnn.tasks.words import Language

# Fonts that have the characters which matplotlib's own lacks, if they are installed.
_CHINESE = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


@dataclass(frozen=True)
class Look:
    """The colours of a picture, and the language of its words.

    Attributes:
        text: Of text.
        faint: Of lines behind the rest.
        series: Of what is told apart.
        language: The language.
    """

    text: str
    faint: str
    series: Sequence[str]
    language: Language = "en"

    def word(self, key: str) -> str:
        """A heading or label."""
        return heading(key, self.language)


_THEMED = Look(TEXT_COLOUR, FAINT_COLOUR, SERIES_COLOURS)
_LIGHT = Look(
    "#1d2530", "#dfe3e8", ("#2563a8", "#d9791e", "#2a8f5b", "#a23b72", "#6b5bb5", "#7a6a52")
)


@dataclass(frozen=True)
class Picture:
    """A picture that can be drawn for a page and for files.

    Attributes:
        name: The name of its files.
        label: What it shows, in words.
        size: Width and height, in inches.
        draw: Draws on matplotlib's figure.
        language: The language of its words.
    """

    name: str
    label: str
    size: tuple[float, float]
    draw: Callable[[Any, Look], None]
    language: Language = "en"

    def inline(self) -> Markup:
        """SVG that takes its colours from the page."""
        look = replace(_THEMED, language=self.language)
        with _style() as style:
            return themed(lambda figure: self.draw(figure, look), self.label, self.size, style)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The names and contents of a PNG and an SVG file; the words of the PNG are English where
        no font is installed that could draw others.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        raster, vector = io.BytesIO(), io.StringIO()
        drawn = self.language if set(_CHINESE) & _installed() else "en"
        with self._figure(drawn) as figure:
            FigureCanvasAgg(figure).print_png(raster, metadata={"Software": None})
        with self._figure(self.language) as figure:
            FigureCanvasSVG(figure).print_svg(vector, metadata={"Date": None, "Creator": None})
        yield f"{self.name}.png", raster.getvalue()
        yield f"{self.name}.svg", vector.getvalue().encode()

    @contextmanager
    def _figure(self, language: Language) -> Iterator[Any]:
        import matplotlib
        import matplotlib.figure

        look = replace(_LIGHT, language=language)
        colours = dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), look.text
        )
        with _style() as style, matplotlib.rc_context({**style, **colours}):
            figure = matplotlib.figure.Figure(figsize=self.size, layout="constrained", dpi=150)
            self.draw(figure, look)
            yield figure


def _installed() -> set[str]:
    """The names of the fonts that there are."""
    from matplotlib import font_manager

    return {font.name for font in font_manager.fontManager.ttflist}


@contextmanager
def _style() -> Iterator[dict[Any, Any]]:
    """Settings with which any token can be written."""
    known = _installed()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield {
            "font.family": [name for name in ("DejaVu Sans", *_CHINESE) if name in known],
            "font.size": 9,
            "text.parse_math": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "anyrnn",
        }


def axes_of(figure: Any, look: Look) -> Any:
    """The only axes of a figure, with a grid."""
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(visible=True, color=look.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(look.faint)
    return axes
