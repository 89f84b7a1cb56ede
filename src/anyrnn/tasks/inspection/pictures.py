"""Pictures of what was found out about a network and an input: heat maps, bars, curves."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
from markupsafe import Markup

from anyrnn.inspect import Flow
from anyrnn.tasks.inspection.findings import Findings
from anyrnn.tasks.report import FAINT_COLOUR, SERIES_COLOURS, TEXT_COLOUR, themed

_MOST_UNITS, _MOST_LABELS, _MOST_BARS = 48, 70, 120
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥"}
# Fonts that have the characters which matplotlib's own lacks, if they are installed.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


@dataclass(frozen=True)
class Palette:
    """The colours of a picture.

    Attributes:
        text: Of text.
        faint: Of lines behind the rest.
        series: Of what is told apart.
    """

    text: str
    faint: str
    series: Sequence[str]


THEMED = Palette(TEXT_COLOUR, FAINT_COLOUR, SERIES_COLOURS)
LIGHT = Palette(
    "#1d2530", "#dfe3e8", ("#2563a8", "#d9791e", "#2a8f5b", "#a23b72", "#6b5bb5", "#7a6a52")
)


@dataclass(frozen=True)
class Picture:
    """A picture that can be drawn for a page and for files.

    Attributes:
        name: The name of its files.
        label: What it shows, in words.
        size: Width and height, in inches.
        draw: Draws on matplotlib's figure in the colours of a palette.
    """

    name: str
    label: str
    size: tuple[float, float]
    draw: Callable[[Any, Palette], None]

    def inline(self) -> Markup:
        """SVG that takes its colours from the page."""
        with _style() as style:
            return themed(lambda figure: self.draw(figure, THEMED), self.label, self.size, style)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The names and contents of a PNG and an SVG file."""
        import matplotlib
        import matplotlib.figure
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        colours = dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), LIGHT.text
        )
        with _style() as style, matplotlib.rc_context({**style, **colours}):
            figure = matplotlib.figure.Figure(figsize=self.size, layout="constrained", dpi=150)
            self.draw(figure, LIGHT)
            raster, vector = io.BytesIO(), io.StringIO()
            FigureCanvasAgg(figure).print_png(raster, metadata={"Software": None})
            FigureCanvasSVG(figure).print_svg(vector, metadata={"Date": None, "Creator": None})
        yield f"{self.name}.png", raster.getvalue()
        yield f"{self.name}.svg", vector.getvalue().encode()


@contextmanager
def _style() -> Iterator[dict[Any, Any]]:
    """Settings with which any token can be written."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield {
            "font.family": [name for name in _FONTS if name in known],
            "font.size": 9,
            "text.parse_math": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "anyrnn",
        }


def visible(step: str) -> str:
    """What stands at a step as it is written below a picture."""
    shown = "".join(_VISIBLE.get(character, character) for character in step)
    return shown if len(shown) <= 14 else f"{shown[:13]}…"


def pictures_of(findings: Findings) -> list[Picture]:
    """The pictures of what was found out."""
    made = [*_gates(findings), _saturation(findings), _saliency(findings), _gradient(findings)]
    if findings.persistence is not None:
        made.append(_persistence(findings))
    if findings.spectra:
        made.append(_spectra(findings))
    return made


def _label_steps(axes: Any, steps: Sequence[str]) -> None:
    """Write what stands at each step below, or at some steps where there are too many."""
    every = max(1, -(-len(steps) // _MOST_LABELS))
    places = range(0, len(steps), every)
    labels = [visible(steps[place]) for place in places]
    short = sum(map(len, labels)) <= 60 and max(map(len, labels)) <= 8
    upright = {"rotation": 0} if short else {"rotation": 90}
    axes.set_xticks(list(places), labels, fontsize=8, **upright)


def _width(steps: int) -> float:
    return float(numpy.clip(2.2 + 0.16 * steps, 6.4, 12.0))


def _parts(names: Sequence[str]) -> dict[str, list[str]]:
    """The names of values by the layer and direction that they end with."""
    found: dict[str, list[str]] = {}
    for name in names:
        cut = name.rfind("_l")
        suffix = name[cut + 1 :] if cut > 0 and name[cut + 2 : cut + 3].isdigit() else ""
        found.setdefault(suffix, []).append(name)
    return found


def _gates(findings: Findings) -> Iterator[Picture]:
    examined, values = findings.examined, findings.gates.values
    for part, names in _parts(list(values)).items():
        gates = [name for name in names if name in findings.gates.gates]
        limited = [name for name in names if name in findings.gates.limits and name not in gates]
        ordered = [*gates, *limited, *(n for n in names if n not in gates and n not in limited)]
        rows = [min(_MOST_UNITS, values[name].shape[1]) for name in ordered]
        heights = [max(0.5, 0.035 * count) for count in rows]
        read = examined.values is not None
        total = sum(heights) + 0.32 * len(ordered) + 1.1 + (0.9 if read else 0)

        def draw(
            figure: Any,
            palette: Palette,
            ordered: Sequence[str] = ordered,
            heights: Sequence[float] = heights,
            read: bool = read,
        ) -> None:
            ratios = [*heights, 0.9] if read else heights
            every = figure.subplots(
                len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False
            )[:, 0]
            for axes, name in zip(every, ordered, strict=False):
                _heat_map(figure, axes, findings, name)
            if read:
                _values(figure, every[-1], findings, palette)
            _label_steps(every[-1], examined.steps)

        name, label = ("gates", "gates and states") if not part else (f"gates-{part}", part)
        label = label if not part else f"gates and states of {part.replace('_', ', ')}"
        yield Picture(name, label, (_width(len(examined.steps)), total), draw)


def _heat_map(figure: Any, axes: Any, findings: Findings, name: str) -> None:
    values, limits = findings.gates.values[name].T, findings.gates.limits.get(name)
    if len(values) > _MOST_UNITS:  # those that change most
        chosen = numpy.sort(numpy.argsort(-values.std(axis=1), kind="stable")[:_MOST_UNITS])
        values = values[chosen]
    low, high, colours = 0.0, 1.0, "viridis"
    if limits is None or not limits.is_gate:
        high = float(max(numpy.abs(values).max(initial=0), 1e-6))
        if limits is not None and numpy.isfinite([limits.low, limits.high]).all():
            high = max(abs(limits.low), abs(limits.high))
        low, colours = -high, "RdBu_r"
    image = axes.imshow(
        values, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest"
    )
    axes.set_yticks([])
    axes.set_title(f"{name} ({len(findings.gates.values[name].T)} units)", loc="left", fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=8, ticks=[low, (low + high) / 2, high])
    bar.ax.tick_params(labelsize=7, length=0)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in (low, (low + high) / 2, high)])
    bar.outline.set_visible(False)


def _values(figure: Any, axes: Any, findings: Findings, palette: Palette) -> None:
    """The numbers that are read, below the heat maps."""
    values, channels = findings.examined.values, findings.examined.channels
    assert values is not None
    axes.patch.set_alpha(0)
    if len(channels) > len(palette.series):
        axes.imshow(values.T, aspect="auto", cmap="magma", origin="lower", interpolation="nearest")
        axes.set_title(f"input ({len(channels)} features)", loc="left", fontsize=9)
        axes.set_yticks([])
    else:
        for column, name in enumerate(channels):
            axes.plot(values[:, column], color=palette.series[column], label=name, linewidth=1.2)
        axes.set_title("input", loc="left", fontsize=9)
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.tick_params(labelsize=7)
        for spine in axes.spines.values():
            spine.set_color(palette.faint)


def _saturation(findings: Findings) -> Picture:
    found = findings.gates.saturation

    def draw(figure: Any, palette: Palette) -> None:
        axes = _axes(figure, palette)
        names = list(found)[::-1]
        low = numpy.array([100 * found[name].low for name in names])
        high = numpy.array([100 * found[name].high for name in names])
        axes.barh(names, low, color=palette.series[0], label="near the lower limit")
        axes.barh(names, high, left=low, color=palette.series[1], label="near the upper limit")
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of values (%)")
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    return Picture("saturation", "saturation of gates", (5.2, 1.3 + 0.27 * len(found)), draw)


def _saliency(findings: Findings) -> Picture:
    steps = findings.examined.steps

    def draw(figure: Any, palette: Palette) -> None:
        axes = _axes(figure, palette)
        places, integrated = numpy.arange(len(steps)), findings.integrated
        if len(steps) <= _MOST_BARS:
            colours = [
                palette.series[0] if value >= 0 else palette.series[1] for value in integrated
            ]
            axes.bar(places, integrated, color=colours, width=0.8, label="integrated gradients")
        else:
            axes.plot(places, integrated, color=palette.series[0], label="integrated gradients")
        axes.plot(
            places,
            findings.gradient_times_input,
            color=palette.series[3],
            linestyle="none" if len(steps) <= _MOST_BARS else "-",
            marker="D" if len(steps) <= _MOST_BARS else None,
            markersize=3.5,
            linewidth=1,
            label="gradient x input",
        )
        axes.axhline(0, color=palette.faint, linewidth=1)
        axes.set_ylabel("adds to the output")
        _label_steps(axes, steps)
        axes.legend(frameon=False, fontsize=8)

    return Picture("saliency", "saliency of each step", (_width(len(steps)), 3.2), draw)


def _gradient(findings: Findings) -> Picture:
    def draw(figure: Any, palette: Palette) -> None:
        axes = _axes(figure, palette)
        _lines(axes, palette, findings.gradient.flows, findings.gradient.whole)
        for number, (name, values) in enumerate(findings.singular.items()):
            largest, smallest = values[:, 0], values[:, -1]
            axes.fill_between(
                range(len(values)),
                numpy.maximum(smallest, 1e-12),
                largest,
                color=palette.series[(number + 2) % len(palette.series)],
                alpha=0.15,
                linewidth=0,
                label=f"singular values, {name}",
            )
        _finish(axes, palette, "steps before the end")

    return Picture("gradient", "what is left of the gradient", (5.2, 3.6), draw)


def _persistence(findings: Findings) -> Picture:
    assert findings.persistence is not None
    found = findings.persistence

    def draw(figure: Any, palette: Palette) -> None:
        axes = _axes(figure, palette)
        _lines(axes, palette, found.flows, found.whole)
        _finish(axes, palette, "steps after the perturbation")

    return Picture("persistence", "what is left of a perturbation", (5.2, 3.6), draw)


def _lines(axes: Any, palette: Palette, flows: Sequence[Flow], whole: Flow) -> None:
    shown = [*flows, *([] if whole in flows else [whole])]
    for number, flow in enumerate(shown):
        share = numpy.where(flow.share > 0, flow.share, numpy.nan)
        axes.plot(
            share,
            color=palette.series[number % len(palette.series)],
            linewidth=2 if flow is whole else 1.2,
            marker="o" if len(share) <= 30 else None,
            markersize=3,
            label=flow.name,
        )


def _finish(axes: Any, palette: Palette, along: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axes.axhline(0.01, color=palette.text, linewidth=0.8, linestyle=":")
    drawn = numpy.concatenate([line.get_ydata() for line in axes.lines])
    drawn = drawn[numpy.isfinite(drawn) & (drawn > 0)]
    axes.set_yscale("log")
    axes.set_ylim(max(min(drawn.min() / 1.5, 0.005), 1e-6), max(drawn.max(), 1) * 1.5)
    axes.set_xlabel(along)
    axes.set_ylabel("share left")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)


def _spectra(findings: Findings) -> Picture:
    def draw(figure: Any, palette: Palette) -> None:
        axes = _axes(figure, palette)
        angle = numpy.linspace(0, 2 * numpy.pi, 200)
        axes.plot(numpy.cos(angle), numpy.sin(angle), color=palette.text, linewidth=0.8)
        for number, each in enumerate(findings.spectra):
            axes.plot(
                numpy.real(each.eigenvalues),
                numpy.imag(each.eigenvalues),
                color=palette.series[number % len(palette.series)],
                linestyle="none",
                marker="osD^v"[number // len(palette.series) % 5],
                markersize=3,
                label=f"{each.name}: radius {each.radius:.2f}",
            )
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("real part")
        axes.set_ylabel("imaginary part")
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))

    return Picture("spectrum", "eigenvalues of recurrent matrices", (6.2, 3.8), draw)


def _axes(figure: Any, palette: Palette) -> Any:
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(visible=True, color=palette.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(palette.faint)
    return axes
