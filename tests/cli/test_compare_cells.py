"""`anyrnn compare`: on surnames and on carbon dioxide, and what is said of mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def surnames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 surnames of two languages."""
    path = tmp_path_factory.mktemp("surnames") / "surnames.csv"
    table = pandas.read_csv(EXAMPLES / "surnames" / "surnames.csv", keep_default_na=False)
    parts = [table[table.language == language][:200] for language in ("Italian", "Japanese")]
    pandas.concat(parts).to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def arguments(path: Path, *others: object) -> tuple[object, ...]:
    texts = ["--data", path, "--text", "surname", "--label", "language"]
    small = ["--hidden-size", "8", "--embedding-size", "4", "--epochs", "1", "--device", "cpu"]
    return ("compare", "classify", *texts, *small, *others)


def classify(anyrnn: Any, path: Path, *others: object) -> Any:
    return anyrnn(*arguments(path, *others))


def test_surnames(anyrnn: Any, surnames: Path) -> None:
    options = ["--cells", "rnn,gru", "--seeds", "2", "--rate", "0.01", "--rate", "0.03"]
    found = classify(anyrnn, surnames, *options)
    assert found.code == 0, found.err
    lines = [line for line in found.out.splitlines() if re.match(r"\d+: ", line)]
    assert len(lines) == 8
    assert lines[0].startswith("1: rnn, hidden size 8, epochs 1, learning rate 0.01, seed 2: valid")
    for said in ("majority", "Mean ± standard deviation over 2 seeds, on the test data", "6 seeds"):
        assert said in found.out, said
    assert "report: studies/surnames/report.html" in found.out
    results = json.loads(Path("studies/surnames/results.json").read_text("utf-8"))
    assert results["recommended"] in ("rnn", "gru")
    assert results["cells"]["gru"]["hidden_size"] < 8
    kept = {each.name for each in Path("studies/surnames/trials").iterdir() if each.is_dir()}
    assert kept == {"0004", "0005", "0006", "0007"}  # not those that tried learning rates
    counts = [each["parameters"] for each in results["cells"].values()]
    assert max(counts) / min(counts) < 1.1

    again = classify(anyrnn, surnames, *options)
    assert (
        "the study studies/surnames exists: go on with it by --resume, or choose another --name"
        in again.error
    )
    other = classify(anyrnn, surnames, *options, "--resume", "--sizes", "equal-hidden")
    assert "sizes was 'equal-parameters' and is 'equal-hidden' now" in other.error
    assert other.error.endswith("or choose another --name\n")
    placed = ("--output", "studies/surnames")
    assert "choose another --output" in classify(anyrnn, surnames, *options, *placed).error
    other = classify(anyrnn, surnames, *options, *placed, "--resume", "--sizes", "equal-hidden")
    assert other.error.endswith("or choose another --output\n")
    chinese = classify(anyrnn, surnames, *options, "--resume", "--language", "zh")
    assert chinese.code == 0, chinese.err
    assert f"推荐 {results['recommended']}" in chinese.out
    assert 'lang="zh-CN"' in Path("studies/surnames/report.html").read_text("utf-8")
    assert json.loads(Path("studies/surnames/results.json").read_text("utf-8")) == results


def test_carbon_dioxide(anyrnn: Any) -> None:
    shutil.copy(EXAMPLES / "co2" / "co2.csv", "co2.csv")
    found = anyrnn(
        *("compare", "forecast", "--data", "co2.csv", "--time", "week", "--target", "co2"),
        *("--horizon", "4", "--look-back", "8", "--hidden-size", "8", "--backtest", "0"),
        *("--cells", "gru,rnn", "--seeds", "2", "--epochs", "1", "--learning-rate", "0.01"),
        *("--until", "1966-01-01", "--device", "cpu", "--sizes", "equal-hidden"),
        *("--name", "air", "--figure", "mae", "--significance", "0.1"),
    )
    assert found.code == 0, found.err
    for said in ("repeat last", "seasonal naive", "validation MAE", "cannot call any", "at 0.1"):
        assert said in " ".join(found.out.split()), said
    results = json.loads(Path("studies/air/results.json").read_text("utf-8"))
    assert results["compared_by"] == "mae"
    assert {each["hidden_size"] for each in results["cells"].values()} == {8}
    assert {each["learning_rate"] for each in results["cells"].values()} == {0.01}
    assert set(results["baselines"]) >= {"repeat last", "seasonal naive"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cells", "rnn"], "--cells names only rnn, but two or more are compared"),
        (["--cells", "rnn,grru"], "no cell is called 'grru'; nearest: gru"),
        (
            ["--cells", "rnn,lstm_projection"],
            "cell 'lstm_projection' needs projection_size",
        ),
        (
            ["--cells", "rnn,sru", "--hidden-size", "4"],
            "classify cannot take the cell sru: cell 'sru' needs hidden = input",
        ),
        (
            ["--seeds", "1", "--significance", "0.1"],
            "--significance has no effect with --seeds 1; give another value of --seeds, or leave "
            "--significance out",
        ),
        (["--significance", "1"], "--significance is 1.0, but has to be below 1"),
        (
            ["--rate", "0.1", "--learning-rate", "0.1"],
            "--rate has no effect with --learning-rate, which is that of every cell; leave one of "
            "them out",
        ),
        (
            ["--rate", "0.1", "--fixed-rate"],
            "--rate has no effect with --fixed-rate; leave one of them out",
        ),
        (["--rate", "-1"], "--rate is -1.0, but has to be above 0"),
        (["--figure", "f1"], "--figure is 'f1', but has to be one of accuracy, macro_f1, loss"),
        (["--budget", "soon"], "--budget is 'soon', but has to be a time, such as 30m, 2h or 90s"),
        (
            ["--budget", "0.001s", "--cells", "rnn,gru"],
            "--budget is too small for one epoch: one of 2 cells from 5 seeds",
        ),
        (
            ["--set", "training.devices=2"],
            "training.devices in --set has no effect on a comparison, whose trainings run beside "
            "each other with --workers; leave it out",
        ),
        (["--resume"], "there is no study studies/surnames to go on with; leave --resume out"),
        (["--output", "surnames.txt"], "surnames.txt is a file; choose another --output"),
        (["--momentum", "0.9"], "--momentum has no effect with --optimiser adam"),
        (["--sizes", "equal"], "Invalid value for '--sizes'"),
    ],
)
def test_mistakes(anyrnn: Any, surnames: Path, options: list[str], said: str) -> None:
    Path("surnames.txt").touch()
    found = classify(anyrnn, surnames, *options)
    assert found.error.startswith(f"anyrnn: error: {said}")
    assert not Path("studies").exists() or not list(Path("studies").iterdir())
    assert Path("surnames.txt").read_text() == ""


def test_help(anyrnn: Any) -> None:
    found = anyrnn("compare", "--help")
    assert found.code == 0
    assert "forecast" in found.out
    found = anyrnn("compare", "forecast", "--help")
    assert found.code == 0
    for flag in ("--cells", "--sizes", "--seeds", "--budget", "--rate", "--horizon", "--language"):
        assert flag in found.out, flag
    assert "--nodes" not in found.out


@pytest.mark.long
def test_a_comparison_that_was_killed_goes_on_to_the_same_result(
    anyrnn: Any, surnames: Path, tmp_path: Path
) -> None:
    options = ["--cells", "rnn,gru", "--seeds", "2", "--rate", "0.01", "--rate", "0.03"]
    whole = classify(anyrnn, surnames, *options, "--name", "whole")
    assert whole.code == 0, whole.err
    process = subprocess.Popen(
        [sys.executable, "-m", "anyrnn", *map(str, arguments(surnames, *options))],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    trials = tmp_path / "studies/surnames/trials"
    while process.poll() is None and not (trials / "0005.partial").exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed = classify(anyrnn, surnames, *options, "--resume")
    assert resumed.code == 0, resumed.err
    assert "\n1: rnn" not in resumed.out  # what was done is not trained again
    assert not (trials / "0005.partial").exists()
    found, wanted = (
        json.loads(Path(f"studies/{name}/results.json").read_text("utf-8"))
        for name in ("surnames", "whole")
    )
    for cell in (*found["cells"].values(), *wanted["cells"].values()):
        for name in [name for name in cell if name.endswith(("seconds", "row", "bytes"))]:
            del cell[name]
    # What is recommended may rest on how long trainings took.
    for name in ("complete", "plan", "seeds", "cells", "gradient_shares", "baselines"):
        assert found[name] == wanted[name], name
