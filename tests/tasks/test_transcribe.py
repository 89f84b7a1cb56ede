"""Transcription: everything from recordings to texts with the times of their words."""

import json
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import jiwer
import numpy
import pytest
import soundfile
import torch
from sklearn import clone

from anyrnn.errors import AnyrnnError, DataError, OptionError, RunError
from anyrnn.tasks import Transcriber
from anyrnn.tasks.audio.options import AugmentationOptions
from anyrnn.tasks.audio.texts import Normal
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_flat, replaced
from anyrnn.tasks.trained import evaluate, load
from anyrnn.tasks.training.listener import Listener
from anyrnn.tasks.training.results import Result
from anyrnn.tasks.transcribe import Options, SearchOptions, TokenOptions
from anyrnn.tasks.transcribe.ctc import Span
from anyrnn.tasks.transcribe.report import alignment_chart
from anyrnn.tasks.transcribe.scores import error_rate, errors
from anyrnn.tasks.transcribe.task import Transcribe
from anyrnn.tasks.transcribe.words import WordReader
from toy_speech import RATE, TEXTS, WORDS, spoken, write_spoken

SMALL = {"mels": 16, "segment_length": 2, "hidden_size": 24, "dropout": 0.0, "batch_size": 8}
SMALL |= {"learning_rate": 0.02, "device": "cpu", "sample_rate": RATE}
COLUMNS = {"recording": "file", "transcript": "text"}


class Notes(Listener):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def noted(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spoken(tmp_path_factory.mktemp("spoken"), TEXTS * 3)


@pytest.fixture(scope="module")
def learned(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with CTC that writes what it hears."""
    values = {**SMALL, **COLUMNS, "data": table, "cells": ("gru",), "epochs": 5}
    return train(from_flat(Options, values), tmp_path_factory.mktemp("learned") / "run")


@pytest.fixture(scope="module")
def streaming(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run that reads forwards only."""
    values = {**SMALL, **COLUMNS, "data": table, "cells": ("gru",), "epochs": 6}
    values |= {"bidirectional": False, "segment_length": 3}
    return train(from_flat(Options, values), tmp_path_factory.mktemp("streaming") / "run")


def test_it_learns(learned: Result) -> None:
    scores: Any = learned.best.scores
    assert scores.figures["cer"] < 0.1
    assert scores.figures["wer"] < 0.2
    assert scores.figures["loss"] < 0.5
    epochs = learned.best.best_trial.epochs
    assert epochs[0].figures["validation_cer"] > epochs[-1].figures["validation_cer"]
    # Recordings of one transcript are in one part.
    assert scores.count % 3 == 0
    report = (learned.run / "report.html").read_text(encoding="utf-8")
    assert "Where words stand" in report
    assert report.count('aria-label="gru: spoken') == 3
    told = json.loads((learned.run / "results.json").read_text())["cells"]["gru"]["test"]
    assert told["pictures"][0]["words"][0]["text"] in WORDS


def test_where_words_stand_is_drawn(learned: Result, pictures: None) -> None:
    scores: Any = learned.best.scores
    weights = [[100, 0, 0], [0, 60, 40]]
    attended = replace(scores.pictures[0], weights=weights, tokens=["a", "b"])
    for picture in (scores.pictures[0], attended):
        drawn = alignment_chart(picture, "a chart")
        assert drawn.count("<image") == 1
        assert f">{picture.words[0].text}</text>" in drawn
    assert ">b</text>" in drawn


def test_texts_and_the_times_of_their_words(learned: Result) -> None:
    model = load(learned.run)
    assert model.network.recurrent.path.name == "compiled"
    texts = [*TEXTS[:8], "cad dd ab ba"]
    recordings = [spoken(text, 99) for text in texts]
    found = model.predict(recordings)
    alone = [model.predict([each])[0] for each in recordings]
    assert [each.text for each in found] == [each.text for each in alone]
    assert errors([each.text for each in found], texts, "wer")[0] <= 3
    for together, one, samples in zip(found, alone, recordings, strict=True):
        assert together.score == pytest.approx(one.score, rel=1e-3, abs=1e-4)
        assert " ".join(word.text for word in together.words) == together.text
        times = [time for word in together.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[-1] <= len(samples) / RATE + 0.02
        assert [(word.start, word.end) for word in one.words] == [
            (word.start, word.end) for word in together.words
        ]
    (last,) = (each for each, text in zip(found, texts, strict=True) if text == texts[-1])
    assert last.text == texts[-1]
    # Each word lies where its tones do.
    samples, places = recordings[-1], []
    loud = numpy.convolve(numpy.abs(samples), numpy.ones(80) / 80, "same") > 0.1
    for word in last.words:
        first, end = (round(time * RATE) for time in (word.start, word.end))
        places.append(loud[first:end].mean())
    assert min(places) > 0.3


@pytest.mark.parametrize("pieces", [37, 800, 100_000])
def test_a_stream_writes_what_the_whole_does(streaming: Result, pieces: int) -> None:
    model = load(streaming.run)
    samples = numpy.concatenate([spoken(text, 7) for text in TEXTS[:6]])[: 20_000 + pieces]
    (whole,) = model.predict([samples])
    stream = model.task.stream(model.network, SearchOptions())
    words = []
    for start in range(0, len(samples), pieces):
        words += stream.push(torch.from_numpy(samples[start : start + pieces]))
    assert len(words) > 2 or pieces > len(samples)
    words += stream.finish()
    assert [(each.text, each.start, each.end) for each in words] == [
        (each.text, each.start, each.end) for each in whole.words
    ]
    confidences = [each.confidence for each in whole.words]
    assert [each.confidence for each in words] == pytest.approx(confidences, abs=2e-4)
    assert model.task.stream(model.network, SearchOptions()).finish() is not None


def test_what_cannot_be_a_stream(learned: Result, streaming: Result) -> None:
    model = load(learned.run)
    with pytest.raises(OptionError, match="a run with bidirectional=True needs the whole"):
        model.task.stream(model.network, SearchOptions())
    model = load(streaming.run)
    with pytest.raises(OptionError, match="a search with beam or language_model needs the whole"):
        model.task.stream(model.network, SearchOptions(beam=4))


def test_beams_and_language_models(learned: Result, tmp_path: Path) -> None:
    model = load(learned.run)
    recordings = [spoken(text, 5) for text in TEXTS[:5]]
    greedy = [each.text for each in model.predict(recordings)]
    # A beam larger than the vocabulary finds what there is.
    assert [each.text for each in model.predict(recordings, beam=300)] == greedy
    path = tmp_path / "texts.txt"
    path.write_text("Ab.\n" * 9, encoding="utf-8")
    options = {"beam": 20, "language_model": path, "ngram_order": 3}
    weighed = model.predict(recordings, **options, language_weight=30.0)
    assert {each.text for each in weighed} <= {"ab", "a", ""}
    bonus = model.predict(recordings, **options, language_weight=0.1, token_bonus=9.0)
    assert all(len(one.text) >= len(other) for one, other in zip(bonus, greedy, strict=True))
    for search, message in [
        ({"language_weight": 0.3}, "language_weight has no effect without language_model; give"),
        ({"ngram_order": 3}, "ngram_order has no effect without language_model"),
        (
            {"ngram_order": 3, "language_model": tmp_path},
            "ngram_order has no effect on a run of the task generate; leave",
        ),
        (
            {"length_penalty": 0.3, "beam": 3},
            "length_penalty has no effect on a network that writes",
        ),
        ({"longest": 3}, "longest has no effect with decoder=ctc; use decoder=attention"),
    ]:
        with pytest.raises(OptionError, match=message):
            model.predict(recordings, **search)


def test_a_decoder_with_attention(table: Path, tmp_path: Path) -> None:
    values = {**SMALL, **COLUMNS, "data": table, "epochs": 2, "decoder": "attention"}
    values["attention"] = "location"
    values |= {"embedding_size": 8, "scheduled_sampling": 0.2, "learning_rate": 0.01, "beam": 2}
    result = train(from_flat(Options, values), tmp_path / "run")
    scores: Any = result.best.scores
    assert scores.figures["loss"] < 2
    picture = scores.pictures[0]
    assert len(picture.weights) == len(picture.tokens)
    assert sum(picture.weights[0]) == pytest.approx(100, abs=20)
    model = load(tmp_path / "run")
    recordings = [spoken(text, 3) for text in TEXTS[:4]]
    found = model.predict(recordings, beam=3, length_penalty=0.5)
    alone = [model.predict([each], beam=3, length_penalty=0.5)[0].text for each in recordings]
    assert [each.text for each in found] == alone
    assert model.predict(recordings, beam=500)[0].ended
    # A decoder that does not stop is cut, by itself at the number of steps.
    (cut,) = model.predict(recordings[:1], longest=1)
    assert not cut.ended
    assert len(cut.spans) == 1
    with torch.no_grad():
        model.network.decoder.softmax.bias[0] = -1e4  # pyright: ignore
    (endless,) = model.predict(recordings[:1])
    frames = 1 + len(recordings[0]) // (RATE // 100)
    assert (endless.ended, len(endless.spans)) == (False, -(-frames // 2))
    assert model.score(model.task.read_part(from_flat(Options, values).data)[0]).cut > 0
    with pytest.raises(OptionError, match="language_model has no effect with decoder=attention"):
        model.predict(recordings, language_model=tmp_path / "x")
    with pytest.raises(OptionError, match="a run with decoder=attention needs the whole"):
        model.task.stream(model.network, SearchOptions())


def test_pieces_of_words_and_changes_in_training(table: Path, tmp_path: Path) -> None:
    values = {**SMALL, **COLUMNS, "data": table, "epochs": 1, "tokens": "bpe"}
    values |= {"vocabulary_size": 264, "time_masks": 1, "noise": 20.0, "time_shift": 0.05}
    values |= {"deciding": "cer", "normalisation": "recording", "features": "mfcc"}
    values |= {"validation_share": 0.0, "test_share": 0.0}
    result = train(from_flat(Options, values), tmp_path / "run")
    assert result.task.decides().name == "cer"
    model = load(tmp_path / "run")
    assert model.task.scales == ([0.0] * 13, [1.0] * 13)
    (found,) = model.predict([spoken("cad dd")], beam=4)
    assert " ".join(word.text for word in found.words) == found.text


def test_speed_changes_the_steps_of_a_recording_in_training(learned: Result) -> None:
    task = load(learned.run).task
    options = replaced(task.options, augmentation=AugmentationOptions(speed=0.3))
    network = replace(task, options=options).network("gru")
    samples = torch.from_numpy(numpy.stack([spoken("cad dd")] * 20))
    lengths = torch.full((20,), samples.shape[1])
    torch.manual_seed(0)
    (_, heard), (_, true) = network(samples, lengths), network.eval()(samples, lengths)
    assert len(set(true.tolist())) == 1
    assert int(heard.min()) < int(true[0]) < int(heard.max())


# Words


def reader(kind: Any, texts: list[str]) -> tuple[WordReader, list[int]]:
    choice = TokenOptions(kind, vocabulary_size=300, minimum_frequency=1)
    tokens = WrittenVocabulary.made(texts, kind, choice)
    return WordReader(tokens, 0.5), tokens.encode(texts[:1], 99)[0].tolist()[:-1]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("character", "it's a boat", ["it's", "a", "boat"]),
        ("bpe", "it's a boat", ["it's", "a", "boat"]),
        ("character", "一只 boat", ["一", "只", "boat"]),
    ],
)
def test_words_of_tokens(kind: str, text: str, expected: list[str]) -> None:
    words, tokens = reader(kind, [text, "boats"])
    spans = [Span(token, 2 * place, 2 * place + 1, -0.5) for place, token in enumerate(tokens)]
    found = [*words.words(spans), *words.finish()]
    assert [word.text for word in found] == expected
    assert found[0].start == 0
    assert found[-1].end == len(tokens) - 0.5
    assert {word.confidence for word in found} == {round(numpy.exp(-0.5), 4)}


@pytest.mark.parametrize(
    ("text", "lowercase", "punctuation", "expected"),
    [
        ("  It’s  5 pm, “isn't” it?", True, False, "it's 5 pm isn't it"),
        ("It's 5 pm, isn't it?", False, True, "It's 5 pm, isn't it?"),
        ("re-do it...", False, False, "re do it"),
        ("'cause—", True, False, "cause"),
        ("Cafe\u0301!", True, False, "caf\u00e9"),
        ("?!", True, False, ""),
    ],
)
def test_the_form_of_transcripts(
    text: str, lowercase: bool, punctuation: bool, expected: str
) -> None:
    assert Normal(lowercase, punctuation)(text) == expected


def test_error_rates_are_those_of_all_texts() -> None:
    texts, references = ["a b c", "x", ""], ["a b d e", "x", "y z"]
    for rate, whole in (("wer", jiwer.wer), ("cer", jiwer.cer)):
        metric = error_rate(rate)
        metric.update(texts[:1], references[:1])
        metric.update(texts[1:], references[1:])
        assert float(metric.compute()) == pytest.approx(whole(references, texts))


# Files


def test_recordings_too_short_for_their_text(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    short = write_spoken(folder, TEXTS)
    soundfile.write(folder / "spoken0.wav", spoken("ab")[:400], RATE)
    shares = {"validation_share": 0.0, "test_share": 0.0, "epochs": 1}
    options = from_flat(Options, {**SMALL, **COLUMNS, **shares, "data": short})
    notes = Notes()
    scores: Any = train(options, tmp_path / "run", listener=notes).best.scores
    assert notes.texts[-1].startswith("left out of the training: 1 recording(s) too short for the")
    # To be measured it stays: it has no loss, but it counts in the error rates.
    assert (scores.short, scores.count) == (1, len(TEXTS))
    assert numpy.isfinite(scores.figures["loss"])
    task = load(tmp_path / "run").task
    part = task.read_part(options.data)[0]
    assert sum(map(len, task.batches(part, 4, 0))) == len(TEXTS) - 1
    assert sum(map(len, task.batches(part, 4, None))) == len(TEXTS)
    with pytest.raises(DataError, match=r"all 20 recordings of .*spoken.tsv are too short for"):
        train(from_flat(Options, {**SMALL, **COLUMNS, **shares, "data": short,
                                  "segment_length": 100}),
              tmp_path / "none")  # fmt: skip


BAD_TABLES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no transcript": ("good\t\n", {}, "record 21, the header not counted, has no 'text'"),
    "marks only": ("good\t?!\n", {}, "record 21 has a transcript without a letter or digit"),
    "no recording": ("none\tab\n", {}, "record 21: there is no file .*none"),
    "an empty file": ("empty.wav\tab\n", {}, "record 21: .*empty.wav is empty"),
    "a damaged file": ("damaged.wav\tab\n", {}, "record 21: .*damaged.wav is no recording that"),
    "no samples": ("without.wav\tab\n", {}, "record 21: .*without.wav has no samples"),
    "no folder": ("good\tab\n", {"folder": "elsewhere"}, "record 1: there is no file elsewhere"),
    "no column": ("good\tab\n", {"transcript": "txt"}, "no column 'txt' .*did you mean 'text'"),
    "a column twice": ("good\tab\n", {"speaker": "text"}, "transcript and speaker are both"),
    "a model": ("good\tab\n", {"language_model": "none.txt"}, "there is no file none.txt"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    row, changes, message = BAD_TABLES[name]
    table = write_spoken(tmp_path, TEXTS)
    table.write_text(table.read_text() + row, encoding="utf-8")
    soundfile.write(tmp_path / "good.wav", spoken("ab"), RATE)
    soundfile.write(tmp_path / "without.wav", numpy.empty(0), RATE)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "damaged.wav").write_bytes(b"RIFF....")
    values = {**SMALL, **COLUMNS, "data": table, "epochs": 1, **changes}
    options = from_flat(Options, values)
    with pytest.raises(AnyrnnError, match=message) as caught:
        train(options, tmp_path / "run")
    assert "\n" not in str(caught.value)
    if "record 21" in message:
        notes = Notes()
        train(from_flat(Options, {**values, "skip_bad": True}), tmp_path / "run", listener=notes)
        assert any(text.startswith(f"skipped in {table}: 1 ") for text in notes.texts)


def test_no_speaker_is_in_two_parts(tmp_path: Path) -> None:
    table = write_spoken(tmp_path, TEXTS)
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    rows = [f"{row}\t{['ann', 'ben', 'cem', 'dee'][number % 4]}" for number, row in enumerate(rows)]
    table.write_text("\n".join([f"{head}\twho", *rows]), encoding="utf-8")
    values = {**SMALL, **COLUMNS, "data": table, "speaker": "who"}
    values |= {"validation_share": 0.25, "test_share": 0.25}
    data = Transcribe.read(from_flat(Options, values))
    speakers = [{*part.speakers} for part in (data.training, data.validation, data.test)]  # pyright: ignore
    assert sorted(map(len, speakers)) == [1, 1, 2]
    assert {*chain(*speakers)} == {"ann", "ben", "cem", "dee"}


def test_other_tables_are_measured(learned: Result, tmp_path: Path) -> None:
    table = write_spoken(tmp_path, [*TEXTS[:5], "ab xyz"])
    samples = numpy.stack([spoken("cad"), spoken("cad")], 1).repeat(2, 0)
    soundfile.write(tmp_path / "spoken5.wav", samples, 2 * RATE)
    soundfile.write(tmp_path / "spoken4.wav", numpy.zeros(4000), RATE)
    found = evaluate(learned.run, {"data": table})
    scores: Any = found.scores
    assert scores.count == 6
    assert scores.unknown == 3
    remarks: Any = found.facts["remarks"]
    assert remarks == {
        "silent": 1,
        "of several channels, mixed to one": 1,
        f"resampled from {2 * RATE:,} Hz": 1,
    }
    assert scores.confusions[0][2] >= 1
    with pytest.raises(OptionError, match="data is missing: name a file"):
        evaluate(learned.run, {})


def test_speakers_are_in_one_part(tmp_path: Path) -> None:
    table = write_spoken(tmp_path, TEXTS)
    lines = table.read_text().splitlines()
    rows = [f"{line}\ts{number % 4}" for number, line in enumerate(lines[1:])]
    table.write_text("\n".join([f"{lines[0]}\twho", *rows]) + "\n")
    options = from_flat(Options, {**SMALL, **COLUMNS, "data": table, "speaker": "who"})
    data = Transcriber.task.read(options)
    parts = [data.training, data.validation, data.test]
    speakers = [set(part.speakers or ()) for part in parts if part]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 4
    options = from_flat(Options, {**SMALL, **COLUMNS, "data": table, "speaker": "file"})
    table.write_text(table.read_text().replace("\ts1", "\ts0").replace("\ts2", "\ts0"))
    options = from_flat(Options, {**SMALL, **COLUMNS, "data": table, "speaker": "who"})
    with pytest.raises(DataError, match=r"has 2 different speaker\(s\), but 3 are needed"):
        Transcriber.task.read(options)


def test_a_damaged_run_is_refused(learned: Result, tmp_path: Path) -> None:
    run = shutil.copytree(learned.run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    means = config["state"]["means"]
    for change in ({"means": None}, {"means": means[1:]}, {"deviations": ["x"] * 16}):
        changed = {**config, "state": {**config["state"], **change}}
        (run / "config.json").write_text(json.dumps(changed))
        with pytest.raises(RunError, match="the run is damaged"):
            load(run)


def test_scikit_learns_verbs(tmp_path: Path) -> None:
    transcriber = Transcriber(cell="gru", **SMALL | {"epochs": 1}, minimum_frequency=1)
    texts = TEXTS[:12]
    recordings: list[Any] = [spoken(text) for text in texts]
    with pytest.raises(DataError, match="12 recordings, but 2 transcripts"):
        transcriber.fit(recordings, ["a", "b"])
    with pytest.raises(DataError, match=r"recording 1 has the shape \(1, 1\) and the type <U1"):
        transcriber.fit([recordings[0], [["a"]]], ["a", "b"])
    with pytest.raises(DataError, match="row 1 has a transcript without a letter or digit"):
        transcriber.fit(recordings[:2], ["a", "?"])
    with pytest.raises(DataError, match="one recording was given, but a list of recordings is"):
        transcriber.fit("a.wav", ["a"])
    with pytest.raises(DataError, match=r"there is no file none\.wav"):
        transcriber.fit(["none.wav"], ["a"])
    found = clone(transcriber).fit(recordings, texts)
    path = tmp_path / "a.wav"
    soundfile.write(path, recordings[0], RATE, subtype="FLOAT")
    whole = (recordings[0] * 2**15).astype("int16")
    written = found.predict([path, whole, *recordings], beam=2)[1:]
    assert written[0] == written[1] == found.predict([path], beam=2)[0]
    assert found.score(recordings, texts) <= 1
    found.save(tmp_path / "run")
    again = Transcriber.load(tmp_path / "run")
    assert again.predict(recordings, beam=2) == written[1:]
    assert again.get_params() == found.get_params()
