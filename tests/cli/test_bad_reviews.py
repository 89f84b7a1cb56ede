"""Files of texts and labels that cannot be used, or not as they are."""

import gzip
import json
import lzma
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_classifier import COLUMNS, SMALL, Outcome, csv_text, reviews

GOOD_LINES = csv_text(reviews(40))
BAD_DATA: dict[str, tuple[str, bytes, list[str], str]] = {
    "empty file": ("a.csv", b"", [], "is empty"),
    "only a header": ("a.csv", b"review,sentiment\n", [], "no row"),
    "only blanks": ("a.csv", b"\n \n", [], "is empty"),
    "suffix": ("a.xlsx", b"x", [], r"supported: \.csv"),
    "no suffix": ("reviews", b"x", [], "supported"),
    "one class": (
        "a.csv",
        b"review,sentiment\na b,pos\nc d,pos\ne f,pos\n",
        [],
        "only the label 'pos'",
    ),
    "no class": (
        "a.csv",
        b"review,sentiment\na b,x\nc d,y\n",
        ["--skip-bad"],
        "no label with enough",
    ),
    "rare class": ("a.csv", GOOD_LINES.encode() + b"odd,other\n", [], r"'other' has 1 .*record 41"),
    "empty text": (
        "a.csv",
        GOOD_LINES.encode() + b",pos\nx,\n",
        [],
        r"record 41.*'review'.*2 rows",
    ),
    "blank label": (
        "a.csv",
        GOOD_LINES.encode() + b"x, \n",
        [],
        r"record 41.*'sentiment'.*--skip-bad",
    ),
    "all empty": ("a.csv", b"review,sentiment\n,pos\nx,\n", ["--skip-bad"], "no row in which"),
    "ragged": (
        "a.csv",
        GOOD_LINES.encode() + b"a,b,c\n",
        [],
        r"Expected 2 fields in line 42, saw 3",
    ),
    "too wide": ("a.csv", b"review,sentiment\na,b,c\nd,e,f\n", [], "cannot be read as a table"),
    "open quote": ("a.csv", GOOD_LINES.encode() + b'"a,b\n', [], "EOF inside string"),
    "missing column": ("a.csv", b"reviews,sentiment\na,b\n", [], "did you mean 'reviews'"),
    "separator": ("a.csv", b"review;sentiment\na;b\n", [], r"--separator ';'"),
    "encoding": (
        "a.csv",
        "review,sentiment\nok,pos\nschön,pos\n".encode("cp1252"),
        [],
        r"not utf-8: byte 0xf6 at position 27, line 3; .*--encoding cp1252",
    ),
    "chinese encoding": (
        "a.csv",
        "review,sentiment\n房间很大,服务也好\n".encode("gb18030"),
        [],
        "--encoding gb18030",
    ),
    "utf-16": ("a.csv", "review,sentiment\na,b\n".encode("utf-16"), [], "--encoding utf-16"),
    "utf-16 without its mark": (
        "a.csv",
        GOOD_LINES.encode("utf-16-le"),
        [],
        "zero bytes.*--encoding utf-16-le",
    ),
    "compressed under another name": (
        "a.csv",
        gzip.compress(GOOD_LINES.encode()),
        [],
        "a .gz file",
    ),
    "a separator of several bytes": (
        "a.csv",
        GOOD_LINES.encode(),
        ["--separator", "、"],
        "--separator is '、', but has to be one ASCII character",
    ),
    "a list as text": (
        "a.jsonl",
        b'{"review": ["a"], "sentiment": 1}',
        [],
        "line 1 has a list as 'review'",
    ),
    "unknown encoding": ("a.csv", GOOD_LINES.encode(), ["--encoding", "klingon"], "klingon"),
    "not json": (
        "a.jsonl",
        b'{"review": "a", "sentiment": "b"}\n{"review": \n',
        [],
        "line 2 is not JSON",
    ),
    "not an object": ("a.jsonl", b"[1, 2]\n", [], "line 1 is not a JSON object"),
    "json without text": (
        "a.jsonl",
        b'\n{"review": "a", "sentiment": 1}\n{"sentiment": 2}\n',
        [],
        "line 3, has no 'review'",
    ),
    "damaged gzip": ("a.csv.gz", gzip.compress(GOOD_LINES.encode())[:50], [], r"not a sound \.gz"),
    "no xz": ("a.csv.xz", b"nothing of the kind", [], r"not a sound \.xz"),
    "damaged xz": ("a.csv.xz", lzma.compress(GOOD_LINES.encode())[:60], [], r"not a sound \.xz"),
    "no parquet": ("a.parquet", b"PAR1 nothing of the kind", [], "not a sound parquet"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(anyrnn: Callable[..., Outcome], tmp_path: Path, name: str) -> None:
    file, content, arguments, message = BAD_DATA[name]
    path = tmp_path / file
    path.write_bytes(content)
    out = tmp_path / "runs" / "one"
    outcome = anyrnn("train", "classify", "--data", path, *COLUMNS, "-o", out, *arguments)
    assert re.search(message, outcome.error)
    assert str(path) in outcome.error or "is '" in outcome.error or "klingon" in outcome.error
    assert not out.parent.exists()


def test_missing_files(anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.csv"
    for arguments in (
        ["--data", missing],
        ["--data", data, "--test-data", missing],
        ["--data", data, "--validation-data", missing],
    ):
        assert str(missing) in anyrnn("train", "classify", *COLUMNS, *arguments).error
    assert "folder" in anyrnn("train", "classify", *COLUMNS, "--data", tmp_path).error
    assert "supported" in anyrnn("train", "classify", *COLUMNS, "--data", tmp_path / "x.doc").error


def test_skip_bad_counts(anyrnn: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(GOOD_LINES + ",pos\nNA,pos\nx,\nrare,odd\n")
    run = tmp_path / "run"
    outcome = anyrnn(
        *("train", "classify", "--data", path, *COLUMNS, *SMALL),
        *("--epochs", 1, "-o", run, "--skip-bad"),
    )
    assert outcome.code == 0, outcome.err
    skipped = json.loads((run / "config.json").read_text())["facts"]["skipped"][str(path)]
    assert skipped == {
        "without review": 1,
        "without sentiment": 1,
        "with a label that is too rare": 1,
    }
    assert "1 without review, 1 without sentiment" in outcome.out


def test_labels_unknown_to_the_run(
    anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test.csv"
    path.write_text("review,sentiment\ngood,pos\nmeh,mixed\n")
    error = anyrnn("evaluate", trained, "--data", path).error
    assert "record 2" in error
    assert "'mixed'" in error
    assert "'neg', 'pos'" in error


def test_a_table_of_tabs_that_is_called_txt(
    anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.txt"
    path.write_text(csv_text(reviews(), "\t"))
    assert "--separator" in anyrnn("evaluate", trained, "--data", path).error
    outcome = anyrnn("evaluate", trained, "--data", path, "--separator", "\t", "--json")
    assert json.loads(outcome.out)["texts"] == 60


def test_a_file_that_can_be_read_once(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    thread = threading.Thread(target=lambda: pipe.write_bytes(data.read_bytes()))
    thread.start()
    options = ["--data", pipe, *COLUMNS, *SMALL, "--epochs", 1, "-o", tmp_path / "run"]
    assert anyrnn("train", "classify", *options).code == 0
    thread.join()
