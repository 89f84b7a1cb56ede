"""Language models: everything from a book to a text."""

import csv
import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from sklearn import clone
from test_classify_train import StopAt, same_run
from torch.autograd.graph import saved_tensors_hooks
from toy_book import BOOK, KINDS, POEMS

from anyrnn.errors import DataError, OptionError, StoppedError
from anyrnn.tasks import LanguageModel
from anyrnn.tasks.data import contents
from anyrnn.tasks.data.batches import Shared
from anyrnn.tasks.data.streams import StreamBatches
from anyrnn.tasks.experiment import train
from anyrnn.tasks.generate import (
    DataOptions,
    ModelOptions,
    Options,
    SamplingOptions,
    TokenOptions,
    TrainingOptions,
)
from anyrnn.tasks.generate.data import Part, read
from anyrnn.tasks.generate.task import Generate
from anyrnn.tasks.trained import evaluate, load
from anyrnn.tasks.training.results import Result

MakeOptions = Callable[..., Options]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(BOOK, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run on the small book."""
    folder = tmp_path_factory.mktemp("learned")
    (folder / "book.txt").write_text(BOOK, encoding="utf-8")
    options = Options(
        DataOptions((folder / "book.txt",)),
        cells=("gru",),
        model=ModelOptions(embedding_size=8, hidden_size=24, dropout=0.1),
        ngram_order=3,
        training=TrainingOptions(
            epochs=6, batch_size=4, steps=20, learning_rate=2e-2, device="cpu"
        ),
    )
    return train(options, folder / "run")


@pytest.fixture
def options(book: Path) -> MakeOptions:
    """Options for the small book; keywords change the group that has them."""

    def make(*files: Path, **changes: object) -> Options:
        groups = {
            "data": DataOptions(files or (book,)),
            "vocabulary": TokenOptions(),
            "model": ModelOptions(embedding_size=8, hidden_size=24, dropout=0.1),
            "training": TrainingOptions(
                epochs=6, batch_size=4, steps=20, learning_rate=2e-2, device="cpu"
            ),
        }
        rest: dict[str, object] = {"cells": ("gru",), "ngram_order": 3}
        for name, value in changes.items():
            group = next((key for key, each in groups.items() if hasattr(each, name)), None)
            if group:
                groups[group] = replace(groups[group], **{name: value})  # pyright: ignore
            else:
                rest[name] = value
        return Options(**groups, **rest)  # pyright: ignore[reportArgumentType]

    return make


def test_an_adaptive_softmax_of_a_small_vocabulary(options: MakeOptions, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="adaptive_softmax has no effect on a vocabulary of less"):
        train(options(adaptive_softmax=True), tmp_path / "run")


# From a book to a text


def test_learns_a_book_and_writes_it(learned: Result) -> None:
    figures = learned.best.scores.figures
    assert figures["bits_per_character"] < 1
    assert figures["bits_per_character"] == pytest.approx(figures["loss"] / math.log(2))
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    model = load(learned.run)
    text = "".join(model.task.generate(model.network, SamplingOptions("the cat", 10, greedy=True)))
    assert text == " sat on th"
    measured = evaluate(learned.run, {"data": learned.run.parent / "book.txt"})
    assert measured.scores.count == len(BOOK)
    known, strange = model.predict(["the cat sat on the mat.", "tac eht tas no eht tam."])
    assert known.perplexity < 2 < strange.perplexity


def test_the_shares_of_processes_add_up(learned: Result) -> None:
    model = load(learned.run)
    task, part = model.task, Part(Path("book.txt"), [BOOK[:100]])
    # Three streams of 34, 33 and 33 steps: in the last batch one of them is left.
    source = StreamBatches(task.encoded(part).tokens, 3, 11, constants={"characters": 1.0})

    def total(number: int, count: int) -> tuple[float, int]:
        nats, tokens, carried = 0.0, 0, None
        metrics = task.metrics()
        for batch in Shared(source, number, count):
            step = task.step(model.network, batch, carried if batch.continues else None)
            task.measure(metrics, step, batch)
            carried = step.carried
            nats, tokens = nats + float(step.loss.detach()) * step.count, tokens + step.count
        return nats, tokens

    whole, shares = total(0, 1), [total(number, 2) for number in (0, 1)]
    assert whole == pytest.approx([sum(each) for each in zip(*shares, strict=True)])
    assert whole[1] == 100


def test_ngrams_stand_beside_the_cells(learned: Result) -> None:
    assert list(learned.baselines) == ["3-grams"]
    report = (learned.run / "report.html").read_text(encoding="utf-8")
    for words in ("temperature 0.8", "3-grams", "bits per character", "of all bits"):
        assert words in report
    results = json.loads((learned.run / "results.json").read_text(encoding="utf-8"))
    assert results["baselines"]["3-grams"]["loss"] > 0


def test_same_seed_same_text(learned: Result) -> None:
    model = load(learned.run)

    def text(seed: int | None = None) -> str:
        sampling = SamplingOptions("the ", 60, temperature=2, seed=seed)
        return "".join(model.task.generate(model.network, sampling))

    assert text(1) == text(1) != text(2)
    assert text() != text()
    assert len(text()) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_token_learns(options: MakeOptions, tmp_path: Path, kind: str) -> None:
    changes = {"tokens": kind, "vocabulary_size": 300 if kind == "bpe" else None}
    result = train(options(**changes, epochs=8), tmp_path / "run")
    assert result.best.scores.figures["bits_per_character"] < 1.5
    model = load(tmp_path / "run")
    sampling = SamplingOptions("the cat ", 3, greedy=True)
    assert "sat" in "".join(model.task.generate(model.network, sampling)) or kind != "word"


def test_poems_end(tmp_path: Path, options: MakeOptions) -> None:
    path = tmp_path / "poems.tsv"
    rows = "".join(f"{number}\t{poem}\n" for number, poem in enumerate(POEMS))
    path.write_text("number\tpoem\n" + rows, encoding="utf-8")
    chosen = options(path, text="poem", epochs=40, batch_size=2, minimum_frequency=1)
    chosen = replace(chosen, data=replace(chosen.data, validation_data=path, test_share=0.0))
    train(chosen, tmp_path / "run")
    model = load(tmp_path / "run")
    text = "".join(model.task.generate(model.network, SamplingOptions("春", 50, greedy=True)))
    assert text == "眠不觉晓"


def test_texts_that_are_equal_land_in_one_part(tmp_path: Path, options: MakeOptions) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(["Anna", "Berta", "Clara", "Dora"] * 3) + "\n")
    data = replace(options(path).data, lines=True)
    parts = read(data, 0)
    assert parts.test
    found = [set(part.texts) for part in (parts.training, parts.validation, parts.test)]
    assert sum(map(len, found)) == len(set.union(*found)) == 4


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_stop_within_an_epoch_changes_no_curve(
    options: MakeOptions, tmp_path: Path, cell: str
) -> None:
    chosen = options(cells=(cell,), epochs=2, dropout=0.3, weight_dropout=0.2)
    train(chosen, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(chosen, tmp_path / "stopped", listener=StopAt(2, 2))
    train(chosen, tmp_path / "stopped", resume=True)
    same_run(tmp_path / "whole", tmp_path / "stopped", (cell,))


def test_without_test_texts_validation_measures(options: MakeOptions, tmp_path: Path) -> None:
    result = train(options(test_share=0.0, epochs=1), tmp_path / "run")
    assert result.best.scores.count == pytest.approx(len(BOOK) / 10, abs=1)
    with (tmp_path / "run" / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["validation_loss"]) == pytest.approx(result.best.scores.figures["loss"])


def test_several_books_and_compressed_ones(options: MakeOptions, tmp_path: Path) -> None:
    first, second = tmp_path / "one.txt.gz", tmp_path / "two.txt"
    first.write_bytes(gzip.compress(BOOK.encode("utf-16")))
    second.write_bytes(BOOK.replace("\n", "\r\n").encode("utf-16"))
    result = train(options(first, second, encoding="utf-16", epochs=1), tmp_path / "run")
    # Each book gives its last tenth, and the end of that counts.
    tenth = len(BOOK) - int(0.8 * len(BOOK)) - int(0.1 * len(BOOK))
    assert result.best.scores.count == 2 * (tenth + 1)
    assert "\\r" not in (tmp_path / "run" / "tokenizer.json").read_text(encoding="utf-8")


# Bad input


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"x", r"has 1 character\(s\), but a book needs at least 20"),
        ("naïve café, a text in another encoding".encode("cp1252"), "is not utf-8: byte 0xef"),
    ],
)
def test_books_that_cannot_be_used(
    options: MakeOptions, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        train(options(path), tmp_path / "run")
    assert not (tmp_path / "run.partial").exists()


def test_words_that_all_occur_once(options: MakeOptions, tmp_path: Path) -> None:
    path = tmp_path / "once.txt"
    path.write_text("one two three four five six seven eight nine ten")
    with pytest.raises(DataError, match="no word token occurs 2 times"):
        train(options(path, tokens="word"), tmp_path / "run")


def test_a_folder_a_table_and_a_missing_file(options: MakeOptions, tmp_path: Path) -> None:
    table = tmp_path / "poems.tsv"
    table.write_text("a\tb\n1\t2\n")
    for path, message in [
        (tmp_path, "is a folder, not a file"),
        (table, "is a table; name the column of its texts"),
        (tmp_path / "none.txt", "there is no file"),
    ]:
        with pytest.raises(DataError, match=message):
            train(options(path), tmp_path / "run")


def test_prompts_with_what_was_never_seen(learned: Result) -> None:
    model = load(learned.run)
    with pytest.raises(DataError, match="the prompt has '€', which the model has not seen"):
        list(model.task.generate(model.network, SamplingOptions("the €", 5)))
    # To measure a text, unknown and half characters do no harm.
    for text in ("the € 猫", "the \ud83d"):
        assert math.isfinite(model.predict([text])[0].perplexity)


# From Python


def test_language_model_with_the_verbs_of_scikit_learn(tmp_path: Path) -> None:
    small = {"cell": "gru", "embedding_size": 8, "hidden_size": 16, "batch_size": 4, "steps": 20}
    model = LanguageModel(**small, epochs=4, learning_rate=0.02, device="cpu")
    same: Any = clone(model)
    assert same.get_params() == model.get_params()
    assert model.fit(BOOK).score(BOOK) > -2
    model.save(tmp_path / "run")
    again = LanguageModel.load(tmp_path / "run")
    assert again.get_params() == model.get_params()
    sampling = {"length": 20, "seed": 3}
    assert again.generate("the", **sampling) == model.generate("the", **sampling)
    assert again.predict(["the cat"]) == model.predict(["the cat"])
    with pytest.raises(DataError, match="row 1 is an empty text; leave such"):
        model.fit(["a text", ""])


# Larger than memory


@pytest.mark.parametrize("changes", [{}, {"lines": True}, {"text": "poem"}])
def test_a_large_file_gives_the_batches_of_a_small_one(
    options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """On disk, in pieces that end within lines, between \\r and \\n, before accents."""
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / ("book.tsv" if "text" in changes else "book.txt")
    lines = [f"the cafe\u0301 number {i} closes at {i % 7}" for i in range(300)]
    start = ["poem"] if "text" in changes else []
    path.write_bytes("\r\n".join([*start, *lines, "x" * 25_000, ""]).encode())
    other = path.with_stem("other")
    other.write_text("\n".join([*start, *(f"another number {i}" for i in range(99))]))
    chosen = options(path, other, **changes)

    def batches(large: int) -> list[list[Any]]:
        monkeypatch.setattr(contents, "LARGE", large)
        data = read(chosen.data, 0)
        task = Generate.prepare(chosen, data.training, lambda note: None)
        parts = (data.training, data.validation, data.test)
        found = [task.encoded(part).characters for part in parts if part]
        assert isinstance(task.encoded(parts[0]).tokens.base, numpy.ndarray) == (large == 0)
        source = task.batches(data.training, 3, seed=1)
        return [found, *(batch["inputs"].tolist() for batch in source)]

    monkeypatch.setattr(contents, "_BLOCK", 7)
    assert batches(0) == batches(1 << 40)


def test_memory_of_a_training_does_not_grow_with_the_stream(learned: Result) -> None:
    """Of 100,000 steps in one stream, the graph of one batch is alive at a time."""
    task, network = learned.task, load(learned.run).network

    def most_saved(count: int) -> int:
        """Bytes that the graph of a batch holds."""
        tokens = numpy.resize(task.encoded(Part(Path("book.txt"), [BOOK])).tokens, count + 1)
        carried, found, sizes = None, 0, [0]

        def saved(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        for batch in StreamBatches(tokens, 1, 5000, constants={"characters": 1.0}):
            sizes.clear()
            with saved_tensors_hooks(saved, lambda tensor: tensor):
                step = task.step(network, batch, carried)
                step.loss.backward()
            carried = step.carried.detach()
            found = max(found, sum(sizes))
        return found

    assert 0 < most_saved(100_000) < 1.01 * most_saved(5_000)
