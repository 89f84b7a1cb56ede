"""Transcription from the command line."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch

from outcomes import mistake
from toy_speech import RATE, TEXTS, spoken, write_spoken

Run = Callable[..., tuple[int, str, str]]
SMALL = ["--hidden-size", "16", "--mels", "16", "--learning-rate", "0.02", "--segment-length", "2"]
SMALL += ["--sample-rate", str(RATE), "--batch-size", "8", "--device", "cpu", "--no-bidirectional"]
TABLE = ["--data", "spoken.tsv", "--recording", "file", "--transcript", "text"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is that all tests use."""
    return tmp_path_factory.mktemp("transcribe")


@pytest.fixture
def model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that reads forwards only."""
    torch.set_num_threads(1)
    monkeypatch.chdir(folder)
    if Path("runs/spoken").exists():
        return "runs/spoken"
    write_spoken(folder, TEXTS * 2)
    soundfile.write("new.wav", spoken("cad ab"), RATE)
    Path("texts.txt").write_text("\n".join(TEXTS))
    code, out, error = run("train", "transcribe", *TABLE, "--epochs", "5", *SMALL)
    assert code == 0, error
    assert "recordings: 32 (" in out
    assert "CER %" in out
    return "runs/spoken"


def test_from_recordings_to_texts(run: Run, model: str) -> None:
    code, out, error = run("transcribe", model, "new.wav", "spoken3.wav")
    assert code == 0, error
    lines = out.splitlines()
    texts = [line for line in lines if "\t" not in line]
    assert [text.partition(": ")[0] for text in texts] == ["new.wav", "spoken3.wav"]
    words = [line.split("\t") for line in lines if "\t" in line]
    written = " ".join(text.partition(": ")[2] for text in texts)
    assert " ".join(word for _, _, word in words) == written
    assert all(float(start) < float(end) for start, end, _ in words)
    assert run("transcribe", model, "new.wav", "--no-times")[1] == texts[0] + "\n"
    search = ("--beam", "8", "--language-model", "texts.txt", "--ngram-order", "3")
    code, out, error = run("predict", model, "new.wav", *search, "--language-weight", "1")
    assert code == 0, error
    found = json.loads(out)
    assert found["recording"] == "new.wav"
    assert found["text"] == " ".join(word["text"] for word in found["words"])


def test_a_stream_of_samples(run: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = (spoken("cad ab dd") * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2")
    soundfile.write("stream.wav", samples, RATE)

    def piped(content: bytes = samples.tobytes()) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    whole = run("transcribe", model, "stream.wav")[1].splitlines()
    piped()
    code, out, error = run("transcribe", model, "-")
    assert code == 0, error
    assert out.splitlines() == whole[1:]
    piped()
    assert " ".join(run("transcribe", model, "-", "--no-times")[1].split()) in whole[0]
    piped()
    assert json.loads(run("predict", model, "-", "--beam", "1")[1])["text"] in whole[0]
    piped(samples.repeat(2).tobytes())
    assert run("transcribe", model, "-", "--rate", str(2 * RATE))[0] == 0
    piped()
    message = mistake(run("transcribe", model, "-", "--beam", "4"))
    assert "a search with --beam or --language-model needs the whole recording" in message
    piped(b"")
    assert "standard input has no samples" in mistake(run("predict", model, "-"))
    monkeypatch.setattr("sys.stdin", None)
    assert "pipe them in" in mistake(run("transcribe", model, "-"))
    assert "goes with no file" in mistake(run("transcribe", model, "-", "new.wav"))
    message = mistake(run("transcribe", model, "new.wav", "--rate", "8000"))
    assert "--rate has no effect on files; leave --rate out" in message


def test_tables_are_measured(run: Run, model: str) -> None:
    code, out, error = run("evaluate", model, "--data", "spoken.tsv")
    assert code == 0, error
    assert "transcription" in out
    found = []
    for search in ([], ["--beam", "8", "--language-model", "texts.txt"]):
        code, out, error = run("evaluate", model, "--data", "spoken.tsv", "--json", *search)
        assert code == 0, error
        found.append(json.loads(out))
    assert found[0]["recordings"] == 2 * len(TEXTS)
    assert {"cer", "wer", "loss", "confusions", "pictures"} <= found[0].keys()
    assert found[0]["loss"] == found[1]["loss"]
    assert found[0]["cer"] != found[1]["cer"]


def test_mistakes(run: Run, model: str) -> None:
    Path("bad.tsv").write_text("file\ttext\nspoken0\tab\nnone\tab\n")
    Path("empty.wav").write_bytes(b"")
    bad = ["train", "transcribe", "--data", "bad.tsv", "--recording", "file"]
    for arguments, message in [
        (bad, "--transcript is missing"),
        ([*bad, "--transcript", "txt"], "no column 'txt' (--transcript); did you mean 'text'?"),
        ([*bad, "--transcript", "text"], "bad.tsv: record 2: there is no file none; mend it, or"),
        (["train", "transcribe", *TABLE, "--mels", "900", "--output", "x"], "--mels is 900, but "),
        (["evaluate", model], "--data is missing: name a file"),
        (["evaluate", model, "--data", "spoken.tsv", "--ngram-order", "2"],
         "--ngram-order has no effect without --language-model"),
        (["transcribe", model], "no recording: name one or several"),
        (["transcribe", model, "none.wav"], "there is no file none.wav"),
        (["transcribe", model, "empty.wav"], "empty.wav is empty"),
        (["transcribe", model, "new.wav", "--beam", "0"], "--beam is 0, but has to be 1 or more"),
        (["transcribe", model, "new.wav", "--longest", "3"], "--longest has no effect with"),
        (["transcribe", model, "new.wav", "--language-model", model],
         "is a run of the task 'transcribe', not of 'generate'"),
        (["translate", model], "is a run of the task 'transcribe', not of 'translate'"),
    ]:  # fmt: skip
        assert message in mistake(run(*arguments)), arguments
