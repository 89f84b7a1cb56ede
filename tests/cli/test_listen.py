"""Spoken words from the command line, on the recordings of examples/commands."""

import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy
import pytest
import soundfile
import torch

from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]
EXAMPLE = Path(__file__).parents[2] / "examples" / "commands"
RECORDINGS, DIALOGUE = EXAMPLE / "recordings", EXAMPLE / "dialogue.ogg"
SMALL = ["--sample-rate", "8000", "--mels", "20", "--hidden-size", "24", "--segment-length", "4"]
SMALL += ["--learning-rate", "0.01", "--batch-size", "16", "--epochs", "8", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is that all tests use."""
    return tmp_path_factory.mktemp("listen")


@pytest.fixture
def model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run on the recordings of the example."""
    torch.set_num_threads(1)
    monkeypatch.chdir(folder)
    if Path("runs/recordings").exists():
        return "runs/recordings"
    code, out, error = run("train", "command", "--data", str(RECORDINGS), *SMALL)
    assert code == 0, error
    assert "speakers: " in out + error
    assert "majority" in out
    return "runs/recordings"


def test_recordings_are_told_and_measured(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(map(str, (RECORDINGS / "_silence_").iterdir()))[:3]
    code, out, error = run("predict", model, *files, "--probabilities")
    assert code == 0, error
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["file"] for answer in answers] == files
    assert answers[0]["label"] == "_silence_"
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(files).encode())))
    assert run("predict", model)[1].count('"label": "_silence_"') >= 2
    code, out, error = run("evaluate", model, "--data", str(RECORDINGS), "--json")
    assert code == 0, error
    found = json.loads(out)
    assert found["accuracy"] > 0.4
    assert found["recordings"] == 250
    assert run("runs", "runs")[0] == 0


def test_what_comes_from_standard_input_is_heard_as_in_a_file(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--threshold", "0.3", "--window", "0.5", "--refractory", "0.2"]
    samples, rate = soundfile.read(DIALOGUE)
    soundfile.write("dialogue.wav", samples, rate)
    code, expected, error = run("listen", model, "dialogue.wav", *asked)
    assert code == 0, error
    lines = [line.split("\t") for line in expected.splitlines()]
    assert lines
    assert {word for _, word, _ in lines} <= {"go", "no", "stop", "yes"}
    assert all(float(one[0]) < float(other[0]) for one, other in pairwise(lines))
    pcm = soundfile.read("dialogue.wav", dtype="int16")[0].tobytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(pcm + b"\0")))
    assert run("listen", model, "-", *asked) == (0, expected, "")
    twice = numpy.repeat(numpy.frombuffer(pcm, "<i2"), 2).tobytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(twice)))
    code, out, _ = run("listen", model, "-", "--rate", "16000", *asked)
    assert code == 0
    assert abs(len(out.splitlines()) - len(lines)) <= 2
    assert abs(float(out.split("\t")[0]) - float(lines[0][0])) < 0.5
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run("listen", model, "-") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["listen", "{model}"], "FILE is missing"),
        (["listen", "{model}", "no.wav"], "there is no file no.wav"),
        (["listen", "{model}", "empty.wav"], "empty.wav is empty"),
        (["listen", "{model}", "header.wav"], "header.wav has no samples"),
        (["listen", "{model}", "header.wav", "--rate", "8000"], "--rate has no effect with"),
        (["listen", "{model}", "-", "--threshold", "2"], "--threshold is 2.0, but has to be"),
        (["predict", "{model}", "empty.wav"], "empty.wav is empty"),
        (["evaluate", "{model}", "--data", "nowhere"], "there is no file nowhere"),
        (["evaluate", "{model}", "--data", "others"], "has the label 'maybe', which no training"),
        (["train", "command", "--data", "nothing"], "nothing names no recording"),
        (
            ["train", "command", "--data", "words.csv"],
            "record 1: there is no file clips/a.wav; mend",
        ),
        (
            ["train", "command", "--data", "words.csv", "--label", "said"],
            "words.csv has no column 'said' (--label)",
        ),
    ],
)
def test_mistakes(run: Run, model: str, arguments: list[str], message: str) -> None:
    Path("empty.wav").touch()
    Path("nothing").mkdir(exist_ok=True)
    soundfile.write("header.wav", numpy.zeros(0), 8000)
    Path("others/maybe").mkdir(parents=True, exist_ok=True)
    soundfile.write("others/maybe/a.wav", numpy.zeros(800), 8000)
    Path("words.csv").write_text("recording,label\nclips/a.wav,yes\n")
    assert message in mistake(run(*(each.format(model=model) for each in arguments)))


def test_other_runs_do_not_listen(run: Run, model: str) -> None:
    Path("a.csv").write_text("text,label\n" + "fine,a\nbad,b\n" * 8)
    code, _, error = run(
        "train",
        "classify",
        "--data",
        "a.csv",
        "--text",
        "text",
        "--label",
        "label",
        "--epochs",
        "1",
        "--hidden-size",
        "4",
        "--validation-share",
        "0",
        "--test-share",
        "0",
    )
    assert code == 0, error
    assert "is a run of" in mistake(run("listen", "runs/a", "x.wav"))
