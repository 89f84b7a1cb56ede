"""The articles' four claims, held against what a study found."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal

from anyrnn.studies.cells.results import (
    CellResult,
    Cost,
    FlowResult,
    FlowResults,
    SettingResult,
    StudyResults,
)
from anyrnn.studies.cells.words import (
    ARTICLES_CELLS,
    figure_of,
    said,
    steps_of,
    title_of,
)
from anyrnn.studies.comparison.statistics import Contrast, contrast
from anyrnn.tasks.scores.figures import Figure, short_duration
from anyrnn.tasks.words import Language, listed

Verdict = Literal["holds", "in part", "not here", "unknown"]

_LEVEL = 0.05
_LONGER = 1.5  # from which factor on a gradient reaches farther
_FASTER = 0.95  # below which share of a time it is shorter
_LEARNED = 0.1  # a share of what is reached without a network, below which a cell has learned
_SMALL = 0.01  # numbers below are told as powers of ten
_SHORT = ("digits-rows", "surnames")


@dataclass(frozen=True)
class Claim:
    """A claim of the articles with what the study says about it.

    Attributes:
        number: Its number, from 1.
        verdict: Whether it holds here.
        sentences: What was found, in sentences of a language.
        pictures: The names of its pictures, as far as they can be drawn.
    """

    number: int
    verdict: Verdict
    sentences: tuple[str, ...]
    pictures: tuple[str, ...]


def claims(results: StudyResults, language: Language) -> list[Claim]:
    """The four claims; those that need what was not measured are "unknown".

    Args:
        results: What was found.
        language: The language of the sentences.
    """
    return [
        _gradients(results, language),
        _cheaper(results, language),
        _long(results, language),
        _short(results, language),
    ]


def compared(setting: SettingResult, cell: str, other: str) -> Contrast | None:
    """A cell compared with another one, by the seeds that both have; `None` with less than two."""
    if cell not in setting.cells or other not in setting.cells:
        return None
    one, two = setting.cells[cell].by_seed, setting.cells[other].by_seed
    seeds = sorted(one.keys() & two.keys())
    if len(seeds) < 2:
        return None
    larger = setting.figure.larger_is_better
    return contrast(cell, other, [one[s] for s in seeds], [two[s] for s in seeds], larger)


def shown_values(figure: Figure, values: Sequence[float]) -> str:
    """The mean and the deviation of a figure with its unit; a small one as a power of ten.

    Example:
        >>> shown_values(Figure("loss", "loss"), [5.1e-5, 4.9e-5])
        '5.0e-5 ± 1.4e-6'
        >>> shown_values(Figure("accuracy", "accuracy", percent=True), [0.9])
        '90.0 %'
    """
    if figure.percent:
        return f"{figure.of_trials(list(values))} %"
    if abs(fmean(values)) >= _SMALL:
        return figure.of_trials(list(values))
    numbers = [fmean(values), stdev(values)] if len(values) > 1 else [fmean(values)]
    return " ± ".join(f"{number:.1e}".replace("e-0", "e-") for number in numbers)


def _gradients(results: StudyResults, language: Language) -> Claim:
    """An RNN's gradient vanishes, an LSTM's and a GRU's less."""
    settings = [name for name in results.flows if _has_articles(results.flows[name].trained)]
    if not settings:
        return Claim(1, "unknown", (said("not measured", language),), ())
    fresh = [_reaches_farther(results.flows[name], trained=False) for name in settings]
    trained = [_reaches_farther(results.flows[name], trained=True) for name in settings]
    sentences = [
        said(
            "gradients in",
            language,
            problem=named_setting(results.settings[name], language),
            fresh=_steps(results.flows[name], False, language),
            trained=_steps(results.flows[name], True, language),
        )
        for name in settings
    ]
    sentences.append(
        said("fresh gates help" if all(fresh) else "fresh gates do not help", language)
    )
    sentences.append(
        said(
            "training helps"
            if all(trained)
            else "training helps in part"
            if any(trained)
            else "training does not help",
            language,
            count=sum(trained),
            total=len(trained),
        )
    )
    verdict: Verdict = (
        "holds"
        if all(fresh) and all(trained)
        else "in part"
        if any(trained + fresh)
        else "not here"
    )
    return Claim(1, verdict, tuple(sentences), tuple(f"gradients-{name}" for name in settings[:1]))


def _has_articles(flows: Mapping[str, FlowResult]) -> bool:
    return all(cell in flows for cell in ARTICLES_CELLS)


def _reaches_farther(flows: FlowResults, *, trained: bool) -> bool:
    """Whether the gradients of both the LSTM and the GRU reach clearly farther than the RNN's."""
    found = flows.trained if trained else flows.fresh
    rnn = found["rnn"].median_steps
    return all(found[cell].median_steps >= _LONGER * rnn for cell in ("lstm", "gru"))


def _steps(flows: FlowResults, trained: bool, language: Language) -> str:
    found = flows.trained if trained else flows.fresh
    parts = []
    for cell in ARTICLES_CELLS:
        steps = found[cell].median_steps
        known = said("more than", language, steps=len(found[cell].share) - 1)
        parts.append(f"{cell} {known if math.isinf(steps) else f'{steps:g}'}")
    return listed(parts, language)


def _cheaper(results: StudyResults, language: Language) -> Claim:
    """The GRU has fewer parameters and trains faster."""
    costs = results.costs
    if costs is None or not {"gru", "lstm"} <= costs.equal_hidden.keys():
        return Claim(2, "unknown", (said("not measured", language),), ())
    hidden, parameters = (
        {cell: each[cell] for cell in ("gru", "lstm")}
        for each in (costs.equal_hidden, costs.equal_parameters)
    )
    share = hidden["gru"].parameters / hidden["lstm"].parameters
    at_hidden, at_parameters = map(_time_ratio, (hidden, parameters))
    sentences = [
        said(
            "parameters",
            language,
            units=hidden["lstm"].hidden_size,
            gru=f"{hidden['gru'].parameters:,}",
            lstm=f"{hidden['lstm'].parameters:,}",
            share=f"{100 * share:.0f}",
        ),
        said(
            "step times",
            language,
            units=hidden["lstm"].hidden_size,
            gru=short_duration(hidden["gru"].training_seconds),
            lstm=short_duration(hidden["lstm"].training_seconds),
            share=f"{100 * at_hidden:.0f}",
            equal=f"{100 * at_parameters:.0f}",
        ),
    ]
    learned = list(_epochs_to_learn(results, language))
    sentences += [sentence for sentence, _ in learned]
    faster = [at_hidden < _FASTER, at_parameters < _FASTER, *(faster for _, faster in learned)]
    verdict: Verdict = "holds" if share < 1 and all(faster) else "in part"
    return Claim(
        2, verdict if share < 1 or any(faster) else "not here", tuple(sentences), ("costs",)
    )


def _time_ratio(costs: dict[str, Cost]) -> float:
    return costs["gru"].training_seconds / costs["lstm"].training_seconds


def _epochs_to_learn(results: StudyResults, language: Language) -> Iterator[tuple[str, bool]]:
    """After how many epochs the cells have learned to add, for each length."""
    for _, setting in results.of("adding"):
        if not {"gru", "lstm"} <= setting.cells.keys() or "always 1" not in setting.baselines:
            continue
        goal = _LEARNED * setting.baselines["always 1"]
        cells = [setting.cells[cell] for cell in ("gru", "lstm")]
        gru, lstm = (_epochs_until(cell, goal) for cell in cells)
        told = [
            _time_to_learn(setting, cell, epochs, language)
            for cell, epochs in zip(cells, (gru, lstm), strict=True)
        ]
        sentence = said(
            "learned after",
            language,
            problem=named_setting(setting, language),
            goal=setting.figure.figure.shown(goal),
            gru=told[0],
            lstm=told[1],
        )
        yield sentence, gru < lstm


def _time_to_learn(
    setting: SettingResult, cell: CellResult, epochs: float, language: Language
) -> str:
    """After how many epochs a cell has learned; how long it took, where trainings were timed."""
    if math.isinf(epochs):
        return said("not within", language, epochs=setting.epochs)
    if not setting.timed:
        return said("after epochs", language, epochs=f"{epochs:g}")
    seconds = epochs * median(each.seconds for each in cell.trials)
    return said("after a time", language, epochs=f"{epochs:g}", time=f"{seconds:.1f}")


def _epochs_until(cell: CellResult, goal: float) -> float:
    """The median number of epochs until the validation figure is below a goal."""
    found = [
        next((n for n, value in enumerate(each.curve, start=1) if value <= goal), math.inf)
        for each in cell.trials
    ]
    return median(found) if found else math.inf


def _long(results: StudyResults, language: Language) -> Claim:
    """The LSTM is better where dependencies are long."""
    settings = [*_ends(results, -1), *_some(results, "digits-pixels")]
    found = {
        other: [compared(each, "lstm", other) for each in settings] for other in ("rnn", "gru")
    }
    known = [place for place in range(len(settings)) if found["rnn"][place] and found["gru"][place]]
    if not known:
        return Claim(3, "unknown", (said("not measured", language),), ())
    sentences = [_three(settings[place], language) for place in known]
    over_rnn, over_gru = ([_sign(each[place]) for place in known] for each in found.values())
    for other, signs in (("rnn", over_rnn), ("gru", over_gru)):
        sentences.append(
            said(
                "lstm against",
                language,
                other=other,
                total=len(known),
                better=signs.count(1),
                worse=signs.count(-1),
                open=signs.count(0),
            )
        )
    if all(sign > 0 for sign in over_rnn + over_gru):
        verdict: Verdict = "holds"
    elif 1 in over_rnn or 1 in over_gru:
        verdict = "in part"
    else:
        verdict = "not here"
    return Claim(3, verdict, tuple(sentences), ("lengths", "long"))


def _short(results: StudyResults, language: Language) -> Claim:
    """An RNN is enough where dependencies are short."""
    settings = [*_ends(results, 0), *_some(results, *_SHORT)]
    rows = [each for each in settings if _comparable(each)]
    if not rows:
        return Claim(4, "unknown", (said("not measured", language),), ())
    sentences = [_three(setting, language) for setting in rows]
    enough = sum(map(_rnn_is_enough, rows))
    worse = len(rows) - enough
    sentences.append(said("rnn is enough", language, enough=enough, worse=worse, total=len(rows)))
    verdict: Verdict = "holds" if not worse else "in part" if enough else "not here"
    return Claim(4, verdict, tuple(sentences), ("short",))


def _comparable(setting: SettingResult) -> bool:
    """Whether the articles' cells were trained from two seeds or more."""
    found = (setting.cells.get(cell) for cell in ARTICLES_CELLS)
    return all(each is not None and len(each.values) > 1 for each in found)


def _rnn_is_enough(setting: SettingResult) -> bool:
    """Whether the RNN's mean is no worse than the worst seed of the better of LSTM and GRU."""
    sign = 1 if setting.figure.larger_is_better else -1
    values = {c: [sign * value for value in setting.cells[c].values] for c in ARTICLES_CELLS}
    better = max(("lstm", "gru"), key=lambda cell: fmean(values[cell]))
    return fmean(values["rnn"]) >= min(values[better])


def _ends(results: StudyResults, place: int) -> list[SettingResult]:
    """The shortest or the longest setting of each problem that has several."""
    problems = dict.fromkeys(each.problem for each in results.settings.values())
    lengths = [results.of(problem) for problem in problems]
    return [found[place][1] for found in lengths if len(found) > 1]


def _some(results: StudyResults, *names: str) -> list[SettingResult]:
    return [results.settings[name] for name in names if name in results.settings]


def _sign(found: Contrast | None) -> int:
    """1 if the first cell is better, as far as so few seeds can tell, -1 if it is worse, else 0."""
    if found is None:
        return 0
    verdict = found.verdict(_LEVEL)
    return {"better": 1, "worse": -1}.get(verdict.removeprefix("probably "), 0)


def _three(setting: SettingResult, language: Language) -> str:
    """What the articles' cells reach in a setting."""
    figure = setting.figure.figure
    reached = [
        f"{cell} {shown_values(figure, setting.cells[cell].values)}"
        for cell in ARTICLES_CELLS
        if cell in setting.cells and setting.cells[cell].values
    ]
    return said(
        "reached",
        language,
        problem=named_setting(setting, language),
        figure=figure_of(setting.problem, figure.title, language),
        cells=listed(reached, language),
    )


def named_setting(setting: SettingResult, language: Language) -> str:
    """A problem with its number of steps."""
    steps = steps_of(setting.steps, language)
    title = title_of(setting.problem, language)
    return f"{title}（{steps}）" if language == "zh" else f"{title}, {steps}"
