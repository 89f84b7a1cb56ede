"""Writes `options.md` and its Chinese twin from the declarations of the tasks' options.

`python docs/options_page.py` after an option has changed; a test compares the pages.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from anyrnn.cli.options import flags, names
from anyrnn.studies.cells.options import CellStudyOptions
from anyrnn.studies.comparison.options import CompareOptions
from anyrnn.studies.options import StudyOptions
from anyrnn.studies.tuning.options import TuneOptions
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.options.declaration import Option, OptionGroup, declared
from anyrnn.tasks.options.option_checks import Need, alternatives
from anyrnn.tasks.options.training_options import RunOptions
from anyrnn.tasks.registry import TASKS

HERE = Path(__file__).parent
CHINESE = HERE / "options.zh-CN.yaml"

OF_EVERY_TASK: dict[str, type[OptionGroup]] = {
    "inspect": InspectOptions,
    "run": RunOptions,
    "tune": TuneOptions,
    "compare": CompareOptions,
    "study": StudyOptions,
    "cells": CellStudyOptions,
}
"""Options beside those of a task, by what the page calls them."""

ENGLISH: dict[str, Any] = {
    "title": "Options of the tasks",
    "twin": "[中文](options.zh-CN.md)",
    "intro": """Every option of `anyrnn train TASK`, as a flag, as a name in a file and in Python,
and of the commands that ask its runs. `anyrnn evaluate` takes those of the data and of a search.

`anyrnn init-config TASK --output run.yaml` writes a file with all of them, and
`anyrnn train TASK --config run.yaml` reads it. `--set model.hidden_size=256` sets one as the file
names it. Flags win over `--set`, and that over the file. In Python the same names are arguments of
`anyrnn.tasks.TASK.Options` and its groups. Paths are relative to the folder in which the command
runs.

This page is made by `docs/options_page.py` from the declarations.""",
    "head": "| Flag | In a file | Value | Default | What it is |",
    "of": "anyrnn train {}",
    "inspect": "anyrnn inspect, on a run of any task",
    "run": "Run folder, of every task",
    "study": "Studies: anyrnn tune and anyrnn compare",
    "tune": "anyrnn tune, of every task",
    "compare": "anyrnn compare, of every task",
    "cells": "anyrnn study, of the main cells",
    "flags only": "These are flags only; in Python they are arguments.",
    "required": "required",
    "or": (", ", " or "),
    "space": " ",
    "predict": "anyrnn predict, on a run of {name}",
    "both": "anyrnn predict and anyrnn {verb}, on a run of {name}",
    "verb": "anyrnn {verb}, on a run of {name}",
}


def page(texts: dict[str, Any], words: dict[str, str], suffix: str) -> str:
    """The page in a language.

    Args:
        texts: What stands around the tables.
        words: What becomes of the English help; empty in English.
        suffix: Of pages in this language.
    """
    lines = [f"# {texts['title']}", "", texts["twin"], "", *texts["intro"].split("\n"), ""]
    for entry in TASKS.values():
        lines += [f"## {texts['of'].format(entry.name)}", ""]
        lines += _panels(list(declared(entry.options)), texts, words, named=True)
        own = entry.verb and entry.verb_options is not entry.predict_options
        title = texts["both" if entry.verb and not own else "predict"]
        lines += [f"## {title.format(verb=entry.verb, name=entry.name)}", ""]
        lines += _table(list(declared(entry.predict_options)), texts, words, named=False)
        if own:
            lines += [f"## {texts['verb'].format(verb=entry.verb, name=entry.name)}", ""]
            lines += _table(list(declared(entry.verb_options)), texts, words, named=False)
    for title, kind in OF_EVERY_TASK.items():
        lines += [f"## {texts[title]}", "", texts["flags only"], ""]
        lines += _table(list(declared(kind)), texts, words, named=False)
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    chinese = yaml.safe_load(CHINESE.read_text(encoding="utf-8"))
    return {
        "options.md": page(ENGLISH, {}, ".md"),
        "options.zh-CN.md": page(chinese["page"], chinese["words"], ".zh-CN.md"),
    }


def words() -> set[str]:
    """Every text of a declaration that the Chinese page needs a word for."""
    found: set[str] = set()
    for option in every_option():
        found |= {_plain(option.declaration.help), option.panel, option.declaration.shown}
        found |= {need.words for need in option.declaration.needs}
        found |= set(_value(option, {}).split(", ")) if not option.choices else set()
    return found - {""}


def every_option() -> Iterator[Option]:
    """The options of all tasks and those of every run."""
    for entry in TASKS.values():
        yield from declared(entry.options)
        yield from declared(entry.predict_options)
        yield from declared(entry.verb_options)
    for kind in OF_EVERY_TASK.values():
        yield from declared(kind)


def _panels(
    options: list[Option], texts: dict[str, Any], words: dict[str, str], named: bool
) -> list[str]:
    lines = []
    for panel in dict.fromkeys(option.panel for option in options):
        lines += [f"### {words.get(panel, panel)}", ""]
        inside = [option for option in options if option.panel == panel]
        lines += _table(inside, texts, words, named)
    return lines


def _table(
    options: list[Option], texts: dict[str, Any], words: dict[str, str], named: bool
) -> list[str]:
    head, named_as = texts["head"], names(options)
    if not named:
        cells = head.split("|")
        head = "|".join(cells[:2] + cells[3:])
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for option in options:
        cells = [_flags(option), f"`{option.path}`"] if named else [_flags(option)]
        cells += [_value(option, words), _default(option, texts, words)]
        help = _plain(option.declaration.help)
        told = [words.get(help, help)]
        told += [_need(need, named_as, texts, words) for need in option.declaration.needs]
        lines.append("| " + " | ".join([*cells, texts["space"].join(told)]) + " |")
    return [*lines, ""]


def _need(
    need: Need, named_as: Callable[[str], str], texts: dict[str, Any], words: dict[str, str]
) -> str:
    """A sentence on the choice without which an option has no effect."""
    sentence = words.get(need.words, f"{need.words[0].upper()}{need.words[1:]}.")
    values = alternatives([f"`{value}`" for value in need.shown()], *texts["or"])
    return sentence.format(name=f"`{named_as(need.name)}`", values=values)


def _flags(option: Option) -> str:
    if option.declaration.argument:
        return f"`{option.declaration.metavar}`"
    found = list(flags(option))
    if option.type is bool and not option.declaration.flags:
        found.append(found[0].replace("--", "--no-", 1))
    return ", ".join(f"`{name}`" for name in found)


def _value(option: Option, words: dict[str, str]) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    kinds = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    kind = "list" if option.several else kinds.get(option.type, "path")
    return ", ".join(words.get(part, part) for part in (kind, option.bounds) if part)


def _default(option: Option, texts: dict[str, Any], words: dict[str, str]) -> str:
    default, shown = option.declaration.default, option.declaration.shown
    if shown:
        return words.get(shown, shown)
    if option.required:
        return texts["required"]
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    default = ", ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"`{default}`" if default not in (None, "") else "-"


def _plain(help: str) -> str:
    return re.sub(r"\[(/?)bold\]", "`", help)


def main() -> int:
    """Write both pages."""
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
