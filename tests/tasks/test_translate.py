"""Translation: attention, decoder, search, and everything from pairs to translations."""

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sacrebleu.metrics import BLEU
from sklearn import clone

from anyrnn.errors import DataError, OptionError, RunError
from anyrnn.tasks import Translator
from anyrnn.tasks.attention import Attention
from anyrnn.tasks.decoder import Decoder, DecoderState
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options import from_flat
from anyrnn.tasks.results import Result
from anyrnn.tasks.search import Beam, beam_search, sample
from anyrnn.tasks.trained import evaluate, load
from anyrnn.tasks.translate import DataOptions, Options, SearchOptions, TokenOptions
from anyrnn.tasks.translate.data import read
from anyrnn.tasks.translate.sides import make_sides
from anyrnn.tasks.translate.validation_bleu import ValidationBleu

WORDS = {"one": "ein", "two": "zwei", "red": "rot", "old": "alt", "boat": "Boot"}
SENTENCES = [" ".join(four) for four in itertools.permutations(WORDS, 4)]
PAIRS = [(text, " ".join(WORDS[word] for word in text.split()[::-1])) for text in SENTENCES]
SMALL = {"embedding_size": 12, "hidden_size": 32, "dropout": 0.0, "device": "cpu"}
SMALL |= {"batch_size": 12, "learning_rate": 0.03, "source_tokens": "word", "target_tokens": "word"}


def write(folder: Path, pairs: list[tuple[str, str]]) -> dict[str, str]:
    files = {}
    for side, texts in zip(("source", "target"), zip(*pairs, strict=True), strict=True):
        files[side] = str(folder / f"{side}.txt")
        Path(files[side]).write_text("\n".join(texts) + "\n", encoding="utf-8")
    return files


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run on small sentences, whose words are translated and turned around."""
    folder = tmp_path_factory.mktemp("learned")
    values = {**SMALL, **write(folder, PAIRS), "cells": ("gru",), "epochs": 16, "beam": 3}
    return train(from_flat(Options, values), folder / "run")


# Attention and decoder


@pytest.mark.parametrize("kind", ["additive", "general", "dot"])
def test_attention_reads_what_it_weighs_and_no_padding(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = Attention(kind, 4, 4, 5)
    mask = torch.arange(3) < torch.tensor([[3], [1]])
    values, queries = torch.randn(2, 3, 4), torch.randn(2, 7, 4)
    context, weights = attention(queries, attention.memory(values, mask))
    torch.testing.assert_close(context, torch.einsum("bts,bsi->bti", weights, values))
    torch.testing.assert_close(weights[1], torch.eye(3)[:1].expand(7, 3))
    one, _ = attention(queries[:1, 2:3], attention.memory(values[:1], mask[:1]))
    torch.testing.assert_close(one, context[:1, 2:3])
    monkeypatch.setattr("anyrnn.tasks.attention._AT_ONCE", 40)
    torch.testing.assert_close(attention(queries, attention.memory(values, mask))[0], context)


def test_a_dot_product_needs_equal_sizes() -> None:
    with pytest.raises(OptionError, match=r"attention=dot multiplies .* size 4 .* size 8"):
        Attention("dot", 4, 8, 5)


def begun(decoder: Decoder, batch: int = 3) -> DecoderState:
    generator = torch.Generator().manual_seed(1)
    outputs, summary = (torch.randn(3, *size, generator=generator) for size in ((4, 6), (6,)))
    return decoder.begin(outputs[:batch], torch.tensor([4, 2, 1])[:batch], summary[:batch])


def made(cell: str = "gru", vocabulary: int = 5, **options: Any) -> Decoder:
    torch.manual_seed(0)
    sizes = {"memory_size": 6, "summary_size": 6, "embedding_size": 3, "hidden_size": 4}
    decoder = Decoder(cell, vocabulary, **sizes, **options)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        decoder.softmax.weight.mul_(20)
    return decoder.eval()


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("gru", {}),
        ("lstm", {"layers": 2, "input_feeding": True}),
        ("lstm_peephole", {"attention": "general"}),
        ("rnn", {"attention": "none"}),
    ],
)
def test_all_steps_at_once_are_one_step_after_the_other(cell: str, options: Any) -> None:
    decoder = made(cell, **options)
    tokens = torch.tensor([[0, 2, 3, 1], [0, 4, 4, 2], [0, 1, 3, 3]])
    vectors, every = decoder(tokens, begun(decoder))
    expected = decoder.softmax(vectors).log_softmax(-1)
    state = begun(decoder)
    for place in range(4):
        found, weights, state = decoder.step(tokens[:, place], state)
        torch.testing.assert_close(found, expected[:, place])
        if every is not None and weights is not None:
            torch.testing.assert_close(weights, every[:, place])
    targets = torch.tensor([[2, 3, 1, 0], [4, 4, 2, -100], [1, 0, -100, -100]])
    losses = decoder.losses(vectors, targets)
    assert losses[targets < 0].eq(0).all()
    torch.testing.assert_close(losses[1, 2], -expected[1, 2, 2])
    losses.sum().backward()
    used = {n for n, p in decoder.named_parameters() if p.grad is not None and p.grad.any()}
    assert used == {n for n, _ in decoder.named_parameters()}


@pytest.mark.parametrize("feeding", [False, True])
def test_scheduled_sampling_reads_what_the_decoder_would_write(feeding: bool) -> None:
    decoder = made(input_feeding=feeding, scheduled_sampling=1.0)
    tokens = torch.tensor([[0, 2, 3, 1], [0, 4, 4, 2], [0, 1, 3, 3]])
    first = decoder.softmax(decoder(tokens, begun(decoder))[0]).argmax(2)
    decoder.train()
    found, _ = decoder(tokens, begun(decoder))
    decoder.eval()
    if feeding:  # step after step, so that a step follows from what was written before
        for place in range(1, 4):
            own = decoder.softmax(decoder(tokens, begun(decoder))[0]).argmax(2)
            tokens[:, place] = own[:, place - 1]
    else:
        tokens = torch.cat([tokens[:, :1], first[:, :-1]], 1)
    torch.testing.assert_close(found, decoder(tokens, begun(decoder))[0])


# Search


def likeliest(decoder: Decoder, row: int, steps: int, beam: Beam) -> list[tuple[float, list[int]]]:
    """Every sequence that ends within so many steps, the best one first."""
    found = []
    for length in range(steps):
        for tokens in itertools.product(range(1, 4), repeat=length):
            state, total, every = begun(decoder, row + 1), 0.0, []
            for before, after in itertools.pairwise([0, *tokens, 0]):
                read = torch.full((row + 1,), before)
                log_probabilities, weights, state = decoder.step(read, state)
                total += float(log_probabilities[row, after])
                assert weights is not None
                every.append(weights[row, : [4, 2, 1][row]])
            found.append((beam.score(total, length + 1, torch.stack(every)), list(tokens)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("beam", [Beam(120), Beam(120, 1.0, 0.5)])
def test_a_wide_beam_finds_the_best_of_all_sequences(feeding: bool, beam: Beam) -> None:
    with torch.inference_mode():
        decoder = made(vocabulary=4, input_feeding=feeding)
        found = beam_search(decoder, begun(decoder), torch.tensor([4, 3, 4]), beam)
        for row, steps in enumerate((4, 3, 4)):
            right = likeliest(decoder, row, steps, beam)
            assert len(found[row]) == len(right)
            assert [one.tokens for one in found[row]] == [tokens for _, tokens in right]
            for one, (score, _) in zip(found[row], right, strict=True):
                assert one.ended
                assert one.score == pytest.approx(score, abs=1e-4)
                assert one.weights is not None
                assert one.weights.shape == (len(one.tokens) + 1, [4, 2, 1][row])


def test_greedy_search_takes_the_likeliest_token_and_rows_do_not_matter_to_each_other() -> None:
    decoder = made(vocabulary=9)
    limits = torch.tensor([6, 6, 6])
    with torch.inference_mode():
        greedy = beam_search(decoder, begun(decoder), limits, Beam())
        wide = beam_search(decoder, begun(decoder), limits, Beam(3))
        rows = torch.tensor([1])
        alone = beam_search(decoder, begun(decoder).taken(rows), limits[:1], Beam(3))
        assert [one.tokens for one in alone[0]] == [one.tokens for one in wide[1]]
        tokens, state = torch.zeros(3, dtype=torch.int64), begun(decoder)
        written: list[list[int]] = [[], [], []]
        for _ in range(6):
            found, _, state = decoder.step(tokens, state)
            tokens = found.argmax(1)
            for row, token in zip(written, tokens.tolist(), strict=True):
                row.append(token)
    for (one,), row in zip(greedy, written, strict=True):
        assert one.tokens == (row[: row.index(0)] if 0 in row else row)
        assert one.ended == (0 in row)


def test_a_decoder_that_never_stops_is_cut() -> None:
    decoder = made()
    with torch.no_grad():
        decoder.softmax.bias[0] = -1e9
    limits = torch.tensor([3, 7, 5])
    for found in beam_search(decoder, begun(decoder), limits, Beam(2)):
        assert [one.ended for one in found] == [False, False]
    drawn = sample(decoder, begun(decoder), limits, SearchOptions(), torch.Generator())
    assert [len(one.tokens) for one in drawn] == [3, 7, 5]
    assert not any(one.ended for one in drawn)
    (none, repeated, _) = beam_search(decoder, begun(decoder), limits * 9, Beam(2, no_repeat=1))
    # When no token is left, there is nothing but the end, however unlikely.
    assert all(sorted(one.tokens) == [1, 2, 3, 4] and one.ended for one in [*none, *repeated])


def test_no_sequence_is_repeated_and_forbidden_tokens_are_not_written() -> None:
    decoder = made(vocabulary=4)
    with torch.no_grad():
        decoder.softmax.bias[0] = -1e9
    for found in beam_search(decoder, begun(decoder), torch.tensor([6] * 3), Beam(2), (3,)):
        assert {token for one in found for token in one.tokens} <= {1, 2}
    for found in beam_search(decoder, begun(decoder), torch.tensor([9] * 3), Beam(2, no_repeat=2)):
        for one in found:
            pairs = [*itertools.pairwise(one.tokens)]
            assert len({*pairs}) == len(pairs)


def test_draws_repeat_with_the_seed() -> None:
    decoder, limits = made(vocabulary=9), torch.tensor([6, 6, 6])
    found = [
        sample(
            decoder, begun(decoder), limits, SearchOptions(), torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    tokens = [[one.tokens for one in each] for each in found]
    assert tokens[0] == tokens[1] != tokens[2]
    likeliest = SearchOptions(top_k=1)
    drawn = sample(decoder, begun(decoder), limits, likeliest, torch.Generator())
    greedy = beam_search(decoder, begun(decoder), limits, Beam())
    for one, (other,) in zip(drawn, greedy, strict=True):
        assert one.tokens == other.tokens
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.weights is not None
        torch.testing.assert_close(one.weights, other.weights)


# Tokens


@pytest.mark.parametrize("kind", ["character", "word", "whitespace", "bpe"])
def test_tokens_give_the_sentence_back(kind: Any) -> None:
    texts = ["A man, a plan.", "It's 5 pm!", "a  canal"] * 2
    side, other = make_sides(texts, texts, TokenOptions(kind, kind, minimum_frequency=1))
    assert side is not other
    for text in texts:
        tokens = side.encode([text], 99)[0].tolist()
        assert tokens.pop() == 0
        assert side.text(tokens) == (text if kind != "word" else text.replace("  ", " ")) or (
            kind == "whitespace"
        )


def test_unknown_words_are_copied() -> None:
    side, _ = make_sides(["a boat"] * 2, ["x"] * 2, TokenOptions("word", "character"))
    tokens = side.encode(["a Ticino boat"], 99)[0].tolist()
    assert side.pieces("a Ticino boat") == ["a", "Ticino", "boat"]
    assert side.text(tokens[:-1], {1: "Ticino"}) == "a Ticino boat"
    with pytest.raises(OptionError, match="shared_vocabulary=True needs tokens of one kind"):
        make_sides(["a"], ["b"], TokenOptions("word", "character", shared_vocabulary=True))


# Files


BAD_PAIRS = {
    "lines": ("a\nb\n", "x\n", {}, "source.txt has 2 lines, but .*target.txt has 1: each line"),
    "empty": ("", "x\n", {}, "source.txt is empty"),
    "blank": (" \n\n", "x\n", {}, "source.txt is empty"),
    "an empty line": ("a\n\nb\n", "x\ny\nz\n", {}, "source.txt: line 2 is empty, but not that of"),
    "nothing in both": ("a\n\n", "\nx\n", {"skip_bad": True}, "have no line with a sentence in"),
    "too few": ("a\nb\n", "x\ny\n", {}, r"has 2 different pair\(s\), but 3 are needed"),
    "a table": ("a", "x", {"source": "a.tsv"}, "a.tsv is a table; name it with data, and its"),
    "the same": ("a", "x", {"source": "x", "target": "x"}, "source and target are both 'x'"),
    "one side": ("a", "x", {"test_source": "t"}, "test_source is a file of one side only; give te"),
    "two forms": ("a", "x", {"test_data": "t.csv"}, "test_data is a table, but source and target"),
    "too long": ("a b c\n" * 9, "x\n" * 9, {"maximum_length": 2, "test_share": 0.0,
                 "validation_share": 0.0}, "all 9 pairs of .* have more than 2 tokens on a side"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_pairs_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    source, target, changes, message = BAD_PAIRS[name]
    for side, text in (("source", source), ("target", target)):
        (tmp_path / f"{side}.txt").write_text(text)
    files = {side: str(tmp_path / f"{side}.txt") for side in ("source", "target")}
    values = {**SMALL, **files, "minimum_frequency": 1, **changes}
    with pytest.raises((DataError, OptionError), match=message):
        train(from_flat(Options, values), tmp_path / "run")


def test_tables_and_what_is_left_out(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("en,de\n" + "".join(f"{en},{de}\n" for en, de in PAIRS) + "boat,\n")
    with pytest.raises(DataError, match=r"a.csv: record 121.*, has no 'de'"):
        read(DataOptions(data=table, source="en", target="de"), 0)
    with pytest.raises(DataError, match=r"a.csv has no column 'fr'"):
        read(DataOptions(data=table, source="en", target="fr"), 0)
    data = read(DataOptions(data=table, source="en", target="de", skip_bad=True), 0)
    assert data.skipped == {str(table): {"without de": 1}}
    assert data.facts == {"training": 96, "validation": 12, "test": 12}
    assert (
        list(data.training.sources)[:2]
        == [en for en, _ in PAIRS if en in data.training.sources][:2]
    )
    # Pairs with an equal side, and pairs that share one with those, stay together.
    pairs = [("a", "x"), ("b", "x"), ("b", "y"), *((f"s{n}", f"t{n}") for n in range(20))]
    files = write(tmp_path, pairs)
    for seed in range(5):
        data = read(DataOptions(**files), seed)
        parts = (data.training, data.validation, data.test)
        found = [{"a", "b"} & {*part.sources} for part in parts if part]
        assert sorted(map(len, found)) == [0, 0, 2]
    Path(files["source"]).write_text("a\n\nb\n", encoding="utf-8")
    Path(files["target"]).write_text("x\n\ny\n", encoding="utf-8")
    options = DataOptions(**files, validation_share=0.0, test_share=0.0)
    assert read(options, 0).skipped == {files["source"]: {"empty lines": 1}}


# From pairs to translations


def test_it_learns(learned: Result) -> None:
    scores: Any = learned.best.scores
    assert scores.figures["exact"] > 0.8
    assert scores.figures["bleu"] > learned.baselines["nearest"]["bleu"]
    assert scores.figures["perplexity"] == pytest.approx(math.exp(scores.figures["loss"]))
    assert learned.baselines["copied"]["exact"] == 0
    assert "tok:13a" in scores.signatures["bleu"]
    assert "validation_bleu" not in learned.best.best_trial.best_epoch.figures
    # Words are turned around, and so is what is attended to.
    aligned = scores.alignments[0]
    assert aligned.source[-1] == aligned.target[-1] == "■"
    assert len(aligned.weights) == len(aligned.target)
    report = (learned.run / "report.html").read_text(encoding="utf-8")
    assert 'class="alignment"' in report
    assert "nearest" in report
    assert json.loads((learned.run / "results.json").read_text())["cells"]["gru"]["test"]["count"]


def test_a_run_translates(learned: Result) -> None:
    model = load(learned.run)
    texts = [*SENTENCES[:9], "", "boat"]
    found = model.predict(texts)
    assert sum(each.text == right for each, (_, right) in zip(found, PAIRS, strict=False)) >= 7
    assert found[9].text == ""
    alone = [model.predict([text])[0].text for text in texts]
    assert alone == [each.text for each in found]
    (several,) = model.predict(["one red old boat"], n_best=4, beam=4)
    assert len({each.text for each in several.candidates}) == 4
    scores = [each.score for each in several.candidates]
    assert scores == sorted(scores, reverse=True)
    # A beam larger than the vocabulary finds what there is.
    assert model.predict(["one red old boat"], beam=500)[0].text == "Boot alt rot ein"
    (cut,) = model.predict(["one red old boat"], longest=1)
    assert cut.text == "Boot"
    assert not cut.best.ended
    drawn = [model.predict(["one red"], sample=True, seed=seed)[0].text for seed in (3, 3)]
    assert drawn[0] == drawn[1]
    copied = model.predict(["one red Zürich"], copy_unknown=True)[0].text
    assert "�" not in copied
    with pytest.raises(OptionError, match="n_best is 9, but a beam finds no more than its size"):
        model.predict(["one"], n_best=9)
    with pytest.raises(OptionError, match="beam has no effect with sample=True"):
        model.predict(["one"], sample=True, beam=3)


def test_a_very_long_sentence(learned: Result, tmp_path: Path) -> None:
    model = load(learned.run)
    with pytest.warns(UserWarning, match="sentence 2 has 100,000 tokens: only the first 200 are"):
        found = model.predict(["one", "boat " * 100_000], beam=1, longest=9)
    assert len(found[1].best.tokens) <= 9
    notes: list[str] = []
    files = write(tmp_path, [*PAIRS[:20], ("boat " * 300, "Boot")])
    values = {**SMALL, **files, "epochs": 1, "beam": 1, "minimum_frequency": 1}
    options = from_flat(Options, {**values, "validation_share": 0.0, "test_share": 0.0})
    task = model.task.prepare(options, read(options.data, 0).training, notes.append)
    assert notes[-1] == "left out of the training: 1 pair(s) with more than 200 tokens on a side"
    part = read(options.data, 0).training
    assert sum(len(batch) for batch in task.batches(part, 8, 0)) == 20
    assert sum(len(batch) for batch in task.batches(part, 8, None)) == 21


def test_other_files_are_measured(learned: Result, tmp_path: Path) -> None:
    files = write(tmp_path, PAIRS[:20])
    found = evaluate(learned.run, files)
    assert found.scores.count == 20
    assert found.scores.figures["exact"] > 0.5
    for changes in ({}, {"source": files["source"]}):
        with pytest.raises(OptionError, match="no file is named: give a table with data, or two"):
            evaluate(learned.run, changes)
    table = tmp_path / "a.tsv"
    table.write_text("x\ty\n" + "".join("\t".join(pair) + "\n" for pair in PAIRS[:20]))
    same = evaluate(learned.run, {"data": table, "source": "x", "target": "y"})
    assert same.scores.figures == found.scores.figures


def test_a_damaged_run_is_refused(learned: Result, tmp_path: Path) -> None:
    run = shutil.copytree(learned.run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    for change, message in [
        ({"source_tokens": "syllable"}, "has the kind of tokens 'syllable'"),
        ({"bleu_tokens": 3}, "needs 'bleu_tokens'"),
    ]:
        changed = {**config, "state": {**config["state"], **change}}
        (run / "config.json").write_text(json.dumps(changed))
        with pytest.raises(RunError, match=message):
            load(run)


def test_bleu_decides(tmp_path: Path) -> None:
    values = {**SMALL, **write(tmp_path, PAIRS[:60]), "cells": ("lstm",), "epochs": 2, "beam": 1}
    values |= {"deciding": "bleu", "scheduled_sampling": 0.5, "input_feeding": True}
    values |= {"attention": "general", "source_tokens": "bpe", "target_tokens": "bpe"}
    values |= {"shared_vocabulary": True, "vocabulary_size": 300, "lowercase": True}
    found = train(from_flat(Options, values), tmp_path / "run")
    epochs = found.best.best_trial.epochs
    figures = [epoch.figures["validation_bleu"] for epoch in epochs]
    assert found.best.best_trial.best_epoch.figures["validation_bleu"] == max(figures)
    assert "case:lc" in found.best.scores.signatures["bleu"]  # pyright: ignore
    assert load(tmp_path / "run").predict(["Old Boat"], beam=1)[0].text is not None


def test_validation_bleu_is_that_of_all_sentences() -> None:
    texts, right = ["a b c d e", "a b", "x y z w v"], ["a b c d e f", "a b", "x y z v w"]
    metric = ValidationBleu("13a")
    metric.update(texts[:1], right[:1])
    metric.update(texts[1:], right[1:])
    expected = BLEU(tokenize="13a").corpus_score(texts, [right]).score
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-5)


def test_scikit_learns_verbs(tmp_path: Path) -> None:
    translator = Translator(cell="gru", **SMALL | {"epochs": 1}, minimum_frequency=1)
    with pytest.raises(DataError, match="2 sentences, but 1 translations"):
        translator.fit(["a", "b"], ["c"])
    with pytest.raises(DataError, match="row 1 is 3, but has to be a text"):
        translator.fit(["a", 3], ["c", "d"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="row 1 has an empty translation"):
        translator.fit(["a", "b"], ["c", " "])
    with pytest.raises(DataError, match="one text was given"):
        translator.fit("a", ["c"])
    sources, targets = zip(*PAIRS[:40], strict=True)
    found = clone(translator).fit(sources, targets)
    texts = found.predict([*sources[:3], ""], beam=2)
    assert len(texts) == 4
    assert 0 <= found.score(sources[:5], targets[:5]) <= 100
    found.save(tmp_path / "run")
    again = Translator.load(tmp_path / "run")
    assert again.predict([*sources[:3], ""], beam=2) == texts
    assert again.get_params() == found.get_params()
    assert replace(again.model_.task.options).plain()["model"]["hidden_size"] == 32
