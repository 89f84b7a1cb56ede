"""The pages of a study, in English and in Chinese: from its results alone, with their pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from anyrnn.files import writing
from anyrnn.studies.cells.claims import Claim, claims
from anyrnn.studies.cells.pictures import Drawer
from anyrnn.studies.cells.results import SettingResult, StudyResults, read_results
from anyrnn.studies.cells.settings import CELLS, LARGE, MNIST, SETTINGS
from anyrnn.studies.cells.tables import (
    REAL,
    cost_table,
    flow_table,
    published_table,
    result_tables,
    size_table,
    training_table,
)
from anyrnn.studies.cells.words import LANGUAGES, SUFFIXES, said, title_of
from anyrnn.tasks.report import standalone
from anyrnn.tasks.run_files import write_text
from anyrnn.tasks.words import Language, listed

PAGES = ("which-cell", "gallery")
"""The names of the pages, without language and ending."""

PICTURES = "pictures"
"""The folder of the pictures, beside the pages."""

_OF_DOCUMENTS = "_static/gates.png"  # lies in the folder of the documents only


def joined(paths: Sequence[Path]) -> StudyResults:
    """The results of a study, with the settings of further ones.

    Args:
        paths: The files; of a setting that several have the last one counts. What is told of the
            machine comes from the first one, the costs from that with the longest sequences.

    Raises:
        DataError: A file cannot be read.
    """
    first, *others = map(read_results, paths)
    for other in others:
        costs = [each.costs for each in (first, other) if each.costs]
        first = replace(
            first,
            settings={**first.settings, **other.settings},
            flows={**first.flows, **other.flows},
            cells=list(dict.fromkeys([*first.cells, *other.cells])),
            costs=max(costs, key=lambda each: each.steps, default=None),
        )
    longest = {
        each.problem: name for name, each in first.settings.items() if _is_longest(first, each)
    }
    first = replace(
        first, flows={n: each for n, each in first.flows.items() if n in longest.values()}
    )
    order = {name: place for place, name in enumerate((*SETTINGS, *MNIST, *LARGE))}
    names = sorted(first.settings, key=lambda name: order.get(name, len(order)))
    return replace(first, settings={name: first.settings[name] for name in names})


def _is_longest(results: StudyResults, setting: SettingResult) -> bool:
    return setting is results.of(setting.problem)[-1][1]


def pages_of(results: StudyResults, documents: bool = False) -> dict[str, str]:
    """The content of each page and picture, by its path within the folder of the pages.

    Args:
        results: What was found.
        documents: Whether the folder is that of anyrnn's documents, so that they may be linked to.
    """
    found: dict[str, str] = {}
    for language in LANGUAGES:
        suffix = SUFFIXES[language]
        pictures = Drawer(_ranked(results), language).every()
        for name, svg in pictures.items():
            found[f"{PICTURES}/{name}{suffix}.svg"] = standalone(svg) + "\n"
        values = _values(results, language, set(pictures), documents)
        for name in PAGES:
            text = _environment().get_template(f"{name}{suffix}.md").render(values)
            found[f"{name}{suffix}.md"] = text.strip() + "\n"
    return found


def _ranked(results: StudyResults) -> StudyResults:
    """The results without the large settings, which stand only beside the published figures; all of
    them if there are no others.
    """
    others = {name: each for name, each in results.settings.items() if name not in LARGE}
    return replace(results, settings=others) if others else results


def write_pages(results: StudyResults, folder: Path) -> list[Path]:
    """Write the pages and their pictures.

    Args:
        results: What was found.
        folder: The folder of the pages.

    Returns:
        The pages in English and in Chinese.

    Raises:
        WriteError: They cannot be written.
    """
    made = pages_of(results, documents=(folder / _OF_DOCUMENTS).exists())
    with writing(folder):
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        write_text(folder / name, text)
    return [folder / name for name in made if name.endswith(".md")]


@dataclass(frozen=True)
class _Ranking:
    """How cells rank over the settings that all of them were trained in.

    Attributes:
        ranks: The mean rank of each cell, the best first.
        wins: In how many settings each is the best, of those that are it anywhere.
        count: The number of settings.
    """

    ranks: dict[str, float]
    wins: dict[str, int]
    count: int


def _ranking(results: StudyResults) -> _Ranking:
    every = [_means(setting) for setting in results.settings.values()]
    common = [cell for cell in results.cells if all(cell in means for means in every)]
    places: dict[str, list[int]] = {cell: [] for cell in common}
    wins: dict[str, int] = {}
    for setting, found in zip(results.settings.values(), every, strict=True):
        means = {cell: found[cell] for cell in common}
        if not means:
            continue
        order = sorted(means, key=lambda cell: means[cell], reverse=setting.figure.larger_is_better)
        wins[order[0]] = wins.get(order[0], 0) + 1
        for place, cell in enumerate(order, start=1):
            places[cell].append(place)
    means = {cell: fmean(each) for cell, each in places.items() if each}
    ranks = {cell: means[cell] for cell in sorted(means, key=lambda cell: means[cell])}
    wins = {cell: wins[cell] for cell in sorted(wins, key=lambda cell: -wins[cell])}
    return _Ranking(ranks, wins, sum(wins.values()))


def _means(setting: SettingResult) -> dict[str, float]:
    return {cell: fmean(each.values) for cell, each in setting.cells.items() if each.values}


def _in_short(results: StudyResults, language: Language) -> Iterator[str]:
    ranking = _ranking(results)
    if len(ranking.ranks) < 2:
        return
    (best, rank), (second, other), *_ = ranking.ranks.items()
    yield said(
        "ranks",
        language,
        count=ranking.count,
        best=best,
        rank=f"{rank:.1f}",
        cells=len(ranking.ranks),
        second=second,
        other=f"{other:.1f}",
    )
    if len(ranking.wins) == 1:
        yield said("one best", language)
    else:
        winners = [said("wins", language, cell=c, count=n) for c, n in ranking.wins.items()]
        separator = "，" if language == "zh" else ", "
        yield said("no best", language, winners=separator.join(winners))


def _values(
    results: StudyResults, language: Language, pictures: set[str], documents: bool
) -> Mapping[str, Any]:
    """What the templates use."""
    suffix = SUFFIXES[language]

    def link(words: str, page: str) -> str:
        return f"[{words}]({page}{suffix}.md)" if documents else words

    def picture(name: str, words: str) -> str:
        return f"![{words}]({PICTURES}/{name}{suffix}.svg)" if name in pictures else ""

    every, results = results, _ranked(results)
    fewest, most = results.seeds
    problems = {each.problem for each in results.settings.values()}
    return {
        "results": results,
        "short": list(_in_short(results, language)),
        "claims": claims(results, language),
        "verdict": lambda claim: _verdict(claim, language),
        "picture": picture,
        "link": link,
        "documents": documents,
        "pictures": pictures,
        "seeds": str(most) if fewest == most else f"{fewest}–{most}",
        "rates": ", ".join(f"{rate:g}" for rate in _rates(results)),
        "at_the_edge": _at_the_edge(results, language),
        "problems": problems,
        "real": bool(problems & REAL),
        "missing": _missing(results, language),
        "versions": ", ".join(f"{name} {number}" for name, number in results.versions.items()),
        "training_table": training_table(every, language),
        "large": every.settings.keys() & LARGE.keys(),
        "result_tables": result_tables(results, language),
        "size_table": size_table(results, language),
        "cost_table": cost_table(results, language),
        "flow_table": flow_table(results, language),
        "published_table": published_table(every, language),
    }


def _rates(results: StudyResults) -> list[float]:
    """Every learning rate that was tried."""
    cells = (cell for each in results.settings.values() for cell in each.cells.values())
    return sorted({float(rate) for cell in cells for rate in cell.rates})


def _at_the_edge(results: StudyResults, language: Language) -> str:
    """How often the best learning rate was at an end of those that were tried."""
    cells = [cell for each in results.settings.values() for cell in each.cells.values()]
    cells = [cell for cell in cells if len(cell.rates) > 1]
    ends = [(min(rates), max(rates)) for rates in ([*map(float, c.rates)] for c in cells)]
    count = sum(cell.rate in end for cell, end in zip(cells, ends, strict=True))
    return said("at the edge", language, count=count, total=len(cells)) if count else ""


def _missing(results: StudyResults, language: Language) -> str:
    """What the study has beyond what was trained."""
    names = [
        f"{title_of(each.problem, language)} {each.steps or ''}".strip()
        for name, each in SETTINGS.items()
        if name not in results.settings
    ]
    names += [f"`{cell}`" for cell in CELLS if cell not in results.cells]
    return said("missing", language, names=listed(names, language)) if names else ""


def _verdict(claim: Claim, language: Language) -> str:
    return said(claim.verdict, language)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("anyrnn.studies"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown
    )
