"""Looking into the networks of tasks on an input, before they have learned anything."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any

import numpy
import pandas
import pytest
import torch
from markupsafe import Markup
from test_classify_numbers import waves, write_ts
from test_tag import conllu, sentences
from test_translate import PAIRS
from test_translate import write as write_pairs
from toy_book import BOOK
from toy_reviews import reviews, write_csv
from toy_series import days, wave

from anyrnn.errors import AnyrnnError, RunError
from anyrnn.inspect import gates
from anyrnn.tasks.caption.model import CaptionNetwork
from anyrnn.tasks.caption.task import Caption
from anyrnn.tasks.data.batches import Batches
from anyrnn.tasks.inspection.drawing import Picture
from anyrnn.tasks.inspection.examined import log_odds
from anyrnn.tasks.inspection.findings import Findings, look_into
from anyrnn.tasks.inspection.gradients import gradient_norms
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.pictures import pictures_of, visible
from anyrnn.tasks.inspection.report import check_folder, page, write
from anyrnn.tasks.inspection.words import WORDS as SAID
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.registry import TASKS
from anyrnn.tasks.speak.options import SpeechOptions
from anyrnn.tasks.speak.task import Speak
from anyrnn.tasks.task import Task
from checks import one_line

SMALL: dict[str, Any] = {"hidden_size": 6, "cells": ("gru",), "device": "cpu"}
WORDS = {"source_tokens": "word", "target_tokens": "word", "embedding_size": 5}
TABLE = {"time": "day", "target": ("y",), "horizon": 3, "look_back": 12}


def made(name: str, cell: str = "gru", **values: Any) -> tuple[Task, torch.nn.Module, Any]:
    """A task, a network whose weights are large, and its training part."""
    entry = TASKS[name]
    options = from_flat(entry.options, {**SMALL, **values})
    data = entry.task.read(options)
    task = entry.task.prepare(options, data.training, lambda words: None)
    torch.manual_seed(0)
    network = task.network(cell).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.4)
    return task, network, data.training


def texts(folder: Path, **values: Any) -> dict[str, Any]:
    table = write_csv(folder / "reviews.csv", reviews(60))
    return {"data": table, "text": "review", "label": "sentiment", "embedding_size": 5, **values}


def spoken(folder: Path) -> dict[str, Any]:
    soundfile = pytest.importorskip("soundfile")
    random = numpy.random.default_rng(0)
    for word in ("high", "low"):
        for speaker in range(12):
            path = folder / "sounds" / word / f"{speaker:08x}_nohash_0.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, random.normal(scale=0.1, size=1200), 4000)
    sound = {"sample_rate": 4000, "mels": 8, "window": 0.032, "hop": 0.016}
    return {"data": folder / "sounds", **sound}


def transcripts(folder: Path) -> dict[str, Any]:
    pytest.importorskip("soundfile")
    from toy_speech import RATE, TEXTS, write_spoken

    table = write_spoken(folder, TEXTS)
    columns = {"recording": "file", "transcript": "text"}
    return {"data": table, **columns, "mels": 8, "segment_length": 2, "sample_rate": RATE}


def pictures_and_captions(folder: Path, **values: Any) -> dict[str, Any]:
    pytest.importorskip("PIL")
    from test_caption import write as write_captions

    return {**write_captions(folder), "embedding_size": 5, "minimum_frequency": 1, **values}


def voice(folder: Path) -> dict[str, Any]:
    pytest.importorskip("soundfile")
    import test_speak

    sizes = {"hidden_size": 6, "prenet_size": 4, "embedding_size": 5}
    values = {name: value for name, value in test_speak.SMALL.items() if name != "batch_size"}
    return {**values, **test_speak.table(folder / "tones", 12), **sizes}


def book(folder: Path) -> dict[str, Any]:
    (folder / "book.txt").write_text(BOOK)
    return {"data": (folder / "book.txt",), "steps": 20, "embedding_size": 5}


def series(folder: Path, **values: Any) -> dict[str, Any]:
    frame = days(120, wave)
    frame["z"] = frame["y"] ** 2
    frame.to_csv(folder / "series.csv", index=False)
    return {"data": folder / "series.csv", **TABLE, **values}


# By name: the options of a task, of the inspection, and how many steps there are.
INPUTS: dict[str, tuple[str, Any, Any, int]] = {
    "texts": ("classify", texts, lambda f: {"input": "the film was good"}, 4),
    "texts in both directions": (
        "classify",
        lambda f: texts(f, bidirectional=True, layers=2, pool="mean"),
        lambda f: {"input": "the film was good", "explain": "neg"},
        4,
    ),
    "numbers": (
        "classify",
        lambda f: {"data": write_ts(f / "a.ts", waves(40)), "segment_length": 2},
        lambda f: {"input": str(f / "a.ts"), "row": 2},
        0,
    ),
    "sentences": (
        "tag",
        lambda f: {"data": conllu(f / "a.conllu", sentences(40)), "character_size": 4},
        lambda f: {"input": "Ana0 the walk zzz", "step": 2, "explain": "NOUN"},
        4,
    ),
    "a book": ("generate", book, lambda f: {"input": "the cat"}, 8),
    "translations": (
        "translate",
        lambda f: {**write_pairs(f, PAIRS), **WORDS},
        lambda f: {"input": "one red boat", "step": 1},
        4,
    ),
    "recordings": (
        "command",
        spoken,
        lambda f: {"input": str(f / "sounds" / "low" / "00000001_nohash_0.wav")},
        0,
    ),
    "transcripts": (
        "transcribe",
        transcripts,
        lambda f: {"input": str(f / "spoken0.wav")},
        0,
    ),
    "captions": (
        "caption",
        pictures_and_captions,
        lambda f: {"input": str(f / "arrays" / "3.npy"), "step": 2},
        0,
    ),
    "captions with input feeding": (
        "caption",
        lambda f: pictures_and_captions(f, input_feeding=True),
        lambda f: {"input": str(f / "arrays" / "3.npy")},
        0,
    ),
    "speech": ("speak", voice, lambda f: {"input": "abc!"}, 0),
    "the end of speech": (
        "speak",
        voice,
        lambda f: {"input": "ab", "explain": "end", "step": 2},
        0,
    ),
    "series": ("forecast", series, lambda f: {}, 12),
    "series step by step": (
        "forecast",
        lambda f: series(f, decoding="recursive"),
        lambda f: {"step": 3},
        12,
    ),
    "series in segments": (
        "forecast",
        lambda f: series(f, form="segments", segment_length=3, target=("y", "z")),
        lambda f: {"explain": "z", "input": str(f / "series.csv"), "row": 1},
        4,
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_findings_of_every_task(name: str, tmp_path: Path) -> None:
    kind, values, given, count = INPUTS[name]
    task, network, _ = made(kind, **values(tmp_path))
    options = InspectOptions(**given(tmp_path))
    examined = task.examined(network, options)
    if count:
        assert len(examined.steps) == count
    if examined.values is not None:
        assert examined.values.shape == (len(examined.steps), len(examined.channels))
    found = look_into(examined)
    steps = len(examined.steps)
    assert found.integrated.shape == (len(examined.places),)
    assert found.saliency.gap < 0.05
    with torch.no_grad():
        value = float(examined.of(examined.call()))
    assert found.saliency.value == pytest.approx(value, rel=1e-4, abs=1e-5)
    assert all(len(values) == steps for values in found.gates.values.values())
    assert found.gates.gates
    assert found.gradient.whole.share[0] == 1
    assert found.spectra
    fed = "input feeding" in name
    assert (found.persistence is None) == fed
    assert len(found.notes) == fed
    json.dumps(found.plain(), allow_nan=False)
    assert all(picture.label for picture in pictures_of(found))


def test_a_caption_is_that_of_the_network(tmp_path: Path) -> None:
    """What the decoder is told to write it would write itself, from the regions alone."""
    task, network, _ = made("caption", **pictures_and_captions(tmp_path))
    assert isinstance(task, Caption)
    assert isinstance(network, CaptionNetwork)
    given = tmp_path / "arrays" / "3.npy"
    examined = task.examined(network, InspectOptions(input=str(given)))
    (written,) = task.predict(network, [given], beam=1)
    assert examined.answer == written.text
    with torch.no_grad():
        value = float(examined.of(examined.call()))
        assert examined.read is not None
        assert float(examined.of(examined.read.call(examined.read.values))) == pytest.approx(value)
        state, token, total = network.attend(examined.read.values, torch.tensor([4])), 0, 0.0
        best = written.candidates[0]
        for following in [*best.tokens, *([0] if best.ended else [])]:
            found, _, state = network.decoder.step(torch.tensor([token]), state)
            token, total = following, total + float(found[0, following])
    assert value == pytest.approx(total, rel=1e-4)
    assert list(examined.places) == [f"row {n}, column {m}" for n in (1, 2) for m in (1, 2)]


def test_a_region_that_is_not_attended_to_adds_nothing(tmp_path: Path) -> None:
    """Where only one region differs from zeros for the decoder, all of the output comes from it."""
    task, network, _ = made("caption", **pictures_and_captions(tmp_path))
    examined = task.examined(network, InspectOptions(input=str(tmp_path / "arrays" / "3.npy")))
    assert examined.read is not None
    values = torch.zeros_like(examined.read.values)
    values[0, 2] = examined.read.values[0, 2]
    read = replace(examined.read, values=values)
    call = lambda: read.call(values)  # noqa: E731
    found = look_into(replace(examined, read=read, call=call))
    assert abs(found.integrated[2]) > 0
    assert not found.integrated[[0, 1, 3]].any()


def test_speech_is_explained_as_it_is_spoken(tmp_path: Path) -> None:
    task, network, _ = made("speak", **voice(tmp_path))
    assert isinstance(task, Speak)
    examined = task.examined(network, InspectOptions(input="abc", step=3, explain="end"))
    (said,) = task.speaking(network, SpeechOptions()).utterances(["abc"])
    assert len(examined.steps) == len(said.weights)
    with torch.no_grad():
        spoken = examined.call()
    refined = network.refined(spoken.coarse, torch.ones(spoken.coarse.shape[:2]))
    torch.testing.assert_close(refined[0], said.frames, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spoken.weights[0], said.weights, rtol=1e-4, atol=1e-5)
    assert float(examined.of(spoken)) == float(spoken.stops[0, 2])
    assert "(step 3)" in examined.explained
    assert list(examined.places) == ["a", "b", "c", "■"]


@pytest.mark.parametrize("name", ["texts", "sentences", "a book", "translations", "series"])
def test_norms_of_gradients_on_a_part(name: str, tmp_path: Path) -> None:
    kind, values, *_ = INPUTS[name]
    task, network, part = made(kind, **values(tmp_path))
    flow = gradient_norms(task, network, part, sequences=8)
    assert flow.whole.share[0] == 1
    again = gradient_norms(task, network, part, sequences=8)
    numpy.testing.assert_array_equal(flow.whole.share, again.whole.share)
    assert flow.steps_left(1e-9) is None or flow.steps_left(1e-9) >= (flow.steps_left(0.5) or 0)


def test_the_gates_are_those_of_the_network(tmp_path: Path) -> None:
    task, network, _ = made("classify", **texts(tmp_path))
    found = look_into(task.examined(network, InspectOptions(input="the film was good")))
    (batch,) = Batches({"inputs": task.inputs.column(["the film was good"])}, 1)
    wanted = gates(network, batch["inputs"], batch.lengths["inputs"]).values
    for name, values in wanted.items():
        numpy.testing.assert_allclose(found.gates.values[name], values[0], rtol=1e-5)


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "input is missing: give a text": ("texts", {}),
    "input is empty": ("texts", {"input": "  "}),
    "knows no token of the input": ("texts", {"input": "zzz yyy"}),
    "is 'good', which is no label; there are 'neg', 'pos'": (
        "texts",
        {"input": "the film", "explain": "good"},
    ),
    "row has no effect": ("texts", {"input": "the film", "row": 2}),
    "step has no effect": ("texts", {"input": "the film", "step": 2}),
    "but there are 40 sequences": ("numbers", {"input": "a.ts", "row": 41}),
    "give a file of sequences": ("numbers", {}),
    "there is no file no.ts": ("numbers", {"input": "no.ts"}),
    "but there are 2 tokens": ("sentences", {"input": "they walk", "step": 3}),
    "which is no tag": ("sentences", {"input": "they walk", "explain": "X"}),
    "which the model has not seen": ("a book", {"input": "Ω"}),
    "tokens of the run; give one token": ("a book", {"input": "the", "explain": "the"}),
    "explain has no effect": ("translations", {"input": "one", "explain": "ein"}),
    "knows no token": ("translations", {"input": "zzz"}),
    "input is missing: give a picture": ("captions", {}),
    "there is no file no.npy": ("captions", {"input": "no.npy"}),
    "explain has no effect: the caption itself": ("captions", {"input": "x", "explain": "cat"}),
    "tokens in the caption": ("captions", {"input": "arrays/0.npy", "step": 1000}),
    "has no character of the training": ("speech", {"input": "?"}),
    "which is no output; there are 'level', 'end'": ("speech", {"input": "a", "explain": "x"}),
    "steps of the speech": ("speech", {"input": "a", "step": 1000}),
    "which is no target; there are 'y'": ("series", {"explain": "x"}),
    "but there are 3 steps in the horizon": ("series", {"step": 4}),
    "but there are 1 series": ("series", {"row": 2}),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_inputs_that_cannot_be(words: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    name, given = MISTAKES[words]
    kind, values, *_ = INPUTS[name]
    task, network, _ = made(kind, **values(tmp_path))
    with pytest.raises(AnyrnnError) as told:
        task.examined(network, InspectOptions(**given))
    assert words in one_line(told.value)


def test_log_odds() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0])
    probability = logits.softmax(0)[2]
    assert log_odds(logits, 2) == pytest.approx((probability / (1 - probability)).log().item())


# The folder


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    task, network, _ = made("classify", **texts(tmp_path_factory.mktemp("made"), layers=2))
    return look_into(task.examined(network, InspectOptions(input="the film was good")))


ABOUT = {"run": "runs/a", "task": "classify", "cell": "gru"}


def test_a_folder_of_page_pictures_and_numbers(
    findings: Findings, tmp_path: Path, pictures: None
) -> None:
    folder = tmp_path / "new" / "inspection"
    files = write(findings, folder, ABOUT)
    assert sorted(path.name for path in files) == sorted(path.name for path in folder.iterdir())
    names = [
        "gates-l0",
        "gates-l1",
        "gradient",
        "persistence",
        "saliency",
        "saturation",
        "spectrum",
    ]
    for name in names:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / f"{name}.svg").read_text()
    found = json.loads((folder / "results.json").read_text())
    assert found["steps"] == ["the", "film", "was", "good"]
    assert len(found["saliency"]["integrated_gradients"]) == 4
    arrays = numpy.load(folder / "values.npz")
    assert arrays["gates/z_l1"].shape == (4, 6)
    html = (folder / "report.html").read_text()
    assert html.count("<svg") == len(names)
    assert not re.search('(src|href)="(?!#|data:)', html)  # nothing outside the file
    assert [path for path in folder.parent.iterdir() if path != folder] == []


def test_the_report_in_chinese(findings: Findings, pictures: None) -> None:
    chinese = replace(findings.examined, language="zh", explained="…")
    chinese = replace(findings, examined=chinese)
    shown = page(chinese, pictures_of(chinese), ABOUT)
    assert 'lang="zh-CN"' in shown
    texts = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<title>.*?</title>", "", shown, flags=re.S)
    body = re.sub(r"<[^>]*>", " ", texts[texts.index("<body") : texts.rindex("<p")])
    words = set(re.findall(r"[A-Za-z]{4,}", body))
    assert words <= {"film", "good", "runs", "sigmoid", "tanh", "relu"}
    drawn = "".join(re.findall("<svg.*?</svg>", shown, flags=re.S))
    assert "对输出的贡献" in drawn
    assert "接近下界" in drawn


def test_both_languages_have_every_word() -> None:
    for group in ("sentences", "headings"):
        for key, found in SAID.texts[group].items():
            places = [
                {name for _, name, *_ in Formatter().parse(found[each]) if name is not None}
                for each in ("en", "zh")
            ]
            assert places[0] == places[1], key
            assert re.search("[\u4e00-\u9fff]", found["zh"]), key


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of pictures without a picture, where only the folder matters."""
    monkeypatch.setattr(Picture, "files", lambda picture: [(f"{picture.name}.png", b"")])
    monkeypatch.setattr(Picture, "inline", lambda picture: Markup("<svg></svg>"))


def test_what_is_in_a_folder_stays(findings: Findings, tmp_path: Path, undrawn: None) -> None:
    folder = tmp_path / "inspection"
    write(findings, folder, ABOUT)
    with pytest.raises(RunError, match="exists; choose another output, or replace"):
        check_folder(folder, overwrite=False)
    check_folder(folder, overwrite=True)
    (folder / "notes.txt").write_text("mine")
    record = json.loads((folder / "results.json").read_text())
    (folder / "old.png").write_text("of an earlier one")
    (folder / "results.json").write_text(json.dumps({**record, "files": ["old.png"]}))
    write(findings, folder, ABOUT)
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "old.png").exists()
    assert (folder / "report.html").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "results.json").write_text("{}")
    with pytest.raises(RunError, match="is no inspection of anyrnn"):
        check_folder(other, overwrite=True)
    with pytest.raises(RunError, match="is a file"):
        check_folder(other / "results.json", overwrite=True)


@pytest.mark.parametrize("there", [False, True])
def test_a_link_to_a_folder_stays_one(
    findings: Findings, tmp_path: Path, undrawn: None, there: bool
) -> None:
    link, folder = tmp_path / "link", tmp_path / "folder"
    link.symlink_to(folder)
    if there:
        folder.mkdir()
    check_folder(link, overwrite=False)
    assert link / "report.html" in write(findings, link, ABOUT)
    assert link.is_symlink()
    assert (folder / "report.html").exists()
    assert sorted(tmp_path.iterdir()) == [folder, link]


def test_tokens_that_no_font_has_are_drawn(tmp_path: Path, pictures: None) -> None:
    (tmp_path / "poem.txt").write_text("春眠不觉晓\n$a_1$ 处处\n" * 40)
    values = {"data": (tmp_path / "poem.txt",), "steps": 10, "embedding_size": 5}
    task, network, _ = made("generate", **values)
    found = look_into(task.examined(network, InspectOptions(input="春眠 $a_1$")))
    (saliency,) = [each for each in pictures_of(found) if each.name == "saliency"]
    assert all(content for _, content in saliency.files())
    assert "春" in saliency.inline()
    assert visible("\n") == "⏎"
    assert len(visible("x" * 40)) == 14


def test_long_inputs_are_drawn_too(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"day": pandas.date_range("2020", periods=600).astype(str)})
    frame["y"] = numpy.sin(numpy.arange(600) / 5)
    frame.to_csv(tmp_path / "series.csv", index=False)
    values = {"data": tmp_path / "series.csv", **TABLE, "look_back": 200}
    task, network, _ = made("forecast", **values)
    found = look_into(task.examined(network, InspectOptions()))
    assert next(each.name for each in pictures_of(found)) == "gates"
    assert all(each.inline() for each in pictures_of(found))
