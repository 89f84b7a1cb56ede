"""The tables of a study's pages, in Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from anyrnn.studies.cells.claims import named_setting, shown_values
from anyrnn.studies.cells.results import FlowResult, SettingResult, StudyResults
from anyrnn.studies.cells.words import called, figure_of, heading, title_of
from anyrnn.tasks.scores.figures import short_duration
from anyrnn.tasks.words import Language

REAL = frozenset({"surnames", "co2", "sounds"})
"""The problems on real data."""

_IMAGES = ("digits-rows", "digits-pixels", "mnist-rows", "mnist-pixels")


@dataclass(frozen=True)
class _Published:
    """A row of Bai, Kolter & Koltun 2018 (arXiv 1803.01271), Table 1.

    Attributes:
        steps, parameters: The sizes of sequences and networks.
        figure: What is told.
        figures: Those of LSTM, GRU and RNN.
        comparable: The problems here beside which it stands: of each group the first one that was
            trained, in its longest sequences.
    """

    steps: int
    parameters: str
    figure: str
    figures: tuple[str, str, str]
    comparable: tuple[tuple[str, ...], ...]


_PUBLISHED = {
    "large-mnist": _Published(
        784,
        "70K",
        "accuracy",
        ("87.2 %", "96.2 %", "21.5 %"),
        (("large-mnist",), ("mnist-pixels", "digits-pixels")),
    ),
    "large-adding": _Published(
        600, "70K", "loss", ("0.164", "5.3e-5", "0.177"), (("large-adding",), ("adding",))
    ),
    "large-copying": _Published(
        1020, "16K", "loss", ("0.0204", "0.0197", "0.0202"), (("large-copying",), ("copying",))
    ),
}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    Example:
        >>> print(table(["cell", "loss"], [["gru", "0.1"]]))
        | cell | loss |
        | --- | --- |
        | gru | 0.1 |
    """
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def training_table(results: StudyResults, language: Language) -> str:
    """What was trained on, and how long."""
    names = ("problem", "steps", "sequences", "updates", "seeds", "parameters", "figure")
    rows = []
    for setting in results.settings.values():
        sequences = [setting.sequences.get(p, 0) for p in ("training", "validation", "test")]
        parameters = next(iter(setting.cells.values())).parameters
        rows.append(
            [
                title_of(setting.problem, language),
                str(setting.steps),
                " / ".join(f"{count:,}" for count in sequences),
                f"{setting.updates * setting.epochs:,}",
                str(max(len(each.trials) for each in setting.cells.values())),
                f"{parameters:,}",
                figure_of(setting.problem, setting.figure.title, language),
            ]
        )
    return table([heading(name, language) for name in names], rows)


def result_tables(results: StudyResults, language: Language) -> list[str]:
    """What each cell reaches: problems of memory, images, real data, as far as they are there."""
    groups = (
        [n for n, each in results.settings.items() if each.problem not in (*REAL, *_IMAGES)],
        [n for n, each in results.settings.items() if each.problem in _IMAGES],
        [n for n, each in results.settings.items() if each.problem in REAL],
    )
    return [_results(results, group, language) for group in groups if group]


def _results(results: StudyResults, names: Sequence[str], language: Language) -> str:
    settings = [results.settings[name] for name in names]
    rows = [
        [f"`{cell}`", *(_reached(setting, cell) for setting in settings)]
        for cell in _cells(results, settings)
    ]
    for baseline in dict.fromkeys(name for each in settings for name in each.baselines):
        reached = [
            shown_values(each.figure.figure, [each.baselines[baseline]])
            if baseline in each.baselines
            else ""
            for each in settings
        ]
        rows.append([f"*{called(baseline, language)}*", *reached])
    titles = [_titled(each, language) for each in settings]
    return table([heading("cell", language), *titles], rows)


def _cells(results: StudyResults, settings: Sequence[SettingResult]) -> list[str]:
    return [cell for cell in results.cells if any(cell in each.cells for each in settings)]


def _titled(setting: SettingResult, language: Language) -> str:
    figure = figure_of(setting.problem, setting.figure.title, language)
    return f"{named_setting(setting, language)}: {figure}"


def _reached(setting: SettingResult, cell: str) -> str:
    """The mean and the deviation, bold if it is the best; what failed is counted."""
    found = setting.cells.get(cell)
    if found is None:
        return ""
    failed = len(found.trials) - len(found.values)
    if not found.values:
        return f"0 / {len(found.trials)}"
    means = {name: fmean(each.values) for name, each in setting.cells.items() if each.values}
    best = (max if setting.figure.larger_is_better else min)(means.values())
    text = shown_values(setting.figure.figure, found.values)
    text = f"**{text}**" if means[cell] == best else text
    return f"{text} ({len(found.values)} / {len(found.trials)})" if failed else text


def size_table(results: StudyResults, language: Language) -> str:
    """The units and the learning rate of each cell in each setting."""
    settings = list(results.settings.values())
    rows = []
    for cell in results.cells:
        found = (each.cells.get(cell) for each in settings)
        told = [f"{each.hidden_size}, {each.rate:g}" if each else "" for each in found]
        rows.append([f"`{cell}`", *told])
    titles = [f"{title_of(each.problem, language)} {each.steps}" for each in settings]
    return table([heading("cell", language), *titles], rows)


def cost_table(results: StudyResults, language: Language) -> str:
    """What a step costs, at equal parameters and at equal sizes."""
    costs = results.costs
    if costs is None:
        return ""
    names = ("cell", "units", "parameters", "training", "prediction", "memory")
    rows = []
    for cell, one in costs.equal_parameters.items():
        other = costs.equal_hidden[cell]
        memory = "" if one.memory_bytes is None else f"{one.memory_bytes / 1e6:.1f} MB"
        rows.append(
            [
                f"`{cell}`",
                f"{one.hidden_size} / {other.hidden_size}",
                f"{one.parameters:,} / {other.parameters:,}",
                *(
                    f"{short_duration(getattr(one, name))} / {short_duration(getattr(other, name))}"
                    for name in ("training_seconds", "inference_seconds")
                ),
                memory,
            ]
        )
    return table([heading(name, language) for name in names], rows)


def flow_table(results: StudyResults, language: Language) -> str:
    """After how many steps 1 % of the gradient is left, before and after the training."""
    columns, found = [heading("cell", language)], []
    for name, flows in results.flows.items():
        setting = results.settings[name]
        title = f"{title_of(setting.problem, language)} {setting.steps}"
        for when, each in (("before", flows.fresh), ("after", flows.trained)):
            columns.append(heading(when, language).format(title))
            found.append(each)
    rows = [
        [f"`{cell}`", *(_steps_left(each, cell) for each in found)]
        for cell in results.cells
        if any(cell in each for each in found)
    ]
    return table(columns, rows) if rows else ""


def _steps_left(flows: Mapping[str, FlowResult], cell: str) -> str:
    if cell not in flows:
        return ""
    steps = flows[cell].median_steps
    return f"> {len(flows[cell].share) - 1}" if math.isinf(steps) else f"{steps:g}"


def published_table(results: StudyResults, language: Language) -> str:
    """The figures of Bai et al. 2018 beside those of the same problems here: in their sizes, and in
    those that every cell was trained in.
    """
    names = ("problem", "source", "steps", "parameters", "updates", "figure")
    columns = [*(heading(name, language) for name in names), "LSTM", "GRU", "RNN"]
    rows = []
    for problem, published in _PUBLISHED.items():
        found = (
            next((results.of(each)[-1][1] for each in group if results.of(each)), None)
            for group in published.comparable
        )
        if mine := [_beside(setting, language) for setting in found if setting]:
            name, bai = title_of(problem, language), heading("bai", language)
            figure = figure_of(problem, published.figure, language)
            sizes = (f"{published.steps:,}", published.parameters, "")
            rows += [[name, bai, *sizes, figure, *published.figures], *mine]
    return table(columns, rows) if rows else ""


def _beside(setting: SettingResult, language: Language) -> list[str]:
    """A row of ours in the table of published figures."""
    return [
        title_of(setting.problem, language),
        heading("ours", language),
        f"{setting.steps:,}",
        f"{next(iter(setting.cells.values())).parameters / 1000:.1f}K",
        f"{setting.updates * setting.epochs:,}",
        figure_of(setting.problem, setting.figure.title, language),
        *(_reached(setting, cell).replace("*", "") for cell in ("lstm", "gru", "rnn")),
    ]
