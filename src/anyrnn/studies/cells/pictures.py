"""The pictures of a study's pages, drawn from its results."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from markupsafe import Markup

from anyrnn.studies.cells.results import Cost, FlowResult, SettingResult, StudyResults
from anyrnn.studies.cells.words import (
    ARTICLES_CELLS,
    called,
    figure_of,
    steps_of,
    title_of,
)
from anyrnn.tasks.report import SERIES_COLOURS, TEXT_COLOUR, chart, count_along
from anyrnn.tasks.words import Language

Settings = Sequence[tuple[str, SettingResult]]

_COLOURS = {"lstm": 0, "lstm_peephole": 0, "gru": 1, "rnn": 2, "mingru": 3, "minlstm": 4}
_DASHES = {"lstm_peephole": "--", "minlstm": "--"}
_WIDEST = 10.8  # inches
_PANELS = 3  # of dots in a row, at most
_SMALLEST_SHARE = 1e-6  # what is left of a gradient, in a picture


@dataclass(frozen=True)
class Drawer:
    """Draws the pictures of a study in a language.

    Attributes:
        results: What was found.
        language: The language of titles and axes.
    """

    results: StudyResults
    language: Language

    def every(self) -> dict[str, Markup]:
        """Every picture that the results have something for, by its name."""
        results = self.results
        several = [problem for problem in self._problems() if len(results.of(problem)) > 1]
        single = [
            pair
            for problem in self._problems()
            if problem not in several
            for pair in results.of(problem)
        ]
        longest = [results.of(problem)[-1] for problem in several]
        shortest = [results.of(problem)[0] for problem in several]
        found: dict[str, Markup] = {}
        if several:
            found["lengths"] = self._lengths(several, results.cells, "lengths")
            articles = self._of_articles(results.cells)
            found["long"] = self._dots(
                [*longest, *self._named(single, "digits-pixels")], articles, "long"
            )
            found["short"] = self._dots(
                [*shortest, *self._named(single, "digits-rows", "surnames")], articles, "short"
            )
            found["curves"] = self._curves(longest)
        for number, some in enumerate(_in_rows(single), start=1):
            found[f"real-{number}"] = self._dots(some, results.cells, f"real-{number}")
        for name, flows in results.flows.items():
            found[f"gradients-{name}"] = self._flows(name, flows.fresh, flows.trained)
        if results.costs:
            found["costs"] = self._costs(results.costs.equal_hidden, results.costs.equal_parameters)
        return found

    def _problems(self) -> list[str]:
        return list(dict.fromkeys(each.problem for each in self.results.settings.values()))

    def _named(self, pairs: Iterable[tuple[str, SettingResult]], *names: str) -> Settings:
        return [pair for pair in pairs if pair[0] in names]

    def _of_articles(self, cells: Sequence[str]) -> list[str]:
        """The articles' cells, or all if one of them was not trained."""
        found = [cell for cell in ARTICLES_CELLS if cell in cells]
        return found if len(found) == len(ARTICLES_CELLS) else list(cells)

    def _call(self, name: str) -> str:
        return called(name, self.language)

    def _heading(self, setting: SettingResult) -> str:
        title = title_of(setting.problem, self.language)
        return f"{title}\n{steps_of(setting.steps, self.language)}"

    def _axis(self, setting: SettingResult) -> str:
        title = figure_of(setting.problem, setting.figure.title, self.language)
        return f"{title} (%)" if setting.figure.percent else title

    def _label(self, name: str) -> str:
        """The name of a picture for screen readers."""
        return f"{self._call('accuracy')}: {name}" if name.startswith("real") else name

    def _lengths(self, problems: Sequence[str], cells: Sequence[str], name: str) -> Markup:
        """The figure of each cell by the length of the sequences; a dot for each training."""

        def draw(panels: Any) -> None:
            for axes, problem in zip(_several(panels), problems, strict=True):
                settings = [each for _, each in self.results.of(problem)]
                for number, cell in enumerate(cells):
                    self._length_line(axes, settings, cell, number)
                _baselines(axes, settings)
                axes.set_xticks(range(len(settings)), [str(each.steps) for each in settings])
                axes.set_xlabel(self._call("steps"))
                axes.set_ylabel(self._axis(settings[0]))
                axes.set_title(title_of(problem, self.language), fontsize=10)
                if not settings[0].figure.percent:
                    _logarithmic(axes, "y")

        return chart(draw, self._label(name), panels=len(problems), size=(4.2 * len(problems), 3.9))

    def _length_line(
        self, axes: Any, settings: Sequence[SettingResult], cell: str, number: int
    ) -> None:
        places, middles = [], []
        for place, setting in enumerate(settings):
            values = _scaled(setting, setting.cells[cell].values if cell in setting.cells else [])
            if values:
                places.append(place)
                middles.append(median(values))
                axes.plot(
                    [place] * len(values), values, ".", color=_colour(cell, number), alpha=0.5
                )
        axes.plot(places, middles, label=cell, **_line(cell, number))

    def _dots(self, settings: Settings, cells: Sequence[str], name: str) -> Markup:
        """A dot for each training of each cell, a bar at their mean, a panel for each setting."""
        shown = list(settings)

        def draw(panels: Any) -> None:
            for axes, (_, setting) in zip(_several(panels), shown, strict=True):
                for number, cell in enumerate(cells):
                    values = _scaled(
                        setting, setting.cells[cell].values if cell in setting.cells else []
                    )
                    place = len(cells) - 1 - number
                    axes.plot(
                        values,
                        [place] * len(values),
                        "o",
                        ms=5,
                        alpha=0.7,
                        color=_colour(cell, number),
                    )
                    if values:
                        axes.plot([fmean(values)], [place], "|", ms=16, mew=2, color=TEXT_COLOUR)
                axes.set_yticks(range(len(cells)), list(reversed(cells)))
                axes.set_ylim(-0.6, len(cells) - 0.4)
                axes.set_xlabel(self._axis(setting))
                axes.set_title(self._heading(setting), fontsize=10)
                if setting.problem == "adding":
                    _logarithmic(axes, "x")

        width, height = min(3.4 * len(shown), _WIDEST), 1.6 + 0.28 * len(cells)
        return chart(draw, self._label(name), panels=len(shown), size=(width, height))

    def _curves(self, settings: Settings) -> Markup:
        """The validation figure after each epoch: the median of the trainings."""

        def draw(panels: Any) -> None:
            for axes, (_, setting) in zip(_several(panels), settings, strict=True):
                for number, cell in enumerate(setting.cells):
                    curves = [_scaled(setting, each.curve) for each in setting.cells[cell].trials]
                    middle = [median(values) for values in zip(*curves, strict=False)]
                    axes.plot(range(1, len(middle) + 1), middle, label=cell, **_line(cell, number))
                axes.set_xlabel(self._call("epoch"))
                count_along(axes.xaxis)
                axes.set_ylabel(self._axis(setting))
                axes.set_title(self._heading(setting), fontsize=10)
                if not setting.figure.percent:
                    _logarithmic(axes, "y")

        return chart(draw, "curves", panels=len(settings), size=(4.2 * len(settings), 3.9))

    def _flows(
        self, name: str, fresh: Mapping[str, FlowResult], trained: Mapping[str, FlowResult]
    ) -> Markup:
        """What is left of the gradient so many steps before the end."""

        def draw(panels: Any) -> None:
            pairs = ((fresh, "before training"), (trained, "after training"))
            for axes, (flows, title) in zip(panels, pairs, strict=True):
                for number, (cell, flow) in enumerate(flows.items()):
                    share = [max(each, _SMALLEST_SHARE) for each in flow.share]
                    axes.plot(range(len(share)), share, label=cell, **_line(cell, number, False))
                axes.axhline(0.01, color=TEXT_COLOUR, lw=0.8, ls=":")
                _logarithmic(axes, "y")
                axes.set_ylim(_SMALLEST_SHARE, 30)
                axes.set_xlabel(self._call("steps before the end"))
                count_along(axes.xaxis)
                axes.set_title(self._call(title), fontsize=10)
            panels[0].set_ylabel(self._call("what is left of the gradient"))

        return chart(draw, f"gradients {name}", panels=2, size=(8.4, 3.9))

    def _costs(self, hidden: Mapping[str, Cost], parameters: Mapping[str, Cost]) -> Markup:
        """Parameters, and the time and memory of a training step."""
        units = next(iter(hidden.values())).hidden_size
        same = called("{} units", self.language).format(units)
        equal = self._call("equal parameters")
        panels_: list[tuple[str, str, Mapping[str, Cost], Callable[[Cost], float | None]]] = [
            ("parameters", same, hidden, lambda cost: cost.parameters),
            ("ms a step", same, hidden, lambda cost: 1000 * cost.training_seconds),
            (
                "ms a step",
                equal,
                parameters,
                lambda cost: 1000 * cost.training_seconds,
            ),
            (
                "MB a step",
                equal,
                parameters,
                lambda cost: None if cost.memory_bytes is None else cost.memory_bytes / 1e6,
            ),
        ]

        def draw(panels: Any) -> None:
            for axes, (title, at, costs, value) in zip(panels, panels_, strict=True):
                for number, (cell, cost) in enumerate(costs.items()):
                    place = len(costs) - 1 - number
                    axes.barh(place, value(cost) or 0, color=_colour(cell, number), height=0.6)
                axes.set_yticks(range(len(costs)), [*costs][::-1])
                axes.set_title(f"{self._call(title)}\n{at}", fontsize=10)
                axes.ticklabel_format(axis="x", style="plain")
                axes.set_axisbelow(True)
                axes.xaxis.set_major_locator(_few())

        return chart(draw, "costs", panels=len(panels_), size=(_WIDEST, 1.6 + 0.28 * len(hidden)))


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _logarithmic(axes: Any, axis: str) -> None:
    getattr(axes, f"set_{axis}scale")("log")
    axes.minorticks_off()


def _several(panels: Any) -> Sequence[Any]:
    """The panels of a chart, which has one or several."""
    return panels if hasattr(panels, "__len__") else [panels]


def _in_rows(settings: Settings) -> list[Settings]:
    """Settings in pictures of a few panels."""
    return [settings[start : start + _PANELS] for start in range(0, len(settings), _PANELS)]


def _scaled(setting: SettingResult, values: Iterable[float]) -> list[float]:
    factor = 100 if setting.figure.percent else 1
    return [factor * value for value in values]


def _baselines(axes: Any, settings: Sequence[SettingResult]) -> None:
    """What is reached without a network, by the length."""
    for name in settings[0].baselines:
        values = [_scaled(each, [each.baselines[name]])[0] for each in settings]
        axes.plot(range(len(settings)), values, ":", color=TEXT_COLOUR, lw=1)


def _colour(cell: str, number: int) -> str:
    return SERIES_COLOURS[_COLOURS.get(cell, number) % len(SERIES_COLOURS)]


def _line(cell: str, number: int, marked: bool = True) -> dict[str, Any]:
    return {
        "color": _colour(cell, number),
        "linestyle": _DASHES.get(cell, "-" if cell in _COLOURS or number < 6 else "--"),
        "linewidth": 1.8,
        "marker": "o" if marked else None,
        "markersize": 3,
    }
