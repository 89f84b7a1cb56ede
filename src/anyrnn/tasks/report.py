"""Self-contained HTML reports: pages from templates, charts as inline SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from anyrnn.tasks.options.nested import flattened
from anyrnn.tasks.scores.figures import LOSS, Figure, duration, short_duration

if TYPE_CHECKING:
    from anyrnn.tasks.task import Task
    from anyrnn.tasks.training.results import CellResult, Result

# Colours that stand for variables of the style sheet, so that charts follow light and dark.
TEXT_COLOUR, FAINT_COLOUR = "#010101", "#020202"
SERIES_COLOURS = ("#030301", "#030302", "#030303", "#030304", "#030305", "#030306")
_VARIABLES = {TEXT_COLOUR: "var(--ink)", FAINT_COLOUR: "var(--line)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES_COLOURS, start=1)
}
# Inches around each of several panels.
_PADDED: dict[str, object] = {
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
}
_LETTER, _HANDLE = 0.065, 0.5  # inches of a legend
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": TEXT_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "axes.edgecolor": FAINT_COLOUR,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
    "grid.color": FAINT_COLOUR,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Line:
    """A line of a chart: values over epochs.

    Attributes:
        name: What the legend calls it.
        values: Its values, the first one of epoch 1.
        colour: The number of its colour, from 0; colours repeat after six.
        dashed: Whether it is drawn dashed.
        marked: Whether its points are marked.
    """

    name: str
    values: Sequence[float]
    colour: int
    dashed: bool = False
    marked: bool = True


def line_chart(
    lines: Sequence[Line], label: str, *, percent: bool = False, along: str = "epoch"
) -> Markup:
    """A chart of lines over epochs, as SVG that takes its colours from the page.

    Args:
        lines: What is drawn.
        label: What the values are; also the chart's name for screen readers.
        percent: Whether the values are shares, shown in per cent.
        along: What is counted from 1 along the horizontal axis.

    Example:
        >>> line_chart([Line("lstm", [0.9, 0.5], 0)], "loss")[:4]
        Markup('<svg')
    """
    factor = 100 if percent else 1

    def draw(axes: Any) -> None:
        for line in lines:
            axes.plot(
                range(1, len(line.values) + 1),
                [value * factor for value in line.values],
                label=line.name,
                color=SERIES_COLOURS[line.colour % len(SERIES_COLOURS)],
                linestyle="--" if line.dashed else "-",
                linewidth=1.2 if line.dashed else 2,
                marker="o" if line.marked else None,
                markersize=2 if line.dashed else 3.5,
            )
        axes.set_xlabel(along)
        axes.set_ylabel(f"{label} (%)" if percent else label)
        count_along(axes.xaxis)

    return chart(draw, label)


def count_along(axis: Any) -> None:
    """Only whole numbers stand along an axis of matplotlib, be it a single one."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def chart(
    draw: Callable[[Any], None],
    label: str,
    *,
    panels: int = 1,
    size: tuple[float, float] = (5.2, 3.4),
) -> Markup:
    """A chart as SVG that takes its colours from the page.

    Args:
        draw: Draws on matplotlib's axes, in `SERIES_COLOURS` and `TEXT_COLOUR`; where there are
            several panels, on an array of them.
        label: The chart's name for screen readers, which no other chart of the page has.
        panels: How many panels stand side by side; they share a legend.
        size: The width and the height in inches.
    """

    def drawn(figure: Any) -> None:
        every = figure.subplots(1, panels, squeeze=False)[0]
        draw(every[0] if panels == 1 else every)
        for axes in every:
            axes.patch.set_alpha(0)
            axes.grid(visible=True)
            axes.spines[["top", "right"]].set_visible(False)
        _add_legend(figure, every)

    return themed(drawn, label, size, _PADDED if panels > 1 else None)


def themed(
    draw: Callable[[Any], None],
    label: str,
    size: tuple[float, float] = (5.2, 3.4),
    style: Mapping[str, object] | None = None,
) -> Markup:
    """A figure as SVG that takes its colours from the page.

    Args:
        draw: Draws on matplotlib's figure, in `SERIES_COLOURS` and `TEXT_COLOUR`.
        label: The figure's name for screen readers, which no other one of the page has.
        size: Its width and height, in inches.
        style: Further settings of matplotlib.
    """
    import matplotlib
    import matplotlib.figure
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # Identifiers come from the salt: they repeat, and those of two charts do not clash.
    settings: dict[Any, Any] = {**_STYLE, **(style or {}), "svg.hashsalt": label}
    with matplotlib.rc_context(settings):
        figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        draw(figure)
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # Texts are drawn by the browser: that matplotlib's font lacks Chinese does not matter.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), label)


def _add_legend(figure: Any, panels: Sequence[Any]) -> None:
    """What lines are called, below the panels, where it hides no line."""
    found = {
        name: handle
        for axes in panels
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if found:
        widest = max(map(len, found)) * _LETTER + _HANDLE
        rows = -(-len(found) // max(1, int(figure.get_figwidth() / widest)))
        places: Any = {"loc": "outside lower center", "ncols": -(-len(found) // rows)}
        figure.legend(found.values(), found.keys(), frameon=False, fontsize=9, **places)


def standalone(svg: Markup) -> str:
    """A chart as a file of its own, which has the colours of a page in itself, light and dark.

    Example:
        >>> standalone(chart(lambda axes: axes.plot([1, 2]), "an example"))[:4]
        '<svg'
    """
    tag, rest = svg.split(">", 1)
    surface = '<rect width="100%" height="100%" rx="6" fill="var(--surface)"/>'
    rest = _METADATA.sub("", rest)
    # A hundredth of a point is seen by nobody, but half of the file.
    rest = _DECIMALS.sub(lambda found: f"{float(found[0]):.2f}", rest)
    lines = (
        line.strip() for line in f"{tag}><style>{palette()}</style>{surface}{rest}".split("\n")
    )
    return "\n".join(filter(None, lines))


@cache
def palette() -> str:
    """The colours of pages as variables, for light and dark, in CSS."""
    return " ".join(_environment("anyrnn.tasks").get_template("palette.css").render().split())


def render_page(template: str, values: Mapping[str, object], package: str = "anyrnn.tasks") -> str:
    """A page from a template; every value is escaped.

    Args:
        template: The file's name in the folder `templates` of the package.
        values: What the template uses.
        package: The package; its templates may extend those of the tasks.
    """
    return _environment(package).get_template(template).render(values)


@cache
def _environment(package: str) -> Environment:
    """The templates; each is compiled once, however many reports a search over parameters has."""
    packages = dict.fromkeys((package, "anyrnn.tasks"))
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(each) for each in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["duration"] = duration
    environment.filters["short_duration"] = short_duration
    return environment


def render_run(
    result: Result, config: Mapping[str, Any], without: Container[str] = frozenset()
) -> str:
    """The page that shows a run: figures, learning curves, what the task adds, settings.

    Args:
        result: What the training made; the template of its task adds what only that has.
        config: The configuration of the run.
        without: The paths of options without an effect, which are not listed.
    """
    task, results = result.task, result.cells
    figures = task.epoch_figures()
    shares = [figure for figure in figures if figure.percent]
    charts = [curves(results, [figure]) for figure in figures if not figure.percent]
    charts += [curves(results, shares)] if shares else []
    return render_page(
        task.template,
        {
            "task": task,
            "config": config,
            "results": results,
            "best": result.best,
            "baselines": result.baselines,
            "curves": charts,
            "settings": [*_settings(config["options"], without), *_settings(config["facts"])],
            **task.pictures(results),
        },
        _package_of(task),
    )


def _package_of(task: Task) -> str:
    """The package that has the template of a task: that of a task elsewhere may have its own."""
    own = type(task).__module__.rpartition(".")[0]
    there = own and files(own).joinpath("templates", task.template).is_file()
    return own if there else "anyrnn.tasks"


def curves(results: Sequence[CellResult], figures: Sequence[Figure]) -> Markup:
    """The figures of the best trial of each cell over its epochs; of the loss, in training, too."""
    lines = []
    for colour, result in enumerate(results):
        epochs = result.best_trial.epochs
        for number, figure in enumerate(figures):
            name = f"validation_{figure.name}"
            values = [epoch.figures[name] for epoch in epochs]
            title = f"{result.cell} {figure.title}" if len(figures) > 1 else result.cell
            lines.append(Line(title, values, colour, dashed=number > 0))
        if figures == [LOSS]:
            values = [epoch.figures["training_loss"] for epoch in epochs]
            lines.append(Line(f"{result.cell} in training", values, colour, dashed=True))
    label = " and ".join(figure.title for figure in figures)
    return line_chart(lines, label, percent=figures[0].percent)


def _settings(
    values: Mapping[str, Any], without: Container[str] = frozenset()
) -> Iterator[tuple[str, object]]:
    """What is set of all groups, with the group before the name."""
    for names, value in flattened(values):
        if value is not None and ".".join(names) not in without:
            words = ": ".join(names).replace("_", " ")
            yield words, ", ".join(map(str, value)) if isinstance(value, list) else value


def _inline(svg: str, label: str) -> Markup:
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    tag, rest = svg.split(">", 1)
    tag = Markup('{} role="img" aria-label="{}"').format(Markup(tag), label)
    return tag + Markup(">" + rest)
