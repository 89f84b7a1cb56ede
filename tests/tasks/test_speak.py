"""Speech synthesis: everything from recordings to sound."""

import json
import math
import runpy
import shutil
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy
import pytest
import soundfile
import torch
from sklearn import clone

from anyrnn.errors import DataError, OptionError, RunError, WriteError
from anyrnn.tasks import Synthesizer
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.speak import Options, SoundOptions
from anyrnn.tasks.speak.data import read
from anyrnn.tasks.speak.losses import (
    diagonality,
    focus,
    frame_error,
    guided_attention,
    stop_loss,
)
from anyrnn.tasks.speak.model import SpeechNetwork
from anyrnn.tasks.speak.scores import mel_distance
from anyrnn.tasks.speak.sound import waveform, write_sound
from anyrnn.tasks.speak.speaking import utterances
from anyrnn.tasks.trained import evaluate, load
from anyrnn.tasks.training.results import Result

TONES = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "tones" / "tones.py"))
SOUND = {"sample_rate": 8000, "window": 0.04, "hop": 0.02, "mels": 30}
SMALL = {**SOUND, "embedding_size": 16, "hidden_size": 48, "prenet_size": 16, "reduction": 3}
SMALL |= {"convolutions": 1, "postnet_layers": 1, "dropout": 0.0, "prenet_dropout": 0.2}
SMALL |= {"batch_size": 8, "learning_rate": 0.01, "device": "cpu"}


def table(folder: Path, count: int) -> dict[str, Any]:
    if not folder.exists():
        TONES["write"](folder, count)
    return {"data": folder / "texts.tsv", "recording": "file", "transcript": "text"}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A voice that says a note for each letter."""
    folder = tmp_path_factory.mktemp("learned")
    values = {**SMALL, **table(folder / "tones", 80), "cells": ("gru",), "epochs": 16}
    return train(from_flat(Options, values), folder / "run")


# The network


def network(cell: str = "gru", **options: Any) -> SpeechNetwork:
    torch.manual_seed(0)
    features = Features(SoundOptions(sample_rate=8000, mels=5).heard)
    sizes = {"embedding_size": 6, "hidden_size": 7, "prenet_size": 4, "reduction": 3}
    return SpeechNetwork(cell, 9, features, **{**sizes, **options}).eval()


TEXTS, LENGTHS = torch.tensor([[4, 2, 7, 5], [3, 5, 0, 0], [8, 0, 0, 0]]), torch.tensor([4, 2, 1])
COUNTS = torch.tensor([8, 6, 1])
SETTINGS = [
    ("gru", {}),
    ("lstm_peephole", {"attention": "additive", "layers": 2, "bidirectional": False}),
    ("rnn", {"convolutions": 0, "postnet_layers": 0, "reduction": 1}),
]


def frames() -> torch.Tensor:
    values = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(1))
    return values * (torch.arange(8) < COUNTS[:, None])[..., None]


@pytest.mark.parametrize(("cell", "options"), SETTINGS)
def test_rows_and_padding_do_not_matter_to_each_other(cell: str, options: Any) -> None:
    made, truth = network(cell, **options), frames()
    found = made(TEXTS, LENGTHS, truth, COUNTS)
    for row, (length, count) in enumerate(zip(LENGTHS.tolist(), COUNTS.tolist(), strict=True)):
        alone = made(
            TEXTS[row : row + 1, :length],
            LENGTHS[row : row + 1],
            truth[row : row + 1, :count],
            COUNTS[row : row + 1],
        )
        steps = -(-count // made.reduction)
        torch.testing.assert_close(alone.frames[0], found.frames[row, :count])
        torch.testing.assert_close(alone.stops[0], found.stops[row, :steps])
        torch.testing.assert_close(alone.weights[0], found.weights[row, :steps, :length])
        assert not found.weights[row, :, length:].any()


@pytest.mark.parametrize(("cell", "options"), SETTINGS)
def test_all_frames_at_once_are_one_step_after_the_other(cell: str, options: Any) -> None:
    made, truth = network(cell, **options), frames()
    found = made(TEXTS, LENGTHS, truth, COUNTS)
    state, before = made.begin(TEXTS, LENGTHS), torch.zeros(3, 5)
    for step in range(found.stops.shape[1]):
        given, ends, weights, state = made.step(before, state)
        first = step * made.reduction
        wanted = found.coarse[:, first : first + made.reduction]
        for row in range(int((made.steps(COUNTS) > step).sum())):
            torch.testing.assert_close(given[row, : wanted.shape[1]], wanted[row])
            torch.testing.assert_close(ends[row], found.stops[row, step].sigmoid())
            torch.testing.assert_close(weights[row], found.weights[row, step])
        before = truth[:, min(first + made.reduction, 8) - 1]


def test_every_weight_learns() -> None:
    made, truth = network(), frames()
    found = made(TEXTS, LENGTHS, truth, COUNTS)
    steps = made.steps(COUNTS)
    loss = frame_error(found.frames, truth, COUNTS) + stop_loss(found.stops, steps)
    (loss + guided_attention(found.weights, steps, LENGTHS)).backward()
    unused = {name for name, each in made.named_parameters() if each.grad is None}
    assert not unused
    paths = [layer.path.name for layer in (made.encoder, made.reader, made.writer)]
    assert paths == ["compiled"] * 3


def test_losses_are_those_of_their_definitions() -> None:
    weights = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(2))
    steps, truth = torch.tensor([3, 2, 1]), frames()
    guide = near = largest = 0.0
    for row, (done, length) in enumerate(zip(steps.tolist(), LENGTHS.tolist(), strict=True)):
        for step in range(done):
            largest += float(weights[row, step].max()) / 6
            for place in range(4):
                off, weight = place / length - step / done, float(weights[row, step, place])
                guide += weight * (1 - math.exp(-(off**2) / (2 * 0.2**2))) / 6
                near += weight * (abs(off) <= 0.15) / 6
    assert float(guided_attention(weights, steps, LENGTHS)) == pytest.approx(guide)
    assert float(diagonality(weights, steps, LENGTHS)) == pytest.approx(near)
    assert float(focus(weights, steps)) == pytest.approx(largest)
    logits = torch.tensor([[1.0, 2.0, -3.0], [0.5, 0.0, 9.0], [4.0, 9.0, 9.0]])
    terms = [-1.0, -2.0, -3.0, -0.5, 0.0, 4.0]  # of the answer that is right
    expected = sum(math.log1p(math.exp(-term)) for term in terms) / 6
    assert float(stop_loss(logits, steps)) == pytest.approx(expected, rel=1e-6)
    assert float(frame_error(truth + 1, truth, COUNTS)) == pytest.approx(1)


def test_speech_ends_where_the_decoder_says_or_at_its_limit() -> None:
    made = network()
    limits = torch.tensor([9, 4, 6])
    cut = utterances(made, TEXTS, LENGTHS, limits, 1.0)
    assert [len(each.frames) for each in cut] == [27, 12, 18]
    assert not any(each.ended for each in cut)
    assert [each.weights.shape for each in cut] == [(9, 4), (4, 2), (6, 1)]
    alone = utterances(made, TEXTS[1:2, :2], LENGTHS[1:2], limits[1:2], 1.0)[0]
    torch.testing.assert_close(alone.frames, cut[1].frames)
    assert [len(each.frames) for each in utterances(made, TEXTS, LENGTHS, limits, 1e-9)] == [3] * 3


# Sound


def test_sound_of_frames_has_these_frames(tmp_path: Path) -> None:
    features = Features(SoundOptions(sample_rate=8000, window=0.04, hop=0.01, mels=40).heard)
    samples = TONES["sound"]("gabbag").astype(numpy.float32)
    samples /= numpy.abs(samples).max()
    truth = features.described(features.energies(torch.from_numpy(samples)[None]))[0]
    found = waveform(features, truth, 30)
    again = features.described(features.energies(torch.from_numpy(found)[None]))[0]
    silence = torch.full_like(truth, math.log(1e-10))
    assert mel_distance(again.numpy(), truth.numpy()) < 10
    assert mel_distance(silence.numpy(), truth.numpy()) > 30
    assert numpy.abs(waveform(features, truth + 30, 2)).max() <= 1
    for suffix in (".wav", ".flac", ".ogg", ".mp3"):
        write_sound(tmp_path / f"a{suffix}", [found, found[:100]], 8000)
        read, rate = soundfile.read(tmp_path / f"a{suffix}")
        assert rate == 8000
        assert len(read) == pytest.approx(len(found) + 100, abs=2500)
    with pytest.raises(WriteError, match=r"cannot write .*a.mp3: .*"):
        write_sound(tmp_path / "a.mp3", [found], 12345)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.flac", "a.mp3", "a.ogg", "a.wav"]


# From recordings to speech


def test_it_learns(learned: Result) -> None:
    scores: Any = learned.best.scores
    for name in ("mean", "nearest"):
        assert scores.figures["distance"] < learned.baselines[name]["distance"]
    assert scores.figures["ended"] == 1
    assert scores.figures["diagonality"] > 0.8
    assert scores.seconds == pytest.approx(scores.recorded_seconds, rel=0.1)
    history = (learned.run / "history.csv").read_text()
    assert {"validation_diagonality", "validation_distance"} <= {*history.split("\n")[0].split(",")}
    epochs = learned.best.best_trial.epochs
    best = min(epochs, key=lambda epoch: epoch.figures["validation_distance"])
    assert learned.best.best_trial.best_epoch is best
    report = (learned.run / "report.html").read_text(encoding="utf-8")
    assert report.count("data:audio/flac;base64,") == 6
    assert "did not end" not in report
    assert "examples" not in json.loads((learned.run / "results.json").read_text())["cells"]["gru"]


def test_a_run_speaks(learned: Result) -> None:
    model = load(learned.run)
    found = model.predict(["abc def", "gag cab", "a"], iterations=4)
    assert [each.ended for each in found] == [True] * 3
    seconds = [each.seconds for each in found]
    assert seconds[:2] == pytest.approx([0.84, 0.84], abs=0.13)
    (alone,) = model.predict(["gag cab"], iterations=4)
    numpy.testing.assert_allclose(alone.samples, found[1].samples, atol=1e-3)
    # The notes are heard: the median of the strongest frequencies of each letter is its own.
    # The mel bands of this voice tell apart what lies a tenth apart, as b and c do not.
    texts = ["abc def", "fed cab", "ada fac", "cad fed", "dac fad", "fac dad"]
    heard: dict[str, list[int]] = {letter: [] for letter in "acdf"}
    for text, spoken in zip(texts, model.predict(texts, iterations=4), strict=True):
        for number, letter in enumerate(text):
            if letter in heard:
                part = spoken.samples[round(8000 * (0.12 * number + 0.03)) :][:600]
                heard[letter].append(int(numpy.abs(numpy.fft.rfft(part, 8000)).argmax()))
    for letter, strongest in heard.items():
        assert median(strongest) == pytest.approx(TONES["NOTES"][letter], rel=0.1)
    with pytest.warns(UserWarning, match=r"text 1 has characters .* left out: 'z', '!'|'!', 'z'"):
        model.predict(["abz!"], iterations=1)
    with pytest.warns(UserWarning, match=r"speech of text 1 did not end by itself: it was cut af"):
        (cut,) = model.predict(["abc def"], longest=0.3, iterations=1)
    assert cut.seconds <= 0.3
    for texts, message in [
        (["a", " "], "text 2 is empty; give one that can be spoken"),
        (["a" * 2001], "text 1 has 2,001 characters, but no more than 2,000 are spoken at once"),
        (["öxy!"], "text 1 has no character that the training had: 'öxy!'"),
    ]:
        with pytest.raises(DataError, match=message):
            model.predict(texts)


def test_a_voice_measured_on_another_table(learned: Result, tmp_path: Path) -> None:
    files = table(tmp_path / "more", 6)
    found = evaluate(learned.run, files)
    assert found.scores.count == 6
    assert found.scores.figures["distance"] < 10
    assert "examples" not in found.scores.plain()


def test_a_damaged_run_is_refused(learned: Result, tmp_path: Path) -> None:
    run = shutil.copytree(learned.run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    for change, message in [
        ({"means": [0.0]}, "numbers as a scale"),
        ({"characters": 3}, "needs 'characters'"),
    ]:
        changed = {**config, "state": {**config["state"], **change}}
        (run / "config.json").write_text(json.dumps(changed))
        with pytest.raises(RunError, match=message):
            load(run)


def _silent(folder: Path) -> None:
    soundfile.write(folder / "001.wav", numpy.zeros(900), 8000)


def _damaged(folder: Path) -> None:
    (folder / "001.wav").write_bytes(b"RIFF and no more")


def _missing(folder: Path) -> None:
    (folder / "001.wav").unlink()


def _blank(folder: Path) -> None:
    lines = (folder / "texts.tsv").read_text().splitlines()
    (folder / "texts.tsv").write_text("\n".join([*lines[:2], "001\t ", *lines[3:]]))


BAD_TABLES = {
    "silent": (_silent, r"texts.tsv: record 2: .*001.wav is silent; mend it, or leave such"),
    "damaged": (_damaged, r"texts.tsv: record 2: .*001.wav is no recording that can be read"),
    "missing": (_missing, r"texts.tsv: record 2: there is no file .*001"),
    "blank": (_blank, r"texts.tsv: record 2.*, has no 'text'"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    spoil, message = BAD_TABLES[name]
    files = table(tmp_path / "tones", 9)
    spoil(tmp_path / "tones")
    options = from_flat(Options, {**SMALL, **files})
    with pytest.raises(DataError, match=message):
        train(options, tmp_path / "run")
    options = from_flat(Options, {**SMALL, **files, "skip_bad": True, "epochs": 1})
    data = train(options, tmp_path / "run")
    assert "skipped" in (data.run / "config.json").read_text()


def test_scikit_learns_verbs(tmp_path: Path) -> None:
    voice = Synthesizer(cell="lstm", **SMALL | {"epochs": 2}, guided_attention=0.0, deciding="loss")
    texts = ["ab cd", "fa", "gab", "bad dad", "cab", "face", "bed", "egg"]
    sounds = [TONES["sound"](text) for text in texts]
    for some, others, message in [
        (["a"], [], "1 texts, but 0 recordings"),
        (["a", " "], sounds[:2], "row 1 has an empty text"),
        (["a"], [numpy.zeros(9)], "row 0 has a recording that is silent; leave such rows out"),
        (["a"], [numpy.ones((2, 9))], r"recording 0 has the shape \(2, 9\) and the type float64"),
    ]:
        with pytest.raises(DataError, match=message):
            voice.fit(some, others)
    found = clone(voice).fit(texts, sounds)
    assert "validation_distance" not in found.history_[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of speech that does not end
        spoken = found.predict(texts[:2], longest=0.5, iterations=2)
        assert [each.dtype for each in spoken] == [numpy.float32] * 2
        assert found.score(texts, sounds) < 0
        found.save(tmp_path / "run")
        again = Synthesizer.load(tmp_path / "run")
        for one, other in zip(
            spoken, again.predict(texts[:2], longest=0.5, iterations=2), strict=True
        ):
            numpy.testing.assert_array_equal(one, other)
    assert again.get_params() == found.get_params()


def test_what_is_cut_off_and_what_is_left_out(tmp_path: Path) -> None:
    files = table(tmp_path / "tones", 9)
    random = numpy.random.default_rng(0)
    for name in ("000", "001"):
        samples, rate = soundfile.read(tmp_path / "tones" / f"{name}.wav")
        before, after = (random.normal(0, 1e-4, count) for count in (4000, 2000))
        before[100] = 0.5  # a click is no speech
        soundfile.write(tmp_path / "tones" / f"{name}.wav", [*before, *samples, *after], rate)
    parts = {"validation_share": 0.0, "test_share": 0.0, "trim": 14.0}
    options = from_flat(Options, {**SMALL, **files, **parts})
    found = read(options).training
    lengths = read(from_flat(Options, {**SMALL, **files, **parts, "trim": 0.0})).training.lengths
    assert (lengths[:2] - found.lengths[:2] >= 4500).all()
    assert (lengths[2:] - found.lengths[2:] <= 1300).all()
    assert numpy.abs(found.samples[0][:1000]).max() > 0.1
    assert [len(each) for each in found.samples[:2]] == found.lengths[:2].tolist()
    seconds = sorted(found.lengths / 8000)
    short = from_flat(Options, {**SMALL, **files, **parts, "longest_recording": seconds[4]})
    assert len(read(short).training) == 5
    assert "left out of the training: 4 recording(s) longer than" in read(short).notes[-1]
    with pytest.raises(DataError, match=r"all recordings of .*texts.tsv are longer than 0.1 s; di"):
        read(from_flat(Options, {**SMALL, **files, **parts, "longest_recording": 0.1}))


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    files = table(tmp_path / "tones", 9)
    with pytest.raises(OptionError, match=r"mels is 500, but .* of the bands would be narrower"):
        train(from_flat(Options, {**SMALL, **files, "mels": 500}), tmp_path / "run")
