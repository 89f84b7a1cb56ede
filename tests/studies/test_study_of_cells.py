"""The study of cells: what it trains, that it goes on where it was stopped, what it refuses."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from anyrnn.cli.main import main
from anyrnn.errors import DataError, OptionError, StoppedError
from anyrnn.studies.cells.costs import measured_costs
from anyrnn.studies.cells.data_files import Files
from anyrnn.studies.cells.flows import FLOWS
from anyrnn.studies.cells.options import CellStudyOptions
from anyrnn.studies.cells.results import StudyResults, read_results
from anyrnn.studies.cells.settings import LARGE, MNIST, SETTINGS, settings_of
from anyrnn.studies.cells.study import QUICK_RATES, CellStudyListener, run_study
from anyrnn.studies.trials import TrialRecord
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.registry import entry_named

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK: dict[str, Any] = {
    "problem": ("digits-rows",),
    "cells": ("lstm", "gru"),
    "seeds": 1,
    "quick": True,
}


def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """What a command prints, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["anyrnn", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
    found = capsys.readouterr()
    return int(str(caught.value.code)), found.out, found.err


def without_times(results: StudyResults) -> dict[str, Any]:
    """The settings as they are stored, but for how long trainings took."""
    settings = asdict(results)["settings"]
    for setting in settings.values():
        for cell in setting["cells"].values():
            for trial in cell["trials"]:
                del trial["seconds"]
    return settings


class Counting(CellStudyListener):
    """Counts the trainings, and stops after some."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.records: list[TrialRecord] = []
        self._stop_after = stop_after

    def trial_done(self, record: TrialRecord) -> None:
        self.records.append(record)
        if len(self.records) == self._stop_after:
            raise StoppedError("stopped")


def test_a_study_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path) -> None:
    options = from_flat(CellStudyOptions, {**QUICK, "output": tmp_path / "whole"})
    whole = Counting()
    results = run_study(options, whole)
    setting = results.settings["digits-rows"]
    trainings = len(QUICK_RATES) + options.seeds
    assert len(whole.records) == trainings * len(options.cells)
    assert [len(each.trials) for each in setting.cells.values()] == [1, 1]
    assert setting.steps == 8
    sizes = {cell: each.parameters for cell, each in setting.cells.items()}
    assert sizes["gru"] == pytest.approx(sizes["lstm"], rel=0.1)

    stopped = replace(options, output=tmp_path / "stopped")
    first = Counting(stop_after=3)
    with pytest.raises(StoppedError):
        run_study(stopped, first)
    rest = Counting()
    again = run_study(replace(stopped, resume=True), rest)
    assert len(first.records) + len(rest.records) == trainings * len(options.cells)
    assert without_times(again) == without_times(results)
    assert read_results(tmp_path / "stopped" / "results.json").cells == ["lstm", "gru"]

    more = Counting()
    longer = run_study(replace(stopped, resume=True, seeds=2), more)
    assert [(each.cell, each.seed) for each in more.records] == [("lstm", 2), ("gru", 2)]
    for cell, found in longer.settings["digits-rows"].cells.items():
        before = setting.cells[cell]
        assert (found.rate, found.rates) == (before.rate, before.rates)
        assert [each.seed for each in found.trials] == [0, 2]
        assert found.trials[0].figure == before.trials[0].figure


def test_quick_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "study"
    arguments = ("study", "--problem", "digits-rows", "--cell", "lstm", "--cell", "gru", "--quick")
    code, printed, told = command(capsys, *arguments, "--seeds", "1", "--output", output)
    assert (code, told) == (0, "")
    assert f"page: {output / 'which-cell.zh-CN.md'}" in printed
    assert "trial run" in (output / "which-cell.md").read_text("utf-8")
    assert (output / "pictures" / "real-1.svg").exists()
    code, _, told = command(capsys, *arguments, "--seeds", "1", "--output", output)
    assert code == 2
    assert "exists: go on with it by --resume" in told
    pages = tmp_path / "pages"
    code, printed, _ = command(
        capsys, "study", "--results", output / "results.json", "--pages", pages
    )
    assert code == 0
    same = [(folder / "which-cell.md").read_text("utf-8") for folder in (output, pages)]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--problem", "reversing"],
            "--problem 'reversing' is not in the study, which has: adding",
        ),
        (["--problem", "mnist-rows"], "needs --digits, the file of MNIST"),
        (["--problem", "surnames", "--examples", "nowhere"], "there is no file nowhere/surnames/"),
        (["--problem", "adding", "--cell", "sru"], "cannot take the cell sru"),
        (["--problem", "adding", "--cell", "ltsm"], "ltsm"),
        (["--images", "500"], "--images has no effect without --digits"),
        (["--seeds", "0"], "0"),
        (["--share", "2"], "share"),
        (["--results", "nothing.json"], "there is no file nothing.json"),
        (["--results", "nothing.json", "--seeds", "3"], "--seeds has no effect"),
        (["--resume"], "no study studies/cells to go on with"),
        (["--output", "full"], "full is no study of cells of anyrnn, so it stays as it is"),
        (["--output", "file"], "file is a file"),
        (["--problem", "mnist-rows", "--digits", "file"], "file has to be an .npz"),
        (["--problem", "mnist-rows", "--digits", "other.npz"], "with the arrays x_train"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("text")
    numpy.savez(tmp_path / "other.npz", x=numpy.zeros(3))
    code, _, told = command(capsys, "study", *arguments)
    assert code == 2
    assert said in told
    assert told.count("\n") == 1
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_every_setting_has_options_and_data(tmp_path: Path) -> None:
    files = Files(EXAMPLES, tmp_path, quick=True)
    for name, setting in SETTINGS.items():
        options = setting.options(files, ("lstm", "gru"), 2)
        assert options.training.epochs == 1
        assert options.training.seeds == 2
        task = entry_named(setting.task).task
        assert setting.figure in {each.name for each in task.figures} | {"loss"}, name
    for name, setting in LARGE.items():
        if name != "large-mnist":
            options = setting.options(files, ("lstm",), 1)
            assert (options.training.epochs, options.model.hidden_size) == (1, 8)
    assert set(FLOWS) <= {each.problem for each in (*SETTINGS.values(), *MNIST.values())}
    # the last setting of a problem is its longest one
    adding = [each.steps for each in settings_of(["adding"])]
    assert adding == sorted(adding, key=lambda steps: steps or 0)
    assert [each.name for each in settings_of(["adding-30", "co2"])] == ["adding-30", "co2"]


def test_a_share_of_the_epochs() -> None:
    setting = SETTINGS["adding-10"]
    whole, some = (
        setting.options(Files(EXAMPLES, Path(), share=share), ("gru",), 1).training.epochs
        for share in (1.0, 0.4)
    )
    assert some == round(0.4 * whole)


def test_images_as_rows_and_as_pixels(tmp_path: Path) -> None:
    random = numpy.random.default_rng(0)
    arrays = {
        "x_train": random.integers(0, 255, (150, 28, 28)),
        "y_train": numpy.arange(150) % 10,
        "x_test": random.integers(0, 255, (20, 28, 28)),
        "y_test": numpy.arange(20) % 10,
    }
    numpy.savez(tmp_path / "mnist.npz", **arrays)
    files = Files(EXAMPLES, tmp_path / "made", tmp_path / "mnist.npz", images=120)
    assert [each.name for each in settings_of(MNIST, files.digits)] == [
        "mnist-rows",
        "mnist-pixels",
    ]
    for name, shape in (("mnist-rows", (28, 28)), ("mnist-pixels", (784, 1))):
        options = MNIST[name].options(files, ("gru",), 1)
        data = entry_named("classify").task.read(options)
        assert data.test is not None
        assert data.test.inputs[0].shape == shape
        assert sum(len(part) for part in (data.training, data.validation) if part) == 120
        assert numpy.array_equal(data.test.inputs[3].ravel(), arrays["x_test"][3].ravel())


def test_problems_that_need_a_file_are_not_in_the_study_without_it() -> None:
    for digits in (None, Path("mnist.npz")):
        whole = {each.name for each in settings_of((), digits)}
        assert whole == {*SETTINGS, *(MNIST if digits else ())}
    assert [each.name for each in settings_of(["large-adding"])] == ["large-adding"]
    with pytest.raises(OptionError, match="large-mnist needs digits"):
        settings_of(["large-mnist"])
    with pytest.raises(OptionError, match="digits"):
        settings_of(["mnist-rows"])
    with pytest.raises(DataError, match="no file"):
        Files(Path("nowhere"), Path()).example("co2/co2.csv")


@pytest.mark.long
def test_costs_grow_with_the_network(tmp_path: Path) -> None:
    kind = entry_named("adding")
    options = from_flat(kind.options, {"length": 40, "batch_size": 64, "hidden_size": 8})
    data = kind.task.read(options)
    task = kind.task.prepare(options, data.training, lambda note: None)
    found = measured_costs("adding-40", task, data, {"lstm": 64, "gru": 8})
    assert (found.batch_size, found.steps) == (64, 40)
    large, small = found.equal_parameters["lstm"], found.equal_parameters["gru"]
    assert large.hidden_size == 64
    assert large.training_seconds > small.training_seconds > 0
    assert large.inference_seconds > 0
    assert large.parameters == 4 * 64 * (2 + 64 + 1) + 65
    assert {each.hidden_size for each in found.equal_hidden.values()} == {128}
    if large.memory_bytes is not None and small.memory_bytes is not None:
        # h, c and the gates of each step and row, in float32
        assert large.memory_bytes > 64 * 40 * 64 * 4
        assert large.memory_bytes > small.memory_bytes
