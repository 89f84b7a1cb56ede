"""Data on disk: the same result as in memory, prepared once, whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_classify_train import same_run

from anyrnn.errors import StoppedError, WriteError
from anyrnn.kernels import store
from anyrnn.tasks import tag
from anyrnn.tasks.classify import Options
from anyrnn.tasks.data import contents, prepared, table_pieces, vocabulary
from anyrnn.tasks.data.columns import TextColumn
from anyrnn.tasks.data.table_files import read_table
from anyrnn.tasks.experiment import train
from anyrnn.tasks.tag import files, task
from anyrnn.tasks.trained import evaluate
from anyrnn.tasks.training.listener import Listener

MakeOptions = Callable[..., Options]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every file is large, and read in pieces of few rows."""
    monkeypatch.setattr(contents, "LARGE", 0)
    monkeypatch.setattr(table_pieces, "_ROWS", 60)
    monkeypatch.setattr(vocabulary, "_AT_ONCE", 50)
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def data_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.suffix != ".code"}


class Told(Listener):
    """Notes what is prepared; stops at one of it, if asked to."""

    def __init__(self, stop: str = "") -> None:
        self.stop = stop
        self.told: list[str] = []

    def preparing(self, what: str, done: int, total: int) -> None:
        assert 0 < done <= total
        self.told.append(what)
        if self.stop and what.startswith(self.stop) and done < total:
            raise StoppedError("stopped")


def test_the_same_training_prepared_once(
    options: MakeOptions, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options(epochs=2)
    first, second = Told(), Told()
    train(chosen, tmp_path / "disk", listener=first)
    there = data_in(cache)
    train(chosen, tmp_path / "again", listener=second)
    assert {"preparing reviews.csv", "encoding texts"} <= set(first.told)
    assert set(second.told) == {"reading reviews.csv", "counting tokens"}
    assert data_in(cache) == there
    assert len(there) == 4  # the table, and the tokens of three parts
    with monkeypatch.context() as patch:
        patch.setattr(contents, "LARGE", 1 << 40)
        train(chosen, tmp_path / "memory")
    for name in ("again", "memory"):
        same_run(tmp_path / "disk", tmp_path / name, ("gru",))


@pytest.mark.parametrize("what", ["preparing", "encoding"])
def test_a_preparation_that_is_stopped_leaves_nothing_half(
    options: MakeOptions, tmp_path: Path, cache: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_BLOCK", 1000)
    with pytest.raises(StoppedError):
        train(options(epochs=1), tmp_path / "run", listener=Told(stop=what))
    assert not [path for path in cache.iterdir() if path.suffix not in (".code", ".arrow")]
    train(options(epochs=1), tmp_path / "run")


def test_what_is_damaged_is_prepared_again(table: Path, cache: Path) -> None:
    def texts() -> list[str]:
        column = read_table(table, wanted=["review"]).columns["review"]
        assert isinstance(column, TextColumn)
        return list(column)

    expected = texts()
    (path,) = cache.glob("*.arrow")
    path.write_bytes(path.read_bytes()[:-9])
    assert texts() == expected
    table.write_text(table.read_text() + "one more,pos\n")
    assert texts() == [*expected, "one more"]


@pytest.mark.parametrize("how", ["off", "a file"])
def test_without_a_cache_data_is_prepared_for_this_process(
    table: Path, tmp_path: Path, cache: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("ANYRNN_CACHE", "off" if how == "off" else str(tmp_path / "file"))
    assert len(read_table(table, wanted=["review"])) == 200
    assert not cache.exists()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_told(table: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared, "whole", full)
    with pytest.raises(WriteError, match=r"cannot prepare data .*No space left.*ANYRNN_CACHE"):
        read_table(table, wanted=["review"])


@pytest.mark.parametrize("name", ["a.conll", "a.jsonl"])
def test_sentences_on_disk_train_the_same_tagger(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_AT_ONCE", 25)
    monkeypatch.setattr(task, "_NUMBERED_AT_ONCE", 30)
    rows = [
        [(f"{word}{number}", "I-PER"), ("walks", "O")]
        for number in range(40)
        for word in ("Ana", "Bo")
    ]
    lines = [{"tokens": [t for t, _ in row], "tags": [t for _, t in row]} for row in rows]
    text = {
        "a.jsonl": "\n".join([*map(json.dumps, lines), '{"tokens": [" "], "tags": ["O"]}']),
        "a.conll": "# a comment\n\n"
        + "\n".join("".join(f"{token} {label}\r\n" for token, label in row) for row in rows)
        + "\nrow\n",
    }[name]
    path = tmp_path / name
    path.write_text(text)
    chosen = tag.Options(
        tag.DataOptions(path, skip_bad=True),
        ("gru",),
        model=tag.ModelOptions(hidden_size=4, embedding_size=4, character_size=4, dropout=0.1),
        training=tag.TrainingOptions(epochs=2, batch_size=16, device="cpu"),
    )
    told = Told()
    train(chosen, tmp_path / "disk", listener=told)
    there = data_in(cache)
    assert {f"preparing {name}", "encoding sentences"} <= set(told.told)
    assert len(there) == 10  # the sentences; words, forms and tags of three parts
    again = Told()
    train(chosen, tmp_path / "again", listener=again)
    assert set(again.told) == {f"reading {name}"}
    assert data_in(cache) == there
    disk = evaluate(tmp_path / "disk", {"data": path})
    monkeypatch.setattr(contents, "LARGE", 1 << 40)
    train(chosen, tmp_path / "memory")
    for other in ("again", "memory"):
        same_run(tmp_path / "disk", tmp_path / other, ("gru",))
    memory = evaluate(tmp_path / "memory", {"data": path})
    assert disk.scores == memory.scores
    assert disk.facts == memory.facts
    assert disk.facts["skipped"]["tags I- that begin a span, now B-"] == 80
    assert len(disk.facts["skipped"]) == 2


def test_clear_removes_data_too(table: Path, cache: Path) -> None:
    read_table(table, wanted=["review"])
    (cache / "thesis.arrow").write_text("mine")
    assert [entry.label for entry in store.entries()] == ["prepared data"]
    assert store.clear()[0] == 1
    assert [path.name for path in cache.iterdir()] == ["thesis.arrow"]
