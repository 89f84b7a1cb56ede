"""`anyrnn runs`."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, and what is none."""
    monkeypatch.chdir(tmp_path)
    with Path("reviews.csv").open("w", newline="") as file:
        rows = [
            [f"a {word} film {number}", word] for number in range(20) for word in ("bad", "good")
        ]
        csv.writer(file).writerows([["text", "label"], *rows])
    shared = ["--text", "text", "--label", "label", "--device", "cpu", "--epochs", "1"]
    shared += ["--data", "reviews.csv", "--hidden-size", "4", "--embedding-size", "4"]
    for name, more in (("one", ["--cell", "rnn"]), ("two", ["--seeds", "2", "--cell", "gru"])):
        code, _, error = run("train", "classify", *shared, *more, "--output", f"runs/{name}")
        assert code == 0, error
    (tmp_path / "runs" / "notes").mkdir()
    shutil.copytree("runs/one", "runs/broken")
    Path("runs/broken/results.json").write_text('{"cells": {"rnn": {}}}')
    shutil.copytree("runs/one", "runs/three.partial")
    Path("runs/three.partial/config.json").unlink()
    return tmp_path


def test_lists_and_compares(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code, out, error = run("runs")
    assert (code, error) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "classify"
    assert re.match(
        r"run +cells +seeds +loss \(validation\) +accuracy % \(test\) +macro F1", lines[2]
    )
    assert re.match(r"runs/two +gru \* +0, 1 +0\.\d{3} +\d+\.\d ± \d+\.\d ", lines[4])
    assert re.match(r"runs/one +rnn \* +0 +0\.\d{3} +\d+\.\d +\d+\.\d +0\.\d{3} +\d{4}-", lines[5])
    told = " ".join(lines)
    assert "skipped runs/notes: runs/notes is no run of anyrnn" in told
    assert "skipped runs/broken: the run is damaged" in told
    assert "skipped runs/three.partial: unfinished" in told

    found = json.loads(run("runs", "runs", "--json")[1])
    assert [each["run"] for each in found["runs"]] == ["runs/two", "runs/one"]
    assert len(found["runs"][0]["figures"]["gru"]["accuracy"]["values"]) == 2
    assert sorted(found["skipped"]) == ["runs/broken", "runs/notes", "runs/three.partial"]
    assert json.loads(run("runs", "runs/one", "--json")[1])["runs"] == found["runs"][1:]

    code, out, error = run("runs", "runs/one", "runs/two")
    assert (code, error) == (0, "")
    assert re.search(r"cells +rnn +gru *\n +training.seeds +1 +2 *\n", out)
    assert "hidden_size" not in out
    assert re.search(r"rnn +loss \(test\) +0\.\d{3} *\n", out)
    differing = json.loads(run("runs", "runs/one", "runs/two", "--json")[1])["options"]
    assert differing["cells"] == {"runs/one": ["rnn"], "runs/two": ["gru"]}
    assert sorted(differing) == ["cells", "training.seeds"]


def test_what_is_no_run(run, tmp_path: Path) -> None:
    assert run("runs", str(tmp_path)) == (0, f"{tmp_path} has no run and no study\n", "")
    for arguments, message in (
        ([tmp_path / "none"], f"there is no folder {tmp_path}/none"),
        ([tmp_path, tmp_path], f"{tmp_path} is no run of anyrnn: it has no config.json"),
        ([tmp_path] * 3, "one folder, or two runs to compare; 3 were given"),
    ):
        code, out, error = run("runs", *map(str, arguments))
        assert (code, out) == (2, "")
        assert message in " ".join(error.split())


def test_the_damaged_file_is_named(run, tmp_path: Path) -> None:
    record = {"format": "anyrnn run", "version": 2, "cells": ["gru"], "best_cell": "gru"}
    (tmp_path / "config.json").write_text(json.dumps(record))
    (tmp_path / "results.json").write_text('{"cells": {}}')
    code, _, error = run("runs", str(tmp_path), str(tmp_path))
    assert code == 2
    assert error.count("the run is damaged") == 1
    assert "config.json needs 'figures' (list) but lacks it" in " ".join(error.split())
    assert "results.json" not in error


def test_studies_are_listed(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches and comparisons with the best figure of each; what is damaged is skipped."""
    monkeypatch.setenv("COLUMNS", "160")
    loss = {"name": "loss", "title": "loss", "percent": False, "larger_is_better": False}
    share = {"name": "accuracy", "title": "accuracy", "percent": True, "larger_is_better": True}
    values = {str(seed): {"accuracy": 0.5 + seed / 10} for seed in (1, 3)}
    results = {
        "search": {"deciding": loss, "best": {"trial": 3, "validation": 0.25}},
        "which": {
            "deciding": share,
            "recommended": "gru",
            "cells": {"gru": {"validation": values}},
        },
        "none": {"deciding": share, "recommended": None, "cells": {}},
        "begun": None,
        "damaged": {},
    }
    for name, found in results.items():
        folder = tmp_path / name
        (folder / "trials").mkdir(parents=True)
        (folder / "trials" / "0000.json").write_text("{}")
        kind = "tune" if name == "search" else "compare"
        record = {"format": "anyrnn study", "kind": kind, "task": "classify"}
        (folder / "study.json").write_text(json.dumps(record))
        if found is not None:
            (folder / "results.json").write_text(json.dumps(found))
    code, out, error = run("runs", str(tmp_path))
    assert (code, error) == (0, "")
    lines = {line.split()[0].rpartition("/")[2]: line for line in out.splitlines() if "/" in line}
    assert re.search(r"tune classify +1 +trial 3 +loss 0\.250 ", lines["search"])
    assert re.search(r"compare classify +1 +gru +accuracy 70\.0 % ", lines["which"])
    assert re.search(r"compare classify +1 +none ", lines["none"])
    assert re.search(r"compare classify +1 +unfinished ", lines["begun"])
    assert "damaged is no run of anyrnn" in " ".join(out.split())
    found = json.loads(run("runs", str(tmp_path / "which"), "--json")[1])
    assert found["runs"] == []
    (only,) = found["studies"]
    assert (only["best"], only["deciding"]) == ("gru", {"accuracy": pytest.approx(0.7)})
