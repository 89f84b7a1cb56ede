"""Pictures of what was found out about a network and an input: heat maps, bars, curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy

from anyrnn.inspect import Flow
from anyrnn.tasks.inspection.drawing import Look, Picture, axes_of
from anyrnn.tasks.inspection.findings import Findings
from anyrnn.tasks.inspection.words import heading
from anyrnn.tasks.report import count_along

_MOST_UNITS, _MOST_LABELS, _MOST_BARS = 48, 70, 120
_SPACE, _VISIBLE = "␣", {"\n": "⏎", "\t": "⇥"}


def visible(step: str) -> str:
    """What stands at a step as it is written below a picture: spaces are marked at its ends.

    Example:
        >>> visible(" film"), visible("0.06 s"), visible("\\n")
        ('␣film', '0.06 s', '⏎')
    """
    left = step.lstrip(" ")
    core = left.rstrip(" ")
    marked = "".join(_VISIBLE.get(character, character) for character in core)
    shown = _SPACE * (len(step) - len(left)) + marked + _SPACE * (len(left) - len(core))
    return shown if len(shown) <= 14 else f"{shown[:13]}…"


def pictures_of(findings: Findings) -> list[Picture]:
    """The pictures of what was found out."""
    made = [*_gates(findings), _saturation(findings), _saliency(findings), _gradient(findings)]
    if findings.persistence is not None:
        made.append(_persistence(findings))
    if findings.spectra:
        made.append(_spectra(findings))
    return [replace(each, language=findings.examined.language) for each in made]


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
            look: Look,
            ordered: Sequence[str] = ordered,
            heights: Sequence[float] = heights,
            read: bool = read,
        ) -> None:
            ratios = [*heights, 0.9] if read else heights
            every = figure.subplots(
                len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False
            )[:, 0]
            for axes, name in zip(every, ordered, strict=False):
                _heat_map(figure, axes, findings, name, look)
            if read:
                _values(figure, every[-1], findings, look)
            _label_steps(every[-1], examined.steps)

        language = findings.examined.language
        name, label = "gates", heading("gates", language)
        if part:
            of = part.replace("_", ", ")
            name, label = f"gates-{part}", f"{heading('gates of', language)} {of}"
        yield Picture(name, label, (_width(len(examined.steps)), total), draw)


def _heat_map(figure: Any, axes: Any, findings: Findings, name: str, look: Look) -> None:
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
    axes.set_title(
        f"{name} ({len(findings.gates.values[name].T)} {look.word('units')})",
        loc="left",
        fontsize=9,
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=8, ticks=[low, (low + high) / 2, high])
    bar.ax.tick_params(labelsize=7, length=0)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in (low, (low + high) / 2, high)])
    bar.outline.set_visible(False)


def _values(figure: Any, axes: Any, findings: Findings, look: Look) -> None:
    """The numbers that are read, below the heat maps."""
    values, channels = findings.examined.values, findings.examined.channels
    assert values is not None
    axes.patch.set_alpha(0)
    if len(channels) > len(look.series):
        axes.imshow(values.T, aspect="auto", cmap="magma", origin="lower", interpolation="nearest")
        axes.set_title(
            f"{look.word('input')} ({len(channels)} {look.word('features')})",
            loc="left",
            fontsize=9,
        )
        axes.set_yticks([])
    else:
        for column, name in enumerate(channels):
            axes.plot(values[:, column], color=look.series[column], label=name, linewidth=1.2)
        axes.set_title(look.word("input"), loc="left", fontsize=9)
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.tick_params(labelsize=7)
        for spine in axes.spines.values():
            spine.set_color(look.faint)


def _saturation(findings: Findings) -> Picture:
    found = findings.gates.saturation

    def draw(figure: Any, look: Look) -> None:
        axes = axes_of(figure, look)
        names = list(found)[::-1]
        low = numpy.array([100 * found[name].low for name in names])
        high = numpy.array([100 * found[name].high for name in names])
        axes.barh(names, low, color=look.series[0], label=look.word("near low"))
        axes.barh(names, high, left=low, color=look.series[1], label=look.word("near high"))
        axes.set_xlim(0, 100)
        axes.set_xlabel(f"{look.word('share of values')} (%)")
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    return Picture("saturation", "saturation of gates", (5.2, 1.3 + 0.27 * len(found)), draw)


def _saliency(findings: Findings) -> Picture:
    steps, read = findings.examined.places, findings.examined.read
    if read is not None and all(read.grid):
        return _regions(findings, read.grid)

    def draw(figure: Any, look: Look) -> None:
        axes = axes_of(figure, look)
        places, integrated = numpy.arange(len(steps)), findings.integrated
        if len(steps) <= _MOST_BARS:
            colours = [look.series[0] if value >= 0 else look.series[1] for value in integrated]
            axes.bar(places, integrated, color=colours, width=0.8, label=look.word("integrated"))
        else:
            axes.plot(places, integrated, color=look.series[0], label=look.word("integrated"))
        axes.plot(
            places,
            findings.gradient_times_input,
            color=look.series[3],
            linestyle="none" if len(steps) <= _MOST_BARS else "-",
            marker="D" if len(steps) <= _MOST_BARS else None,
            markersize=3.5,
            linewidth=1,
            label=look.word("gradient x input"),
        )
        axes.axhline(0, color=look.faint, linewidth=1)
        axes.set_ylabel(look.word("adds"))
        _label_steps(axes, steps)
        axes.legend(frameon=False, fontsize=8)

    return Picture("saliency", "saliency of each step", (_width(len(steps)), 3.2), draw)


def _regions(findings: Findings, grid: tuple[int, int]) -> Picture:
    """How much each region of a picture adds, where it lies."""
    values = findings.integrated.reshape(grid)
    largest = float(numpy.abs(values).max()) or 1.0

    def draw(figure: Any, look: Look) -> None:
        axes = figure.add_subplot()
        image = axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(look.faint)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.ax.tick_params(labelsize=7, length=0)
        bar.outline.set_visible(False)
        bar.set_label(look.word("adds"))

    return Picture("saliency", "saliency of each region", (4.6, 3.6), draw)


def _gradient(findings: Findings) -> Picture:
    def draw(figure: Any, look: Look) -> None:
        axes = axes_of(figure, look)
        _lines(axes, look, findings.gradient.flows, findings.gradient.whole)
        for number, (name, values) in enumerate(findings.singular.items()):
            largest, smallest = values[:, 0], values[:, -1]
            axes.fill_between(
                range(len(values)),
                numpy.maximum(smallest, 1e-12),
                largest,
                color=look.series[(number + 2) % len(look.series)],
                alpha=0.15,
                linewidth=0,
                label=f"{look.word('singular')}, {name}",
            )
        _finish(axes, look, look.word("before the end"))

    return Picture("gradient", "what is left of the gradient", (5.2, 3.6), draw)


def _persistence(findings: Findings) -> Picture:
    assert findings.persistence is not None
    found = findings.persistence

    def draw(figure: Any, look: Look) -> None:
        axes = axes_of(figure, look)
        _lines(axes, look, found.flows, found.whole)
        _finish(axes, look, look.word("after the perturbation"))

    return Picture("persistence", "what is left of a perturbation", (5.2, 3.6), draw)


def _lines(axes: Any, look: Look, flows: Sequence[Flow], whole: Flow) -> None:
    shown = [*flows, *([] if whole in flows else [whole])]
    for number, flow in enumerate(shown):
        share = numpy.where(flow.share > 0, flow.share, numpy.nan)
        axes.plot(
            share,
            color=look.series[number % len(look.series)],
            linewidth=2 if flow is whole else 1.2,
            marker="o" if len(share) <= 30 else None,
            markersize=3,
            label=flow.name,
        )


def _finish(axes: Any, look: Look, along: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.axhline(0.01, color=look.text, linewidth=0.8, linestyle=":")
    drawn = numpy.concatenate([line.get_ydata() for line in axes.lines])
    drawn = drawn[numpy.isfinite(drawn) & (drawn > 0)]
    axes.set_yscale("log")
    axes.set_ylim(max(min(drawn.min() / 1.5, 0.005), 1e-6), max(drawn.max(), 1) * 1.5)
    axes.set_xlabel(along)
    axes.set_ylabel(look.word("share left"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    count_along(axes.xaxis)
    axes.legend(frameon=False, fontsize=8)


def _spectra(findings: Findings) -> Picture:
    def draw(figure: Any, look: Look) -> None:
        axes = axes_of(figure, look)
        angle = numpy.linspace(0, 2 * numpy.pi, 200)
        axes.plot(numpy.cos(angle), numpy.sin(angle), color=look.text, linewidth=0.8)
        for number, each in enumerate(findings.spectra):
            axes.plot(
                numpy.real(each.eigenvalues),
                numpy.imag(each.eigenvalues),
                color=look.series[number % len(look.series)],
                linestyle="none",
                marker="osD^v"[number // len(look.series) % 5],
                markersize=3,
                label=f"{each.name}: {look.word('radius')} {each.radius:.2f}",
            )
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel(look.word("real"))
        axes.set_ylabel(look.word("imaginary"))
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))

    return Picture("spectrum", "eigenvalues of recurrent matrices", (6.2, 3.8), draw)
