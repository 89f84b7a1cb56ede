"""Spoken words: tones that rise, fall or stay take their place, each speaker at another height."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import pytest
import soundfile
import torch

from anyrnn.errors import AnyrnnError, DataError, OptionError
from anyrnn.tasks import CommandRecognizer, evaluate, load, train
from anyrnn.tasks.audio.augmentation import Augmentation
from anyrnn.tasks.command import ListenOptions, Options
from anyrnn.tasks.command.listening import Heard, Listening, Stream
from anyrnn.tasks.command.model import CommandNetwork
from anyrnn.tasks.command.task import Command, CommandScores
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.trained import Model
from anyrnn.tasks.training.listener import Listener

RATE = 4000
ENDS = {"fall": (900, 300), "rise": (300, 900), "stay": (600, 600)}
SMALL: dict[str, Any] = {
    "sample_rate": RATE,
    "mels": 16,
    "window": 0.032,
    "hop": 0.016,
    "hidden_size": 12,
    "epochs": 10,
    "batch_size": 8,
    "learning_rate": 3e-2,
    "device": "cpu",
}


def spoken(word: str, speaker: int, seconds: float = 0.3) -> numpy.ndarray:
    """A tone of a word, in quiet noise."""
    random = numpy.random.default_rng(len(word) + 100 * speaker)
    steps = numpy.arange(round(seconds * RATE))
    first, last = ENDS[word]
    frequency = numpy.linspace(first, last, len(steps)) * (1 + speaker / 50)
    tone = numpy.sin(2 * numpy.pi * numpy.cumsum(frequency) / RATE) / 2
    return (tone + 0.01 * random.standard_normal(len(steps))).astype(numpy.float32)


def written(path: Path, samples: numpy.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def name_of(speaker: int, number: int = 0) -> str:
    return f"{speaker:08x}_nohash_{number}.wav"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten speakers say each word twice."""
    folder = tmp_path_factory.mktemp("words")
    for word in ENDS:
        for speaker in range(10):
            for number, seconds in enumerate((0.3, 0.25)):
                samples = spoken(word, speaker, seconds)
                written(folder / word / name_of(speaker, number), samples)
    return folder


def options(path: Path, **others: Any) -> Options:
    return from_flat(Options, {**SMALL, "data": path, **others})


class Told(Listener):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def noted(self, note: str) -> None:
        self.notes.append(note)


@pytest.fixture(scope="module")
def run(words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    chosen = options(
        words, time_shift=0.02, noise=20.0, time_masks=1, frequency_masks=1, continued=0.5
    )
    return train(chosen, tmp_path_factory.mktemp("runs") / "words").run


@pytest.fixture
def model(run: Path) -> Model[Command]:
    return load(run, kind=Command)


def test_words_are_told_apart(words: Path, run: Path, model: Model[Command]) -> None:
    found = evaluate(run, {"data": words})
    assert found.scores.figures["accuracy"] > 0.9
    assert isinstance(found.scores, CommandScores)
    assert [answer.label for answer in found.scores.right] == list(ENDS)
    report = (run / "report.html").read_text()
    assert report.count("data:image/png;base64,") >= len(ENDS)
    files = [str(words / word / name_of(3)) for word in ENDS]
    assert [answer.label for answer in model.predict(files)] == list(ENDS)
    told = [answer.probabilities for answer in model.predict(files)]
    for kind in ("float64", "float32", "int16", "int32"):
        heard = [soundfile.read(file, dtype=kind)[0] for file in files]
        found = [answer.probabilities for answer in model.predict(heard)]
        assert found == [pytest.approx(each, abs=1e-5) for each in told]


def test_recordings_are_told_alone_as_among_others(model: Model[Command], words: Path) -> None:
    recordings = [spoken(word, 3, seconds) for word in ENDS for seconds in (0.3, 0.05, 1.1)]
    together = model.task.probabilities(model.network, recordings)
    for row, each in enumerate(recordings):
        alone = model.task.probabilities(model.network, [each])[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-4)


def test_a_training_follows_from_its_seed(words: Path, tmp_path: Path, run: Path) -> None:
    chosen = load(run).task.options
    again = train(chosen, tmp_path / "again").run
    weights = "gru.safetensors"
    assert (again / weights).read_bytes() == (run / weights).read_bytes()


def test_no_speaker_is_in_two_parts(words: Path, tmp_path: Path) -> None:
    data = Command.read(options(words))
    parts: list[Any] = [data.training, data.validation, data.test]
    speakers = [{Path(row).name[:8] for row in part.rows} for part in parts]
    assert all(not one & other for one, other in pairwise([*speakers, speakers[0]]))
    assert sum(map(len, speakers)) == 10
    assert sum(map(len, parts)) == 60
    assert any(note.startswith("speakers: 8 to train, 1 to validate, 1 to") for note in data.notes)
    some = tmp_path / "some"
    for word in ENDS:
        for speaker in range(2):
            written(some / word / name_of(speaker), spoken(word, speaker))
    with pytest.raises(DataError, match=r"'fall' has 2 different speaker\(s\).*but 3 are needed"):
        Command.read(options(some))


def table(folder: Path, rows: str, name: str = "words.csv") -> Path:
    path = folder / name
    path.write_text(rows)
    return path


def test_a_table_says_who_speaks(words: Path) -> None:
    rows = "".join(
        f"{word}/{name_of(speaker)},{word},{speaker % 5}\n"
        for word in ENDS
        for speaker in range(10)
    )
    path = table(words, "clip,said,who\n" + rows)
    columns = {"recording": "clip", "label": "said", "speaker": "who"}
    data = Command.read(options(path, **columns))
    parts: list[Any] = [data.training, data.validation, data.test]
    speakers = [
        {int(Path(group).name.split()[-1]) for group in part.together_with} for part in parts
    ]
    assert sorted(map(len, speakers)) == [1, 1, 3]
    assert set.union(*speakers) == set(range(5))


BAD_TABLES = {
    "missing": (
        "rise/0.wav,rise\nfall/no.wav,fall\n",
        r"words.csv: record 2: there is no file .*no.wav; mend it, .*skip_bad=True",
    ),
    "no word": ("rise/0.wav,\n", r"words.csv: record 1, .*has no 'label'"),
    "no recording": ("words.csv,rise\n", r"record 1: .*words.csv is no recording that can be read"),
    "folder": ("rise,rise\n", r"record 1: .*rise is a folder, not a file"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_that_names_what_is_not_there(name: str, tmp_path: Path) -> None:
    written(tmp_path / "rise" / "0.wav", spoken("rise", 0))
    rows, message = BAD_TABLES[name]
    path = table(tmp_path, "recording,label\n" + rows)
    with pytest.raises(DataError, match=message):
        Command.read(options(path))


def test_parts_of_their_own_are_no_training_data(words: Path) -> None:
    lines = [f"{word}/{name_of(speaker, k)}" for word in ENDS for speaker in (0, 1) for k in (0, 1)]
    test = table(words, "\n".join(lines) + "\n", "testing_list.txt")
    rows = "".join(f"{word}/{name_of(2)},{word}\n" for word in ENDS)
    validation = table(words, "recording,label\n" + rows, "validation.csv")
    data = Command.read(options(words, test_data=test, validation_data=validation))
    assert data.validation is not None
    assert data.test is not None
    assert (len(data.training), len(data.validation), len(data.test)) == (60 - 12 - 3, 3, 12)
    assert data.test.rows[0] == "line 1"
    assert any("1 of the training speakers also speak in what" in note for note in data.notes)
    listed = Command.read(options(test, validation_share=0, test_share=0))
    assert sorted({*listed.training.labels}) == list(ENDS)


def test_names_may_tell_the_words(words: Path, tmp_path: Path) -> None:
    for word in ENDS:
        for speaker in range(3):
            written(tmp_path / f"{word}_anna{speaker}_7.wav", spoken(word, speaker))
    pattern = r"(?P<word>[a-z]+)_(?P<speaker>[^_]+)_\d+"
    data = Command.read(options(tmp_path, name_pattern=pattern))
    assert sorted({*data.training.labels}) == list(ENDS)
    assert data.facts["speakers"] == 3
    with pytest.raises(
        DataError, match=r"fall_anna0_7.wav lies in no folder of a word; let name_p"
    ):
        Command.read(options(tmp_path))


def test_other_words_are_unknown_and_noise_is_silence(words: Path, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    for word in ENDS:
        for speaker in range(9):
            written(folder / word / name_of(speaker), spoken(word, speaker))
    (folder / "rise" / "notes.txt").write_text("no recording")
    noise = numpy.random.default_rng(0).standard_normal(RATE * 6) / 10
    written(folder / "_background_noise_" / "rain.wav", noise)
    chosen = options(folder, words=("fall",), validation_share=0, test_share=0)
    data = Command.read(chosen)
    labels = sorted(data.training.labels)
    assert {label: labels.count(label) for label in labels} == {
        "_silence_": 9,
        "_unknown_": 9,
        "fall": 9,
    }
    assert data.skipped == {str(folder): {"files that are no recordings by their names": 1}}
    pieces = [
        each
        for each, label in zip(data.training.inputs, data.training.labels, strict=True)
        if label == "_silence_"
    ]
    assert {len(piece) for piece in pieces} == {round(0.3 * RATE)}
    assert len({piece.tobytes() for piece in pieces}) == 9
    with pytest.raises(DataError, match=r"has no recording of 'jump' \(words\); it has fall, rise"):
        Command.read(options(folder, words=("jump",)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name_pattern": "("}, "name_pattern is no regular expression: "),
        ({"name_pattern": "x"}, r"name_pattern is 'x', but needs a group \(\?P<speaker>"),
        ({"hop": 0.05}, "hop is 0.05, longer than window"),
        ({"speaker": "who"}, "speaker has no effect on folders of recordings"),
        ({"frequency_masks": 1, "features": "mfcc"}, "frequency_masks has no effect with features"),
        ({"time_masks": 1, "normalisation": "none"}, "which leaves no value that says nothing"),
    ],
)
def test_options_that_cannot_be(
    values: dict[str, Any], message: str, words: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        train(options(words, **values), tmp_path / "run")


def test_bad_recordings_are_refused_or_left_out(words: Path, tmp_path: Path) -> None:
    for word in ENDS:
        for speaker in range(4):
            written(tmp_path / word / name_of(speaker), spoken(word, speaker))
    bad = tmp_path / "rise" / name_of(9)
    bad.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=rf"^{bad} is no recording that can be read.*; mend it, or"):
        Command.read(options(tmp_path))
    written(tmp_path / "fall" / name_of(9), numpy.zeros(RATE // 4))
    written(tmp_path / "stay" / name_of(9), numpy.stack([spoken("stay", 9)] * 2, 1))
    data = Command.read(options(tmp_path, skip_bad=True))
    told = [*data.told()]
    assert f"skipped in {tmp_path}: 1 recordings that cannot be used" in told
    assert "recordings silent: 1" in told
    assert "recordings of several channels, mixed to one: 1" in told


def network(run: Path) -> CommandNetwork:
    found = load(run).network
    assert isinstance(found, CommandNetwork)
    return found


def stepwise(found: CommandNetwork, samples: torch.Tensor, window: int) -> torch.Tensor:
    """The probabilities at each step, from the features and outputs of the whole."""
    frames, _ = found.features(samples[None], torch.tensor([len(samples)]))
    length = found.segment_length
    padded = torch.nn.functional.pad(frames, (0, 0, 0, -frames.shape[1] % length))
    output, _ = found.recurrent(padded.unflatten(1, (-1, length)).flatten(2))
    rows = []
    for end in range(1, output.shape[1] + 1):
        some = output[0, max(0, end - window) : end]
        rows.append(some.mean(0) if found.pool == "mean" else some.amax(0))
    return found.dense(torch.stack(rows)).softmax(1)


@pytest.mark.parametrize("size", [1, 50, 64, 333, 10_000])
@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_stream_says_what_the_whole_says(cell: str, pool: str, size: int, run: Path) -> None:
    task = load(run, kind=Command).task
    torch.manual_seed(1)
    sizes = {"hidden_size": 5, "layers": 2, "dropout": 0.3, "segment_length": 3, "pool": pool}
    features = task.inputs.features
    found = CommandNetwork(cell, features, network(run).augmentation, 3, **sizes).eval()
    samples = torch.from_numpy(numpy.concatenate([spoken(word, 2) for word in ENDS]))
    samples = samples[: 3501 if size > 1 else 300]
    stream = Stream(found, window=7)
    with torch.inference_mode():
        expected = stepwise(found, samples, 7)
        pieces = [stream.push(some) for some in samples.split(size)]
        heard = torch.cat([*pieces, stream.finish()])
        torch.testing.assert_close(heard, expected, atol=1e-5, rtol=1e-4)
        long = Stream(found, window=10_000)
        last = torch.cat([long.push(samples), long.finish()])[-1:]
        told = found(samples[None], torch.tensor([len(samples)])).softmax(1)
        torch.testing.assert_close(last, told, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recordings_may_begin_where_another_ends(cell: str, model: Model[Command]) -> None:
    found = model.task.inputs.features
    augmentation = network(model.run).augmentation
    sizes = {"hidden_size": 5, "layers": 2, "dropout": 0.0, "segment_length": 1, "pool": "mean"}
    quiet = replace(augmentation.options, time_shift=0.0, noise=None, time_masks=0)
    changes = Augmentation(replace(quiet, frequency_masks=0), RATE)
    samples = torch.from_numpy(spoken("rise", 1))
    frames, counts = found(samples[None], torch.tensor([len(samples)]))
    for share in (0.0, 1.0):
        learning = CommandNetwork(cell, found, changes, 3, continued=share, **sizes)
        logits = learning(samples.expand(3, -1), torch.full((3,), len(samples)))
        before = frames[:, : int(share * int(counts))]
        output, _ = learning.recurrent(torch.cat([before, frames], 1))
        expected = learning.dense(output[0, before.shape[1] :].mean(0))
        torch.testing.assert_close(logits, expected.expand(3, -1), atol=1e-5, rtol=1e-4)


def test_what_a_stream_cannot_be(words: Path, tmp_path: Path) -> None:
    recording = str(words / "fall" / name_of(0))
    for values, reason in (
        ({"bidirectional": True}, "this network also reads backwards, .* bidirectional=False"),
        ({"normalisation": "recording"}, "needs the whole recording, which a stream has not"),
    ):
        chosen = options(words, epochs=1, **values)
        model = load(train(chosen, tmp_path / "run", overwrite=True).run, kind=Command)
        with pytest.raises(OptionError, match=reason):
            list(model.task.listen(model.network, ListenOptions(recording)))


def joined(order: list[str], gap: float = 0.4) -> numpy.ndarray:
    """Words with quiet noise between them."""
    random = numpy.random.default_rng(5)
    quiet = (0.001 * random.standard_normal(round(gap * RATE))).astype(numpy.float32)
    return numpy.concatenate(
        [quiet, *(part for word in order for part in (spoken(word, 4), quiet))]
    )


def heard_in(listening: Listening, samples: numpy.ndarray, size: int) -> list[Heard]:
    def words() -> Iterator[Heard]:
        for some in torch.from_numpy(samples).split(size):
            yield from listening.push(some)
        yield from listening.finish()

    return list(words())


class Scripted(Stream):
    """Gives probabilities as they are told."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = torch.tensor(rows)

    def push(self, samples: torch.Tensor) -> torch.Tensor:
        return self.rows

    def finish(self) -> torch.Tensor:
        return self.rows[:0]


def detected(
    run: Path, rows: list[list[float]], window: float = 0.032, **chosen: Any
) -> list[tuple[int, str, float]]:
    """The words that are heard with such probabilities: the step, the word, how surely."""
    values: dict[str, Any] = {"threshold": 0.8, "refractory": 0.0, "window": window, **chosen}
    found = Listening(
        network(run), ["a", "b", "_silence_"], ["_silence_"], ListenOptions("x", **values), 1.0
    )
    found._stream = Scripted(rows)
    heard = [*found.push(torch.empty(0)), *found.finish()]
    return [(round(one.seconds / 0.032), one.word, round(one.probability, 2)) for one in heard]


A, B, NONE = [0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]


def test_words_are_told_once_where_they_are_surest(run: Path) -> None:
    surer = [0.95, 0.05, 0.0]
    assert detected(run, [NONE, A, surer, A, NONE, B]) == [(3, "a", 0.95), (6, "b", 0.9)]
    assert detected(run, [NONE, A, surer, A, NONE], threshold=0.92) == [(3, "a", 0.95)]
    assert detected(run, [A, B, A]) == [(1, "a", 0.9), (2, "b", 0.9), (3, "a", 0.9)]
    assert detected(run, [A, NONE, A, NONE, NONE, A], refractory=0.1) == [
        (1, "a", 0.9),
        (6, "a", 0.9),
    ]
    assert detected(run, [NONE] * 3) == []
    # What half a window says decides nothing.
    assert detected(run, [A, B, B, NONE], window=5 * 0.032) == [(3, "b", 0.9)]


def test_words_are_heard_in_a_stream(
    run: Path, model: Model[Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ["rise", "fall", "stay", "rise"]
    samples = joined(order)
    chosen = ListenOptions("x", threshold=0.5, window=0.3)
    silent = ("_silence_", "_unknown_")
    all_at_once, *others = (
        heard_in(Listening(network(run), model.task.labels, silent, chosen, 0.3), samples, size)
        for size in (100_000, 400, 37)
    )
    assert all(
        [(one.word, one.seconds) for one in each]
        == [(one.word, one.seconds) for one in all_at_once]
        for each in others
    )
    path = written(tmp_path / "all.wav", samples)
    asked = ListenOptions(str(path), threshold=0.5, window=0.3)
    from_file = list(model.task.listen(model.network, asked))
    assert [one.word for one in from_file] == [one.word for one in all_at_once]
    middles = [0.4 + 0.7 * k + 0.15 for k in range(len(order))]
    told = [
        {one.word for one in from_file if abs(one.seconds - middle) < 0.35} for middle in middles
    ]
    assert all(word in near for word, near in zip(order, told, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda files: files,
        lambda files: [soundfile.read(file, dtype="float32")[0] for file in files],
    ],
)
def test_the_estimator(words: Path, make: Callable[[list[Path]], Any], tmp_path: Path) -> None:
    files = sorted(words.glob("*/*_0.wav"))
    said = [file.parent.name for file in files]
    who = [file.name[:8] for file in files]
    plain = {name: value for name, value in SMALL.items() if name != "device"}
    recognizer = CommandRecognizer(cell="gru", **plain).fit(make(files), said, groups=who)
    assert recognizer.score(make(files), said) > 0.8
    assert recognizer.predict_proba(make(files[:2])).shape == (2, 3)
    recognizer.save(tmp_path / "run")
    loaded = CommandRecognizer.load(tmp_path / "run")
    assert (loaded.predict(make(files)) == recognizer.predict(make(files))).all()
    assert loaded.get_params()["sample_rate"] == RATE


@pytest.mark.parametrize(
    ("recordings", "message"),
    [
        ([numpy.zeros((3, 2))], r"recording 0 has the shape \(3, 2\)"),
        ([numpy.zeros(3), numpy.zeros(0)], r"recording 1 has the shape \(0,\)"),
        ([numpy.array([0, numpy.nan])], "recording 0 has samples that are no number"),
        (["missing.wav"], "there is no file missing.wav"),
        ("a.wav", "one recording was given, but a list of recordings is needed"),
        ({0: "a.wav"}, "a dict was given, but a list of recordings is needed"),
        (numpy.array(3.0), "a ndarray was given, but a list of recordings is needed"),
    ],
)
def test_recordings_that_python_cannot_give(recordings: Any, message: str) -> None:
    with pytest.raises(AnyrnnError, match=message):
        CommandRecognizer().fit(
            recordings,
            ["a"] * 2 if isinstance(recordings, list) and len(recordings) == 2 else ["a"],
        )
