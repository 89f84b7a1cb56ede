"""Translation: everything from pairs to translations."""

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
from anyrnn.tasks.decoding.decoder import repeated_attention
from anyrnn.tasks.decoding.text_scores import bleu_metric
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.trained import evaluate, load
from anyrnn.tasks.training.results import Result
from anyrnn.tasks.translate import DataOptions, Options, SearchOptions, TokenOptions
from anyrnn.tasks.translate.data import read
from anyrnn.tasks.translate.sides import make_sides

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
    small, _ = make_sides(texts, texts, TokenOptions(kind, kind, False, True, minimum_frequency=1))
    assert small.text(small.encode([texts[0]], 99)[0].tolist()[:-1]) == "a man, a plan."


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
    "the same": ("a", "x", {"source": "x", "target": "y/../x"}, "x and y/../x are the same file"),
    "a zero byte": ("a", "x", {"source": "a\0b"}, "there is no file a\0b"),
    "a link to itself": ("a", "x", {"source": "loop"}, "cannot read .*loop: "),
    "one side": ("a", "x", {"test_source": "t"}, "test_source is a file of one side only; give te"),
    "two forms": ("a", "x", {"test_data": "t.csv"}, "test_data is a table, but source and target"),
    "bpe": ("a b\n" * 9, "x\n" * 9, {"source_tokens": "bpe", "target_tokens": "bpe",
            "vocabulary_size": 300, "test_share": 0.0, "validation_share": 0.0,
            "minimum_frequency": 3}, "minimum_frequency has no effect on bpe tokens; leave"),
    "too long": ("a b c\n" * 9, "x\n" * 9, {"maximum_length": 2, "test_share": 0.0,
                 "validation_share": 0.0}, "all 9 pairs of .* have more than 2 tokens on a side"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_pairs_that_cannot_be_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, changes, message = BAD_PAIRS[name]
    for side, text in (("source", source), ("target", target)):
        (tmp_path / f"{side}.txt").write_text(text)
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
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
    options = model.task.options
    options = replace(options, model=replace(options.model, attention="none"))
    without: Any = replace(model.task, options=options)
    for search in ({"coverage_penalty": 1.0}, {"copy_unknown": False}):
        with pytest.raises(OptionError, match=r"no effect on a network without attention; leave"):
            without.translations(model.network, ["one"], SearchOptions(**search))
    pieces: Any = replace(model.task, target=replace(model.task.target, kind="bpe"))
    with pytest.raises(OptionError, match="copy_unknown has no effect on bpe tokens; leave"):
        pieces.translations(model.network, ["one"], SearchOptions(copy_unknown=False))


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
    half: dict[str, object] = {"source": files["source"]}
    for changes, said in (({}, "no file is named"), (half, "only source is given")):
        with pytest.raises(OptionError, match=f"{said}: give a table with data, or two files"):
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


def test_coverage_is_learned_and_repeated_attention_is_penalised(tmp_path: Path) -> None:
    values = {**SMALL, **write(tmp_path, PAIRS[:60]), "cells": ("gru",), "epochs": 2, "beam": 2}
    plain = train(from_flat(Options, values), tmp_path / "plain")
    learned = train(from_flat(Options, values | {"coverage": True}), tmp_path / "coverage")
    model = load(learned.run)
    assert model.network.decoder.attention.covered.weight.any()
    texts = SENTENCES[:4]
    alone = [model.predict([text])[0].text for text in texts]
    assert alone == [each.text for each in model.predict(texts)]
    assert learned.best.scores.figures["loss"] != plain.best.scores.figures["loss"]
    # The penalty counts in training only, so that the loss gives the perplexity.
    model = load(plain.run)
    part = read(model.task.options.data, 0).training
    (batch,) = model.task.batches(part, 99, 0)
    penalised: Any = replace(model.task, options=replace(model.task.options, coverage_loss=0.5))
    found = [each.step(model.network, batch).loss for each in (model.task, penalised)]
    assert found[0] == found[1]
    model.network.train()
    found = [each.step(model.network, batch).loss for each in (model.task, penalised)]
    tokens = batch["target"]
    before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1].clamp_min(0)], 1)
    given = (batch["source"], batch.lengths["source"], before, batch.lengths["target"])
    counts = tokens >= 0
    repeated = repeated_attention(model.network(*given)[1])[counts]
    torch.testing.assert_close(found[1] - found[0], 0.5 * repeated.mean())


def test_validation_bleu_is_that_of_all_sentences() -> None:
    texts, right = ["a b c d e", "a b", "x y z w v"], ["a b c d e f", "a b", "x y z v w"]
    metric = bleu_metric("13a", lowercase=False)
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
    with pytest.raises(OptionError, match="candidates"):
        found.predict(sources[:3], n_best=2)
    several = found.candidates([*sources[:3], ""], beam=2, n_best=2)
    assert [each[0].text for each in several] == texts
    assert [len(each) for each in several] == [2, 2, 2, 1]
    assert all(first.score >= second.score for first, second in several[:3])
    assert 0 <= found.score(sources[:5], targets[:5]) <= 100
    found.save(tmp_path / "run")
    again = Translator.load(tmp_path / "run")
    assert again.predict([*sources[:3], ""], beam=2) == texts
    assert again.get_params() == found.get_params()
    assert replace(again.model_.task.options).plain()["model"]["hidden_size"] == 32
