"""Language models from the command line."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]
BOOK = "the cat sat on the mat.\nthe dog sat on the log.\na cat and a dog sat.\n" * 20
SMALL = ["--hidden-size", "16", "--embedding-size", "8", "--learning-rate", "0.02", "--steps", "20"]


@pytest.fixture
def model(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run on a small book."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(BOOK, encoding="utf-8")
    code, out, error = run(
        *("train", "generate", "--data", "book.txt", "--epochs", "3", "--batch-size", "4"),
        *("--cell", "gru", "--ngram-order", "2", "--device", "cpu", *SMALL),
    )
    assert code == 0, error
    assert re.search(r"bits per\s+character", out)
    assert re.search(r"2-grams +[\d.]+ +[\d.]+", out)
    return "runs/book"


def test_from_a_book_to_a_text(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call = ("generate", model, "--prompt", "the ", "--length", "30", "--seed", "1")
    code, out, error = run(*call)
    assert code == 0, error
    assert out.startswith("the ")
    assert len(out) == len("the ") + 30 + 1
    assert run(*call)[1] == out
    assert run(*call, "--count", "2")[1].startswith(out + "the ")

    greedy = run("generate", model, "--prompt", "the ", "--length", "3", "--greedy")[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n1\n€\n1\nand\nq\n"))
    code, out, error = run("generate", model, "--prompt", "the ", "--interactive")
    assert code == 0, error
    assert "the prompt has '€', which the model has not seen" in out
    assert out.rstrip("\n").endswith(greedy.rstrip("\n") + "and")

    # What is no text is told as in an argument, and what is drawn at the lowest temperature is
    # the likeliest.
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1\n\xff\nq\n"), "utf-8"))
    code, out, error = run("generate", model, "--interactive")
    assert code == 0, error
    assert "the prompt has '?', which the model has not seen" in out
    coldest = ("generate", model, "--prompt", "the ", "--length", "3", "--temperature", "1e-300")
    assert run(*coldest) == (0, greedy, "")

    code, out, _ = run("evaluate", model, "--data", "book.txt", "--json")
    assert code == 0
    assert json.loads(out)["tokens"] == len(BOOK)
    code, out, _ = run("predict", model, "the cat", "")
    first, second = map(json.loads, out.splitlines())
    assert first["perplexity"] > 1
    assert second == {"text": "", **dict.fromkeys(list(first)[1:])}


def test_mistakes(run: Run, model: str) -> None:
    for arguments, message in [
        (["--prompt", "a €"], "the prompt has '€', which the model has not seen"),
        (["--prompt", "a \udce9"], "the prompt has '?', which the model has not seen"),
        # as Python reads UTF-8 where the locale is C
        (
            ["--prompt", "".join(chr(0xDC00 + byte) for byte in "字".encode())],
            "the prompt has '字'",
        ),
        (["--temperature", "0"], "--temperature is 0.0, but has to be above 0"),
        (["--top-p", "1.5"], "--top-p is 1.5, but has to be 1 or less"),
        (["--cell", "lstm"], "has no cell 'lstm'"),
        (["--count", "2", "--interactive"], "--count has no effect with --interactive; leave one"),
    ]:
        assert message in mistake(run("generate", model, *arguments))
    for arguments, message in [
        (["--data", "."], "is a folder, not a file"),
        (
            ["--data", "book.txt", "--validation-share", "0.6", "--test-share", "0.5"],
            "--test-share",
        ),
        (["--data", "book.txt", "--tied", "--adaptive-softmax"], "leave one of them out"),
    ]:
        assert message in mistake(run("train", "generate", *arguments, "-o", "other"))


def test_control_characters_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    book = tmp_path / "book.txt"
    book.write_text("\x1b[2J\tab" * 60, encoding="utf-8")
    code, _, error = run(
        *("train", "generate", "--data", str(book), "--epochs", "1", "-o", str(tmp_path / "run")),
        *("--batch-size", "4", "--cell", "rnn", "--device", "cpu", *SMALL),
    )
    assert code == 0, error
    _, out, _ = run("generate", str(tmp_path / "run"), "--length", "60", "--seed", "0")
    assert "\x1b" not in out
    assert r"\x1b" in out
