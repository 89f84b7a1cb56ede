"""What the program prints, and where it cannot print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.box import SIMPLE

import anyrnn
from anyrnn.cli.terminal import say_table, shown
from anyrnn.kernels import store
from outcomes import mistake

ESCAPE = "\x1b[2J\x9b2J\u202e\u2028\u2066"
SHOWN = r"\x1b[2J\x9b2J\u202e\u2028\u2066"
CELL = f"""
import anyrnn


@anyrnn.cell
def mine(x, h, *, W, name="{ESCAPE}"):
    "A cell {ESCAPE}"
    return h + W @ x
"""


def program(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "anyrnn", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
        **options,  # pyright: ignore[reportCallIssue, reportArgumentType]
    )


def test_what_is_shown() -> None:
    assert shown(ESCAPE + "\0\r\n\t\x7f") == SHOWN + r"\x00\r\n\t\x7f"
    assert shown("caf\udce9 \ud83d") == r"caf\xe9 \ud83d"
    plain = "好 é \u200d \U0001f600 [bold] :smile:"
    assert shown(plain) == plain


def steers(text: str) -> bool:
    return any(character in text for character in ESCAPE if not character.isprintable())


def test_a_cell_of_a_file_cannot_steer_the_terminal(run, tmp_path: Path) -> None:
    path = tmp_path / f"a{ESCAPE}.py"
    path.write_text(CELL, encoding="utf-8")
    for name in ("mine", f"no{ESCAPE}"):
        code, out, err = run("show", f"{path}:{name}")
        assert SHOWN in (err if code else out)
        assert not steers(out + err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", ESCAPE],
        [ESCAPE],
        ["cells", f"--{ESCAPE}"],
        ["convert", f"{ESCAPE}.keras", "out.safetensors"],
        ["predict", ESCAPE, "text"],
        ["evaluate", ESCAPE, "--data", "x.csv"],
        ["train", "classify", "--data", f"{ESCAPE}.csv", "--text", "t", "--label", "l"],
    ],
)
def test_mistakes_are_one_line_that_cannot_steer_the_terminal(run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert r"\x1b[2J" in err
    assert not steers(err)


def test_labels_of_compiled_code(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    store.save(store.key("one"), b"code", ESCAPE, ESCAPE)
    os.utime(tmp_path / "cache" / f"{store.key('one')}.code", (1e11, 1e11))
    _, out, _ = run("cache")
    assert SHOWN in out
    assert not steers(out)


@pytest.mark.parametrize("header", [b"[1]", b"{}", b"[" * 10**5, b"\xff", b'{"key": 1}'])
def test_compiled_code_with_a_damaged_header(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bytes
) -> None:
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    store.save(store.key("one"), b"code", "one", "avx2")
    content = header + b"\ncode"
    whole = store.FORMAT + store._checksum(content) + content
    (tmp_path / "cache" / f"{store.key('one')}.code").write_bytes(whole)
    assert store.load(store.key("one")) is None
    assert "damaged" in run("cache")[1]


@pytest.mark.parametrize("columns", ["20", "30"])
def test_one_value_a_line_where_it_is_narrow(
    run, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = run("cells")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[:3] == ["cell rnn", "states h", "parameters W, U, b"]
    assert set(anyrnn.CATALOGUE) <= set(out.split())
    assert max(map(len, lines)) <= int(columns)


def test_columns_move_together_where_a_table_is_too_wide(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ("parameters", "BLEU", "chrF", "exact %", "ppl", "loss", "training", "per pair")
    cells = ("3,319,968", "20.9", "37.5", "6.7", "11.323", "2.427", "40 min 35 s", "233.2 ms")
    rows = [("gru", *cells), ("nearest", "", "12.4", "30.1", "0.0", "", "", "", "")]
    widths = {}
    for width in (100, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        say_table(("cell", *columns), rows, right=columns, box=SIMPLE)
        lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        widths[width] = max(map(len, lines))
        assert all(cell in lines[3] for cell in cells), lines
    assert 80 < widths[100] <= 100
    assert widths[80] <= 80


def test_a_width_of_nothing(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert "lstm" in run("cells")[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["cells"], ["show", "rnn"], ["--help"], ["cache"]])
def test_output_that_cannot_be_written(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = program(*arguments, stdout=full)
    assert done.returncode == 2
    assert done.stderr == ("anyrnn: error: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("arguments", [["cells"], ["cells", "--json"], ["--help"]])
def test_whoever_reads_has_enough(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as closed:
        done = program(*arguments, stdout=closed)
    assert (done.returncode, done.stderr) == (141, "")


def test_characters_that_the_output_does_not_know() -> None:
    code = "from anyrnn.cli.terminal import say_json; say_json({'text': '好'})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert json.loads(done.stdout) == {"text": "好"}


def test_a_file_that_ends_the_program(run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import sys; sys.exit(3)")
    mistake(run("show", f"{tmp_path}/a.py:mine"))
    (tmp_path / "a.py").write_text("raise KeyboardInterrupt")
    assert run("show", f"{tmp_path}/a.py:mine") == (130, "", "anyrnn: stopped\n")
