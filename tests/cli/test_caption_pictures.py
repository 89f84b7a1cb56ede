"""Captions from the command line."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]
EXAMPLE = Path(__file__).parents[2] / "examples" / "shapes"
SMALL = ["--hidden-size", "16", "--embedding-size", "8", "--learning-rate", "0.02", "--cell", "gru"]
SMALL += ["--device", "cpu", "--beam", "2", "--picture-size", "64", "--epochs", "1"]
COLUMNS = ["--picture", "picture", "--caption", "caption"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is that all tests use."""
    return tmp_path_factory.mktemp("caption")


@pytest.fixture
def model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run on pictures."""
    torch.set_num_threads(1)
    monkeypatch.chdir(folder)
    if Path("runs/few").exists():
        return "runs/few"
    Path("pictures").symlink_to(EXAMPLE / "pictures")
    lines = (EXAMPLE / "captions.csv").read_text(encoding="utf-8").splitlines()
    Path("few.csv").write_text("\n".join(lines[:121]) + "\n", encoding="utf-8")
    data = ("--data", "few.csv", "--folder", "pictures", *COLUMNS)
    code, out, error = run("train", "caption", *data, *SMALL)
    assert code == 0, error
    assert "pictures: 48 to train, 6 to validate, 6 to test; 96 captions to train" in out
    assert "pictures in pictures without a caption, which are not used: 340" in out
    assert "CIDEr-D" in out
    assert "run folder: runs/few" in out
    return "runs/few"


def test_from_pictures_to_captions(run: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = "pictures/398.png", "pictures/399.png"
    code, out, error = run("predict", model, one, other, "--n-best", "2", "--beam", "3")
    assert code == 0, error
    first, second = map(json.loads, out.splitlines())
    assert [first["picture"], second["picture"]] == [one, other]
    assert first["caption"] != first["alternatives"][0]["caption"]
    assert first["score"] >= first["alternatives"][0]["score"]
    code, alone, _ = run("predict", model, one, "--beam", "3")
    assert json.loads(alone)["caption"] == first["caption"]
    Path("list.txt").write_text(f"{one}\n\n{other}\n", encoding="utf-8")
    assert len(run("predict", model, "--file", "list.txt")[1].splitlines()) == 2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(one.encode())))
    assert len(json.loads(run("predict", model, "--longest", "2")[1])["caption"].split()) <= 2


def test_files_are_measured(run: Run, model: str) -> None:
    code, out, error = run("evaluate", model, "--data", "few.csv")
    assert code == 0, error
    assert "most frequent captions" in out
    assert "nrefs:2" in out
    found = json.loads(run("evaluate", model, "--data", "few.csv", "--json")[1])
    assert found["pictures"] == 60
    assert {"bleu_1", "bleu_4", "cider", "distinct", "perplexity", "loss"} <= found.keys()
    assert run("runs", "runs")[0] == 0


def test_mistakes(run: Run, model: str) -> None:
    Path("text.png").write_text("no picture")
    Path("bad.csv").write_text("picture,caption\ntext.png,A circle\n")
    Path("blank.csv").write_text("picture,caption\n000.png,A circle\n001.png,\n")
    train = ["train", "caption", *COLUMNS, *SMALL, "--output", "other"]
    few, predict = ["--data", "few.csv", "--folder", "pictures"], ["predict", model]
    for arguments, message in [
        (
            [*train, "--data", "bad.csv"],
            "bad.csv: record 1 names a picture that cannot be used: te",
        ),
        ([*train, "--data", "bad.csv", "--skip-bad"], "bad.csv names no picture that can be used"),
        ([*train, "--data", "blank.csv"], "record 2, the header not counted, has no 'caption'"),
        ([*train, "--data", "none.csv"], "there is no file none.csv"),
        (
            [*train, "--data", "few.csv", "--arrays", "x"],
            "--picture-size has no effect with --arra",
        ),
        ([*train, "--data", "few.csv", "--backbone", "resnet18"], "--weights package are those of"),
        ([*train, *few, "--tokens", "bpe", "--min-frequency", "3"], "no effect on"),
        ([*predict, "none.png"], "there is no file none.png"),
        ([*predict, "text.png"], "text.png is no picture"),
        ([*predict, "text.png", "--n-best", "9"], "--n-best is 9, but a beam finds no more"),
        (["evaluate", model], "--data is missing"),
        (["evaluate", model, "--data", "few.csv", "--arrays", "x"], "the run reads pictures with"),
        (["translate", model], "is a run of the task 'caption', not of 'translate'"),
    ]:
        assert message in mistake(run(*arguments)), arguments
