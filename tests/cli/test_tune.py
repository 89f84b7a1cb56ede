"""`anyrnn tune`: the best options found, reported and used; mistakes in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_classifier import COLUMNS, SMALL, Outcome

AnyRNN = Callable[..., Outcome]
TRAINING = [*SMALL, "--epochs", "2", "--batch-size", "16", "--cell", "rnn"]


@pytest.fixture
def tune(anyrnn: AnyRNN, data: Path, tmp_path: Path, monkeypatch: Any) -> AnyRNN:
    """Search on the reviews, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *more: anyrnn("tune", "classify", "--data", data, *COLUMNS, *TRAINING, *more)


def results(study: str = "reviews") -> dict[str, Any]:
    return json.loads(Path(f"studies/{study}/results.json").read_text("utf-8"))


def test_the_best_options_are_found_and_used(
    tune: AnyRNN, anyrnn: AnyRNN, tmp_path: Path, pictures: None
) -> None:
    section = "search:\n  training.learning_rate: {low: 1e-6, high: 0.2, log: true}\n"
    Path("search.yaml").write_text(section + "  model: {hidden_size: [4, 8]}\n", encoding="utf-8")
    done = tune("--config", "search.yaml", "--search", "cell=rnn,gru", "--trials", 7)
    assert done.code == 0, done.err
    found = results()
    assert found["space"] == {
        "training.learning_rate": {"low": 1e-6, "high": 0.2, "log": True},
        "model.hidden_size": [4, 8],
        "cells": ["rnn", "gru"],
    }
    trials = found["trials"]
    assert [each["number"] for each in trials] == list(range(7))
    assert trials[0]["changes"] == {"training.learning_rate": 0.02, "model.hidden_size": 8}
    finished = [each for each in trials if each["state"] == "finished"]
    best = min(finished, key=lambda each: each["deciding"])
    assert found["best"]["trial"] == best["number"]
    assert sum(found["importance"].values()) == pytest.approx(1)
    kept = [each.name for each in Path("studies/reviews/trials").iterdir() if each.is_dir()]
    assert kept == [f"{best['number']:04d}"]  # of the others the records
    assert len([*Path("studies/reviews/trials").glob("*.json")]) == 7
    assert "importance: " in done.out
    assert f"{best['number']} *" in done.out
    assert "best run: studies/reviews/best" in done.out
    config = json.loads(Path("studies/reviews/best/config.json").read_text("utf-8"))
    assert config["cells"] == [best["cell"]]
    rate = config["options"]["training"]["learning_rate"]
    assert rate == best["changes"]["training.learning_rate"]
    page = Path("studies/reviews/report.html").read_text("utf-8")
    assert page.count("<svg") == 4 + 3
    assert "<script" not in page
    assert "importance of the options" in page
    measured = anyrnn("evaluate", "studies/reviews/best", "--data", "reviews.csv", "--json")
    assert measured.code == 0, measured.err
    assert anyrnn("predict", "studies/reviews/best", "a good film").code == 0
    # More trials: those that are there are not trained again.
    more = tune(*("--config", "search.yaml", "--search", "cell=rnn,gru", "--trials", 8, "--resume"))
    assert more.code == 0, more.err
    assert "trial 7: " in more.out
    assert "trial 6: " not in more.out
    assert results()["trials"][:7] == trials
    # The file is one for train, too, which tells what it does not read.
    trained = anyrnn(
        *("train", "classify", "--config", "search.yaml", "--data", "reviews.csv", *COLUMNS),
        *(*TRAINING, "-o", tmp_path / "run"),
    )
    assert trained.code == 0, trained.err
    assert "search in search.yaml is read by anyrnn tune" in trained.out


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no option": (
        ["--search", "hiden_size=4..8"],
        "--search: hiden_size is no option; nearest: hid",
    ),
    "out of bounds": (
        ["--search", "hidden_size=0..8"],
        "model.hidden_size, low is 0, but has to be 1",
    ),
    "no effect": (
        ["--search", "momentum=0..0.9"],
        "--momentum has no effect with --optimiser adam",
    ),
    "cell": (["--search", "cell=gru,grru"], "grru"),
    "no cell": (["--cell", "grruu"], "no cell is called 'grruu'"),
    "no time": (["--budget", "soon"], "--budget is 'soon', but has to be a time, such as 30m"),
    "zero time": (["--budget", "0s"], "--budget is '0s', but has to be a time above 0s"),
    "too little time": (
        ["--budget", "0.001s"],
        "--budget is 0.0 s, which is too little for one epoch",
    ),
    "no workers": (["--workers", "0"], "--workers is 0, but has to be 1 or more"),
    "nothing there": (
        ["--resume"],
        "there is no study studies/reviews to go on with; leave --resume",
    ),
    "name": (["--name", "a/b"], "--name is 'a/b', but has to be the name of a folder"),
    "seeds": (["--seeds", "3"], "--seeds has no effect on a search"),
    "pruning": (["--no-prune", "--prune-from", "3"], "--prune-from has no effect with --no-prune"),
    "no URL": (["--storage", "somewhere"], "--storage is 'somewhere', but has to be the URL"),
    "no database": (["--storage", "nosuch://u:secret@h/d"], "names no database"),
    "no driver": (["--storage", "mysql://u:secret@localhost/d"], "pip install mysqlclient"),
    "unreachable": (
        ["--storage", "sqlite:////no/such/folder/x.db"],
        "cannot reach the storage sqlite",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_in_one_line(tune: AnyRNN, arguments: list[str], message: str) -> None:
    done = tune(*arguments)
    assert message in done.error
    assert "secret" not in done.error
    assert not Path("studies/reviews").exists()


def test_two_studies_of_one_name(tune: AnyRNN) -> None:
    few = ("--search", "hidden_size=2,3", "--trials", 1, "--no-prune")
    assert tune(*few).code == 0
    assert "the study studies/reviews exists: go on with it by --resume" in tune(*few).error
    other = tune(*few, "--resume", "--batch-size", "8")
    assert "cannot go on with the study studies/reviews: training.batch_size was 16" in other.error
    url = "sqlite:///trials.db"
    assert tune(*few, "--storage", url, "--name", "shared").code == 0
    again = tune(*few, "--storage", url, "--name", "shared", "-o", "elsewhere")
    assert (
        "the study 'shared' in sqlite:///trials.db exists: go on with it by --resume" in again.error
    )
    joined = tune(*few, "--storage", url, "--name", "shared", "-o", "elsewhere", "--resume")
    assert joined.code == 0
    assert "best run: trials/0000 in the study's folder on " in joined.out


def test_when_no_training_is_finished(tune: AnyRNN) -> None:
    done = tune("--search", "learning_rate=1e37,1e38", "--trials", 2)
    assert "no training was finished; the first one: the training diverged" in done.error
    assert not Path("studies/reviews").exists()


@pytest.mark.long
def test_a_search_that_was_killed_goes_on_to_the_same_result(
    tune: AnyRNN, data: Path, tmp_path: Path
) -> None:
    more = ["--search", "learning_rate=0.001..0.1:log", "--trials", "5", "--prune-after", "2"]
    whole = tune(*more, "--name", "whole")
    assert whole.code == 0, whole.err
    arguments = ["tune", "classify", "--data", str(data), *COLUMNS, *TRAINING, *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "anyrnn", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    place = tmp_path / "studies/reviews/trials"
    while process.poll() is None and not (place / "0002.partial").exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed = tune(*more, "--resume")
    assert resumed.code == 0, resumed.err
    assert not place.joinpath("0002.partial").exists()
    measured = ("deciding", "changes", "state", "figures", "number")
    assert [[each[name] for name in measured] for each in results()["trials"]] == [
        [each[name] for name in measured] for each in results("whole")["trials"]
    ]
    assert results()["best"] == results("whole")["best"]
