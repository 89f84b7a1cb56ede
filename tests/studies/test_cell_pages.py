"""The pages of a study: from stored results alone, in two languages, with pictures."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from string import Formatter
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from invented_results import study

import anyrnn.studies.cells
from anyrnn.errors import DataError
from anyrnn.studies.cells.page import joined, pages_of, write_pages
from anyrnn.studies.cells.results import FORMAT, read_results, rounded, write_results
from anyrnn.studies.cells.settings import LARGE
from anyrnn.studies.cells.tables import published_table, result_tables, size_table

ROOT = Path(__file__).parents[2]
MADE_BY = "run anyrnn study --results docs/studies/cells.json --pages docs"
STORED = sorted((ROOT / "docs" / "studies").glob("cells*.json"))


def test_the_pages_of_the_documents_come_from_the_stored_results() -> None:
    for name, text in pages_of(joined(STORED), documents=True).items():
        path = ROOT / "docs" / name
        assert path.exists(), f"{path} is missing: {MADE_BY}"
        if name.endswith(".md"):  # other versions of matplotlib draw pictures otherwise
            assert path.read_text("utf-8") == text, f"{path} is old: {MADE_BY}"


def test_no_picture_of_the_documents_is_left_over() -> None:
    made = {name for name in pages_of(joined(STORED)) if name.endswith(".svg")}
    there = {f"pictures/{path.name}" for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert there == made


def test_results_are_stored_and_read(tmp_path: Path) -> None:
    results = study()
    write_results(tmp_path / "results.json", results)
    assert asdict(read_results(tmp_path / "results.json")) == rounded(asdict(results))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"),
        ("{", "holds no results of a study"),
        ("[1]", "holds no results of a study"),
        ('{"format": "anyrnn study of cells", "version": 1}', "results: Field required"),
        ("other version", "version 9, but has to hold"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "results.json"
    if content == "other version":
        write_results(path, study())
        path.write_text(path.read_text().replace('"version": 1', '"version": 9', 1))
    elif content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        read_results(path)
    assert "\n" not in caught.value.message


def test_further_results_are_joined(tmp_path: Path) -> None:
    results = study()
    names = list(results.settings)
    parts = [{names[0]: results.settings[names[0]]}, {n: results.settings[n] for n in names[1:]}]
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path, settings in zip(paths, parts, strict=True):
        write_results(path, replace(results, settings=settings))
    assert list(joined(paths).settings) == names
    other = replace(results.settings[names[0]], epochs=99)
    write_results(tmp_path / "later.json", replace(results, settings={names[0]: other}))
    later = joined([*paths, tmp_path / "later.json"])
    assert list(later.settings) == names
    assert [later.settings[name].epochs for name in names[:2]] == [99, 15]


def test_pages_and_pictures_of_both_languages(tmp_path: Path) -> None:
    pages = write_pages(study(), tmp_path)
    assert [page.name for page in pages] == [
        "which-cell.md",
        "gallery.md",
        "which-cell.zh-CN.md",
        "gallery.zh-CN.md",
    ]
    for page in pages:
        text = page.read_text("utf-8")
        shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
        assert len(shown) > 5
        for words, link in shown:
            assert words
            assert (tmp_path / link).exists()
        assert "{" not in re.sub(r"`[^`]*`", "", text)
    english, chinese = (pages[n].read_text("utf-8") for n in (0, 2))
    for pattern in (r"^\| `", r"^### ", r"^## ", r"^- "):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1] > 0
    numbers = [re.findall(r"\d+\.\d+ ± \d+\.\d+", text) for text in (english, chinese)]
    assert numbers[0] == numbers[1]


@pytest.mark.usefixtures("pictures")
def test_pictures_are_files_of_their_own_in_light_and_dark() -> None:
    made = pages_of(study())
    pictures = {name: text for name, text in made.items() if name.endswith(".svg")}
    for name, text in pictures.items():
        tree = ElementTree.fromstring(text)
        assert tree.tag.endswith("svg")
        assert "prefers-color-scheme: dark" in text
        assert "#0301" not in text, name  # what stands for a colour was replaced
        assert len(text) < 100_000
    assert "步数" in pictures["pictures/lengths.zh-CN.svg"]
    for cell in study().cells:
        assert cell in pictures["pictures/lengths.svg"]


def test_few_results_make_pages_too(tmp_path: Path) -> None:
    results = study()
    some = {"digits-rows": results.settings["digits-rows"]}
    quick = replace(results, settings=some, costs=None, flows={}, quick=True)
    pages = pages_of(quick)
    assert {name for name in pages if name.endswith(".svg")} == {
        "pictures/real-1.svg",
        "pictures/real-1.zh-CN.svg",
    }
    assert "trial run" in pages["which-cell.md"]
    assert pages["which-cell.md"].count("This study did not ask.") == 6


def test_the_best_of_a_column_is_bold_and_failures_are_counted() -> None:
    results = study(lambda name, cell, seed: {"gru": 0.2, "rnn": 0.9}.get(cell, 0.5))
    adding = results.settings["adding-10"]
    trials = adding.cells["lstm"].trials
    broken = replace(trials[0], state="diverged", figure=None)
    cells = {**adding.cells, "lstm": replace(adding.cells["lstm"], trials=[broken, *trials[1:]])}
    results = replace(results, settings={"adding-10": replace(adding, cells=cells)})
    (table,) = result_tables(results, "en")
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()[2:]}
    assert rows["`gru`"].count("**") == 2
    assert "**" not in rows["`rnn`"]
    assert "(5 / 6)" in rows["`lstm`"]
    assert "0.167" in rows["*always 1*"]


def test_published_figures_stand_beside_ours() -> None:
    lines = published_table(study(), "en").splitlines()
    assert len(lines) == 8
    assert "87.2 %" in lines[2]
    assert "784" in lines[2]
    assert "digits by pixels" in lines[3]
    assert "5.3e-5" in lines[4]


def test_large_settings_stand_only_beside_the_published_figures() -> None:
    results = study()
    small = pages_of(results)
    large = {
        name: replace(results.settings["adding-100"], problem=name, steps=setting.steps or 784)
        for name, setting in LARGE.items()
    }
    every = replace(results, settings={**results.settings, **large})
    for language, suffix in (("en", ""), ("zh", ".zh-CN")):
        page = pages_of(every)[f"which-cell{suffix}.md"]
        for table in (*result_tables(results, language), size_table(results, language)):
            assert table in page
        lines = published_table(every, language).splitlines()[2:]
        assert [line.split("|")[3].strip() for line in lines] == [
            *("784", "784", "64" if "64" in lines[2] else "9"),
            *("600", "600", "100"),
            *("1,020", "1,020", "50"),
        ]
        assert "0.002" in page
        assert "--problem large-adding --problem large-copying --problem large-mnist" in page
    pictures = {name: text for name, text in pages_of(every).items() if name.endswith(".svg")}
    assert pictures == {name: text for name, text in small.items() if name in pictures}
    only = pages_of(replace(results, settings=large, costs=None, flows={}))
    assert "| 1,020 |" in only["which-cell.md"]


def test_both_languages_have_every_word() -> None:
    path = Path(anyrnn.studies.cells.__file__).with_name("words.yaml")
    words: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    for group in ("sentences", "headings", "titles", "figures"):
        for key, found in words[group].items():
            places = [
                {name for _, name, *_ in Formatter().parse(found[each]) if name is not None}
                for each in ("en", "zh")
            ]
            assert places[0] == places[1], key
            assert re.search("[\u4e00-\u9fff（，。：]|CO2", found["zh"]), key


def test_stored_numbers_are_short() -> None:
    text = json.dumps(rounded({"a": 1 / 3, "b": [float("nan")], "c": 12}))
    assert text == '{"a": 0.33333, "b": [null], "c": 12}'
    assert FORMAT
