"""Speech synthesis from the command line."""

import io
import json
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch

from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]
TONES = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "tones" / "tones.py"))
SMALL = ["--sample-rate", "8000", "--window", "0.032", "--hop", "0.02", "--mels", "30"]
SMALL += ["--embedding-size", "8", "--hidden-size", "8", "--device", "cpu", "--cell", "gru"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is that all tests use."""
    return tmp_path_factory.mktemp("speak")


@pytest.fixture
def voice(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run on a few recordings, which has not learned to end."""
    torch.set_num_threads(1)
    monkeypatch.chdir(folder)
    if Path("runs/texts").exists():
        return "runs/texts"
    TONES["write"](Path("tones"), 12)
    columns = ("--recording", "file", "--transcript", "text")
    code, out, error = run(
        "train", "speak", "--data", "tones/texts.tsv", *columns, "--epochs", "1", *SMALL
    )
    assert code == 0, error
    assert "recordings: 10 (" in out
    assert "nearest" in out
    assert "run folder: runs/texts" in out
    return "runs/texts"


def test_texts_become_a_file_of_sound(
    run: Run, voice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("lines.txt").write_text("abc\n\nbad cab\n", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, out, error = run(
            "speak", voice, "--file", "lines.txt", "-o", "x.wav", "--longest", "0.3"
        )
    assert code == 0, error
    assert "anyrnn: warning: the speech of text 1 did not end by itself: it was cut after" in error
    samples, rate = soundfile.read("x.wav")
    assert rate == 8000
    assert out == f"x.wav: {len(samples) / rate:.2f} s of speech\n"
    assert len(samples) / rate == pytest.approx(0.74, abs=0.03)
    refused = mistake(run("speak", voice, "abc", "--output", "x.wav"))
    assert "x.wav exists; replace it with --overwrite" in refused
    code, out, error = run(
        "predict", voice, "abc", "bad", "-o", "x.wav", "--overwrite", "--stop-at", "1e-9"
    )
    assert code == 0, error
    first, second = map(json.loads, out.splitlines())
    assert (first["text"], first["start"], first["ended"]) == ("abc", 0, True)
    assert second["start"] == pytest.approx(first["end"] + 0.3, abs=0.002)
    assert second["end"] == pytest.approx(len(soundfile.read("x.wav")[0]) / rate, abs=0.001)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc\n")))
    assert run("speak", voice, "--output", "y.flac", "--stop-at", "1e-9")[0] == 0
    assert run("speak", voice, "abc", "--stop-at", "1e-9")[1].startswith("speech.wav: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["abc", "-o", "x.txt"], "--output is x.txt, but has to end in .wav, .flac, .ogg, .mp3"),
        (["", "-o", "z.wav"], "there is no text to be spoken: all of it is blank"),
        (["xyz", "-o", "z.wav"], "text 1 has no character that the training had: 'xyz'"),
        (["abc", "-o", "no/z.wav"], "cannot write no/z.wav: No such file or directory"),
        (["abc", "--file", "none.txt", "-o", "z.wav"], "there is no file none.txt"),
    ],
)
def test_what_cannot_be_spoken(run: Run, voice: str, arguments: list[str], message: str) -> None:
    assert mistake(run("speak", voice, *arguments, "--stop-at", "1e-9")).endswith(
        f"error: {message}\n"
    )
    assert not Path("z.wav").exists()
    assert not list(Path().glob("*.partial*"))


def test_evaluation(run: Run, voice: str) -> None:
    code, out, error = run("evaluate", voice, "--data", "tones/texts.tsv", "--json")
    assert code == 0, error
    told = json.loads(out)
    assert told["texts"] == 12
    assert told["distance"] > 0
    assert "examples" not in told
