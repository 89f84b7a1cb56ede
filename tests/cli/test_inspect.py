"""`anyrnn inspect`: a run, an input, a folder; and what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_classifier import Outcome


def test_an_input_is_looked_into(
    anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "seen"
    asked = ("inspect", trained, "--input", "the film was good", "--cell", "rnn")
    outcome = anyrnn(*asked, "--explain", "pos", "--output", folder)
    assert outcome.code == 0, outcome.err
    assert "the log-odds of the label 'pos'" in " ".join(outcome.out.split())
    assert "of the gradient" in outcome.out
    assert "spectral radius" in outcome.out
    assert str(folder / "report.html") in outcome.out.replace("\n", "")
    found = json.loads((folder / "results.json").read_text())
    assert (found["cell"], found["task"]) == ("rnn", "classify")
    assert found["steps"] == ["the", "film", "was", "good"]
    again = anyrnn(*asked, "--output", folder)
    assert again.code == 2
    assert "replace it with --overwrite" in again.err
    outcome = anyrnn(*asked, "--output", folder, "--overwrite", "--json")
    assert json.loads(outcome.out)["saliency"]["explained"].startswith("the log-odds")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--input is missing: give a text, --input TEXT"),
        (["--input", ""], "--input is empty"),
        (["--input", "zzz"], "knows no token of the input"),
        (["--input", "a film", "--explain", "x"], "--explain is 'x', which is no label"),
        (["--input", "a film", "--step", "2"], "--step has no effect"),
        (["--input", "a film", "--row", "0"], "--row is 0, but has to be 1 or more"),
        (["--input", "a film", "--cell", "lstm"], "has no cell 'lstm'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    anyrnn: Callable[..., Outcome],
    trained: Path,
    tmp_path: Path,
    arguments: list[str],
    words: str,
) -> None:
    folder = tmp_path / "seen"
    outcome = anyrnn("inspect", trained, *arguments, "--output", folder)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not folder.exists()


def test_what_is_no_run(anyrnn: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = anyrnn("inspect", tmp_path / "no", "--input", "x")
    assert outcome.code == 2
    assert "there is no run folder" in outcome.err


def test_a_task_that_cannot_be_inspected(anyrnn: Callable[..., Outcome], tmp_path: Path) -> None:
    few = [f"--{part}-sequences=8" for part in ("training", "validation", "test")]
    sizes = ("--length=4", "--hidden-size=4", "--epochs=1", "--cell=gru", "--device=cpu")
    run = tmp_path / "run"
    assert anyrnn("train", "adding", *few, *sizes, "--output", run).code == 0
    outcome = anyrnn("inspect", run, "--input", "the film", "--output", tmp_path / "seen")
    assert outcome.code == 2
    assert "a run of the task 'adding' cannot be inspected" in outcome.err


def test_an_input_longer_than_memory(
    anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyrnn.kernels import host

    monkeypatch.setattr(host, "free_memory", lambda: 1000)
    outcome = anyrnn("inspect", trained, "--input", "the film " * 50, "--output", tmp_path / "seen")
    assert outcome.code == 2
    assert "the gradient of 100 steps needs about" in outcome.err
    assert not (tmp_path / "seen").exists()
