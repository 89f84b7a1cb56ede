"""Translation from the command line."""

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]
WORDS = {"one": "ein", "two": "zwei", "red": "rot", "boat": "Boot", "tree": "Baum"}
PAIRS = [
    (" ".join(some), " ".join(WORDS[word] for word in some))
    for some in itertools.product(WORDS, repeat=3)
]
SMALL = ["--hidden-size", "16", "--embedding-size", "8", "--learning-rate", "0.02", "--cell", "gru"]
SMALL += ["--source-tokens", "word", "--target-tokens", "word", "--device", "cpu", "--beam", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is that all tests use."""
    return tmp_path_factory.mktemp("translate")


@pytest.fixture
def model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run on parallel files."""
    torch.set_num_threads(1)
    monkeypatch.chdir(folder)
    if Path("runs/words").exists():
        return "runs/words"
    for name, texts in zip(("words.en", "words.de"), zip(*PAIRS, strict=True), strict=True):
        Path(name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    files = ("--source", "words.en", "--target", "words.de")
    code, out, error = run("train", "translate", *files, "--epochs", "3", *SMALL)
    assert code == 0, error
    assert "nearest" in out
    assert "run folder: runs/words" in out
    return "runs/words"


def test_from_lines_to_lines(run: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("new.en").write_text("one boat\n\ntwo red\x1b trees\n", encoding="utf-8")
    code, out, error = run("translate", model, "--file", "new.en", "--longest", "5")
    assert code == 0, error
    lines = out.split("\n")
    assert len(lines) == 4
    assert lines[1] == ""
    assert "\x1b" not in out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one boat\n")))
    assert run("translate", model, "--longest", "5")[1] == lines[0] + "\n"
    code, out, _ = run("translate", model, "one boat", "--n-best", "2", "--length-penalty", "0")
    assert code == 0
    numbers, scores, texts = zip(*(line.split("\t") for line in out.splitlines()), strict=True)
    assert numbers == ("1", "1")
    assert float(scores[0]) >= float(scores[1])
    code, out, _ = run("predict", model, "one boat", "--longest", "5", "--beam", "3")
    assert code == 0
    assert json.loads(out)["source"] == "one boat"
    assert json.loads(out)["alternatives"] == []
    assert texts[0] != texts[1]


def test_files_are_measured(run: Run, model: str) -> None:
    files = ("--source", "words.en", "--target", "words.de")
    code, out, error = run("evaluate", model, *files)
    assert code == 0, error
    assert "signature" in out
    code, out, _ = run("evaluate", model, *files, "--json")
    found = json.loads(out)
    assert found["pairs"] == len(PAIRS)
    assert {"bleu", "chrf", "exact", "perplexity", "loss", "signatures"} <= found.keys()
    assert run("runs", "runs")[0] == 0


def test_mistakes(run: Run, model: str) -> None:
    Path("short.de").write_text("ein\n")
    Path("pairs.tsv").write_text("en\tde\none\tein\ntwo\t\n")
    table = ["--data", "pairs.tsv", "--source", "en"]
    files = ["train", "translate", "--source", "words.en", "--output", "other"]
    for arguments, message in [
        (files, "--target is missing"),
        ([*files, "--target", "short.de"], "words.en has 125 lines, but short.de has 1"),
        (["train", "translate", *table, "--target", "fr"], "no column 'fr' (--target)"),
        (["train", "translate", *table, "--target", "de"], "record 2, the header not counted, has"),
        ([*files, "--source", "none.en", "--target", "words.de"], "no file none.en"),
        (["evaluate", model, "--source", "a"], "only --source is given: give a table with --data"),
        (["evaluate", model], "no file is named: give a table with --data, or two files with --so"),
        (["evaluate", model, "--data", "pairs.tsv"], "trained on files, and --source and --target"),
        (["evaluate", model, *table], "of a table are not the same: give both"),
        (["translate", model, "one", "--n-best", "9"], "--n-best is 9, but a beam finds no more"),
        (["translate", model, "one", "--top-k", "9"], "--top-k has no effect with --no-sample"),
        (["translate", model, "one", "--beam", "0"], "--beam is 0, but has to be 1 or more"),
        (["translate", model, "--file", "none"], "there is no file none"),
        (["generate", model], "is a run of the task 'translate', not of 'generate'"),
    ]:
        assert message in mistake(run(*arguments)), arguments
