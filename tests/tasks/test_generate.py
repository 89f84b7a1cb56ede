"""Language models: tokens, n-grams, sampling, and everything from a book to a text."""

import csv
import gzip
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from sklearn import clone
from test_classify_train import StopAt, same_run
from torch.autograd.graph import saved_tensors_hooks

from anyrnn.errors import DataError, OptionError, StoppedError
from anyrnn.tasks import LanguageModel, contents
from anyrnn.tasks.batches import Shared
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
from anyrnn.tasks.generate.model import LanguageNetwork
from anyrnn.tasks.generate.ngrams import ngrams
from anyrnn.tasks.generate.sampling import chances
from anyrnn.tasks.generate.task import Generate
from anyrnn.tasks.generate.tokens import encode, encode_prompt
from anyrnn.tasks.results import Result
from anyrnn.tasks.streams import StreamBatches
from anyrnn.tasks.trained import evaluate, load
from anyrnn.tasks.written_tokens import Writer, make_tokenizer

MakeOptions = Callable[..., Options]
KINDS = ["character", "word", "whitespace", "bpe"]

BOOK = "the cat sat on the mat.\nthe dog sat on the log.\na cat and a dog sat.\n" * 30
POEMS = ["春眠不觉晓", "处处闻啼鸟", "夜来风雨声", "花落知多少"] * 6


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


# Tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [BOOK, "a  line\n\nanother", "He said: “No.”\nO'Brien 3.5%\n"])
def test_tokens_give_the_text_back(kind: str, text: str) -> None:
    tokenizer = make_tokenizer([text] * 2, TokenOptions(tokens=kind))  # pyright: ignore
    tokens = encode_prompt(tokenizer, text)
    writer = Writer(tokenizer, kind)  # pyright: ignore[reportArgumentType]
    written = "".join(map(writer.text, tokens))
    # Words keep one space between them.
    assert written == (text.replace("  ", " ") if kind in ("word", "whitespace") else text)


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_chinese_gives_the_text_back(kind: str) -> None:
    tokenizer = make_tokenizer(POEMS, TokenOptions(tokens=kind))  # pyright: ignore
    tokens = encode_prompt(tokenizer, "花落闻啼鸟")
    assert kind == "bpe" or len(tokens) == 5
    writer = Writer(tokenizer, kind)  # pyright: ignore[reportArgumentType]
    assert "".join(map(writer.text, tokens)) == "花落闻啼鸟"


def test_whitespace_tokens_are_what_spaces_separate() -> None:
    tokenizer = make_tokenizer(
        [" u.s. <unk> n't rose N % \n"], TokenOptions("whitespace", minimum_frequency=1)
    )
    words = [" u.s.", " <unk>", " n't", " rose", " N", " %", "\n"]
    assert sorted(tokenizer.get_vocab()) == sorted(["[END]", "[UNK]", *words])
    # At the start of a prompt, too, where no space stands before it.
    assert encode_prompt(tokenizer, "u.s.") == [tokenizer.token_to_id(" u.s.")]


def test_several_texts_are_divided_by_boundaries() -> None:
    tokenizer = make_tokenizer(["ab", "b"], TokenOptions(minimum_frequency=1))
    a, b = map(tokenizer.token_to_id, "ab")
    found = encode(tokenizer, ["ab", "b"])
    assert found.tokens.tolist() == [0, a, b, 0, b, 0]
    assert found.starts.tolist() == [0, 3]
    assert found.count == found.characters == 5
    assert encode(tokenizer, ["ab"]).tokens.tolist() == [0, a, b]


def test_a_line_longer_than_any_piece_is_cut_without_loss() -> None:
    text = "word " * 9000 + "x" * 25_000
    tokenizer = make_tokenizer([text], TokenOptions())
    found = encode(tokenizer, [text])
    assert tokenizer.decode(found.tokens.tolist()) == text


# N-grams


def slow_losses(training: list[int], measured: list[int], size: int, order: int) -> float:
    """Interpolated Witten-Bell, as the formula reads."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
    after: list[dict[tuple[int, ...], set[int]]] = [{} for _ in range(order + 1)]
    for n in range(1, order + 1):
        for end in range(n - 1, len(training)):
            context = tuple(training[end - n + 1 : end])
            counts[n][context] += 1
            counts[n][(*context, -1, training[end])] += 1
            after[n].setdefault(context, set()).add(training[end])

    def chance(token: int, context: tuple[int, ...]) -> float:
        n = len(context) + 1
        below = chance(token, context[1:]) if context else 1 / size
        if not counts[n][context]:
            return below
        kinds = len(after[n][context])
        return (counts[n][(*context, -1, token)] + kinds * below) / (counts[n][context] + kinds)

    chances = [
        chance(measured[end], tuple(measured[max(0, end - order + 1) : end]))
        for end in range(1, len(measured))
    ]
    return -sum(map(math.log, chances)) / len(chances)


@given(
    training=some.lists(some.integers(0, 3), min_size=2, max_size=40),
    measured=some.lists(some.integers(0, 3), min_size=2, max_size=20),
)
def test_ngrams_are_those_of_the_formula(training: list[int], measured: list[int]) -> None:
    found = ngrams(numpy.array(training), [numpy.array(measured)], 4, 3)
    for order in (1, 2, 3):
        expected = slow_losses(training, measured, 4, order)
        assert found.losses[order - 1][0] == pytest.approx(expected)


# Sampling

_LOGITS = torch.tensor([0.1, 0.4, 0.3, 0.2]).log()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (SamplingOptions(), [0.1, 0.4, 0.3, 0.2]),
        (SamplingOptions(greedy=True), [0.0, 1.0, 0.0, 0.0]),
        (SamplingOptions(top_k=2), [0, 4 / 7, 3 / 7, 0]),
        (SamplingOptions(top_k=99), [0.1, 0.4, 0.3, 0.2]),
        (SamplingOptions(top_p=0.5), [0, 4 / 7, 3 / 7, 0]),
        (SamplingOptions(top_p=1e-9), [0.0, 1.0, 0.0, 0.0]),
        (SamplingOptions(temperature=0.5), [1 / 30, 16 / 30, 9 / 30, 4 / 30]),
        (SamplingOptions(temperature=0.5, top_k=3, top_p=0.6), [0, 16 / 25, 9 / 25, 0]),
    ],
)
def test_chances(sampling: SamplingOptions, expected: list[float]) -> None:
    torch.testing.assert_close(chances(_LOGITS, sampling), torch.tensor(expected))


# The network


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"tied": True},
        {"tied": True, "hidden_size": 12},
        {"adaptive_softmax": True},
        {"layers": 2, "locked_dropout": True, "weight_dropout": 0.3},
    ],
)
def test_losses_are_those_of_the_probabilities(model: dict[str, Any]) -> None:
    network = LanguageNetwork("gru", 1200, embedding_size=8, **{"hidden_size": 8, **model})  # pyright: ignore
    tokens = torch.randint(0, 1200, (2, 6))
    targets = torch.randint(0, 1200, (2, 6))
    targets[1, 4:] = -100
    outputs, _ = network.eval()(tokens)
    chances = network.log_probabilities(outputs)
    torch.testing.assert_close(chances.exp().sum(-1), torch.ones(2, 6))
    expected = -chances.flatten(0, 1)[torch.arange(12), targets.flatten().clamp_min(0)]
    losses = network.losses(outputs, targets)
    torch.testing.assert_close(losses, expected[targets.flatten() >= 0])
    losses.mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_tied_weights_are_one_parameter() -> None:
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_size": 8}
    tied = LanguageNetwork("gru", 50, tied=True, **sizes)
    loose = LanguageNetwork("gru", 50, **sizes)
    count = [sum(p.numel() for p in each.parameters()) for each in (tied, loose)]
    assert count[1] - count[0] == 50 * 8


def test_locked_dropout_drops_the_same_units_at_all_steps() -> None:
    network = LanguageNetwork(
        "gru", 50, embedding_size=8, hidden_size=40, locked_dropout=True, dropout=0.5
    )
    outputs, _ = network(torch.randint(0, 50, (1, 9)))
    dropped = (outputs[0] == 0).float().mean(0)
    assert set(dropped.tolist()) == {0.0, 1.0}


def test_an_adaptive_softmax_of_a_small_vocabulary(options: MakeOptions, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="adaptive_softmax has no effect on a vocabulary of less"):
        train(options(adaptive_softmax=True), tmp_path / "run")


def test_a_text_forgets_the_one_before() -> None:
    network = LanguageNetwork("lstm", 50, embedding_size=8, hidden_size=8).eval()
    first, second = torch.randint(2, 50, (2, 7))
    first[0] = second[0] = 0
    tokens = torch.cat([first, second])[None]
    outputs, _ = network(tokens, resets=tokens == 0)
    alone, _ = network(second[None])
    torch.testing.assert_close(outputs[:, 7:], alone)


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
    task, part = model.task, Part([BOOK[:100]], [Path("book.txt")])
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
    with pytest.raises(DataError, match="row 1 is '', but has to be a text"):
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
        tokens = numpy.resize(task.encoded(Part([BOOK], [Path("book.txt")])).tokens, count + 1)
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
