"""Recordings as they are read, what a network hears of them, and how training changes them."""

import struct
import sys
from pathlib import Path

import librosa
import numpy
import pytest
import soundfile
import torch

from anyrnn.errors import DataError, MissingExtraError, OptionError
from anyrnn.tasks.audio.augmentation import Augmentation, at_other_speeds
from anyrnn.tasks.audio.blocks import blocks_of
from anyrnn.tasks.audio.features import FLOOR, Features
from anyrnn.tasks.audio.options import AugmentationOptions, SoundOptions
from anyrnn.tasks.audio.recordings import read_recording, read_recordings
from anyrnn.tasks.data import contents
from anyrnn.tasks.data.prepared import watched

RATE = 8000
DECIBELS = 10 / numpy.log(10)


def tone(count: int = 4000, frequency: float = 440, rate: int = RATE) -> numpy.ndarray:
    """Half as loud as can be."""
    times = numpy.arange(count) / rate
    return (numpy.sin(2 * numpy.pi * frequency * times) / 2).astype(numpy.float32)


def written(path: Path, samples: numpy.ndarray, rate: int = RATE, **kind: str) -> Path:
    soundfile.write(path, samples, rate, **kind)
    return path


def speech(count: int, seed: int = 0) -> torch.Tensor:
    """Noise that becomes louder."""
    noise = numpy.random.default_rng(seed).standard_normal(count) * numpy.linspace(0.01, 0.3, count)
    return torch.from_numpy(noise.astype(numpy.float32))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_recordings_of_each_kind_are_read(ending: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"a.{ending}", tone())
    found = read_recording(path, RATE)
    assert found.dtype == numpy.float32
    assert len(found) == pytest.approx(4000, abs=2400)  # MP3 adds silence at both ends
    loudest = numpy.abs(numpy.fft.rfft(found)).argmax() * RATE / len(found)
    assert loudest == pytest.approx(440, abs=5)
    if ending in ("wav", "flac"):
        numpy.testing.assert_allclose(found, tone(), atol=2**-15)


def test_several_channels_become_their_mean(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", numpy.stack([tone(), tone() / 2], 1), subtype="FLOAT")
    numpy.testing.assert_allclose(read_recording(path, RATE), tone() * 0.75, atol=1e-6)
    (told,) = read_recordings([path], RATE).remarks
    assert told == ["of several channels, mixed to one"]


@pytest.mark.parametrize("rate", [6000, 11_025, 44_100])
def test_other_rates_are_resampled(rate: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(rate, rate=rate), rate)
    found = read_recording(path, RATE)
    assert len(found) == RATE
    numpy.testing.assert_allclose(found[800:-800], tone(RATE)[800:-800], atol=2e-3)
    assert read_recordings([path], RATE).remarks == [[f"resampled from {rate:,} Hz"]]


def claiming(path: Path, size: int) -> Path:
    """A WAV file of 4,000 samples whose header tells another size, in bytes."""
    content = bytearray(written(path, tone()).read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("size", "read"), [(99_999, 4000), (2**32 - 1, 4000), (2000, 1000)])
def test_of_a_header_that_lies_the_smaller_length_is_read(
    size: int, read: int, tmp_path: Path
) -> None:
    found = read_recordings([claiming(tmp_path / "a.wav", size)], RATE)
    numpy.testing.assert_allclose(found.samples[0], tone()[:read], atol=2**-15)
    assert found.remarks == [["with a header that tells a wrong length"]]


def test_what_is_cut_off_is_read_and_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone())
    path.write_bytes(path.read_bytes()[:-1001])
    found = read_recordings([path], RATE)
    assert found.remarks == [["with a header that tells a wrong length"]]
    assert len(found.samples[0]) == 4000 - 501


@pytest.mark.parametrize("what", ["stereo", "other rate", "lying", "cut mp3"])
def test_a_recording_in_pieces_is_that_as_a_whole(what: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.mp3" if what == "cut mp3" else "a.wav")
    if what == "stereo":
        written(path, numpy.stack([tone(), tone() / 2], 1))
    elif what == "other rate":
        written(path, tone(11_025, rate=11_025), 11_025)
    elif what == "lying":
        claiming(path, 99_999)
    else:
        path.write_bytes(written(path, tone(16_000)).read_bytes()[:3000])
    whole = read_recording(path, RATE)
    for seconds in (0.01, 0.1, 9):
        pieces = numpy.concatenate([*blocks_of(path, RATE, seconds)])
        numpy.testing.assert_allclose(pieces, whole, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        *("missing.wav", "empty.wav", "text.wav", "header.wav", "half.flac", "slow.wav"),
        "nan.wav",
    ],
)
def test_pieces_of_what_is_no_recording(name: str, tmp_path: Path) -> None:
    path = bad(tmp_path, name)
    with pytest.raises(DataError, match=BAD[name][1].format(path=path)):
        list(blocks_of(path, RATE))


def test_silent_and_clipped_recordings_are_read_and_told(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a.wav", numpy.zeros(100)),
        written(tmp_path / "b.wav", (3 * tone()).clip(-1, 1)),
        written(tmp_path / "c.wav", tone()),
    ]
    found = read_recordings(paths, RATE)
    assert found.remarks == [["silent"], ["clipped"], []]
    assert found.told([0, 1, 2]) == {"silent": 1, "clipped": 1}
    frames, _ = Features(SoundOptions(sample_rate=RATE))(torch.zeros(1, 100), torch.tensor([100]))
    torch.testing.assert_close(frames, torch.full_like(frames, numpy.log(FLOOR)))


BAD = {
    "missing.wav": (None, "there is no file {path}"),
    "empty.wav": (b"", "{path} is empty"),
    "text.wav": (b"hello", r"{path} is no recording that can be read: Format not recognised"),
    "cut.wav": (30, r"{path} is no recording that can be read: .*'data' chunk"),
    "header.wav": (44, "{path} has no samples"),
    "half.flac": (0.5, "{path} is no recording that can be read: flac decoder lost sync"),
    "half.ogg": (0.5, "{path} is no recording that can be read: .*malformed"),
    "slow.wav": ("rate", r"{path} says that it has 7 samples a second"),
    "nan.wav": ("nan", "{path} has samples that are no number"),
    "short.wav": ("short", "{path} is too short"),
}


def bad(folder: Path, name: str) -> Path:
    what, path = BAD[name][0], folder / name
    if what == "nan":
        return written(path, numpy.array([0, numpy.nan]), subtype="FLOAT")
    if what == "short":
        return written(path, tone(1), 48_000)
    if isinstance(what, bytes):
        path.write_bytes(what)
    elif what is not None:
        content = written(path, tone(), 7 if what == "rate" else RATE).read_bytes()
        size = {"rate": len(content)}.get(str(what), what)
        path.write_bytes(content[: int(size * len(content)) if size == 0.5 else int(size)])
    return path


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_recording_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = bad(tmp_path, name)
    with pytest.raises(DataError, match=BAD[name][1].format(path=path)):
        read_recording(path, RATE)


def test_bad_recordings_are_named_by_row_or_left_out(tmp_path: Path) -> None:
    paths = [written(tmp_path / "a.wav", tone()), bad(tmp_path, "text.wav")]
    found, table = read_recordings(paths, RATE), Path("words.csv")
    with pytest.raises(DataError, match=r"^words.csv: record 2: .*text.wav is no .*skip_bad=True"):
        found.usable(table, ["record 1", "record 2"], skip_bad=False)
    with pytest.raises(DataError, match=rf"^{paths[1]} is no recording"):
        found.usable(table, (), skip_bad=False)
    left_out = {"recordings that cannot be used": 1}
    assert found.usable(table, (), skip_bad=True) == ([0], left_out)
    with pytest.raises(DataError, match="has no recording that can be used"):
        read_recordings(paths[1:], RATE).usable(table, (), skip_bad=True)


def test_large_recordings_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    paths = [written(tmp_path / f"{k}.wav", tone(100 * k + 1)) for k in range(5)]
    paths.append(bad(tmp_path, "text.wav"))
    memory = read_recordings(paths, RATE)
    monkeypatch.setattr(contents, "LARGE", 0)
    told: list[str] = []
    with watched(lambda what, *_: told.append(what)):
        disk = [read_recordings(paths, RATE) for _ in range(2)]
    assert told.count("preparing recordings") == len(paths)
    assert told.count("reading recordings") == 2 * len(paths)
    assert len([*(tmp_path / "cache").glob("*.arrow")]) == 1
    for each in disk:
        assert each.problems == memory.problems
        assert each.samples.lengths.tolist() == [1, 101, 201, 301, 401, 0]
        for one, other in zip(each.samples, memory.samples, strict=True):
            assert one.tobytes() == other.tobytes()
    some = memory.samples.taken([3, 1]).taken([1])
    assert some[0].tobytes() == memory.samples[1].tobytes()
    written(paths[0], tone(50))  # the content decides, not the name
    assert read_recordings(paths, RATE).samples.lengths[0] == 50


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.wav", tone())
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anyrnn\[speech\]'"):
        read_recording(path, RATE)


SOUNDS = [
    SoundOptions(sample_rate=RATE),
    SoundOptions(sample_rate=RATE, window=0.0301, hop=0.0123, mels=23),
    SoundOptions(sample_rate=11_025, features="mfcc"),
    SoundOptions(sample_rate=16_000, features="mfcc", coefficients=40),
]


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal")
@pytest.mark.parametrize("options", SOUNDS)
@pytest.mark.parametrize("count", [1, 97, 5003])
def test_features_are_those_of_librosa(options: SoundOptions, count: int) -> None:
    features, samples = Features(options), speech(count)
    found, counts = features(samples[None], torch.tensor([count]))
    mel = librosa.feature.melspectrogram(
        y=samples.numpy().astype(numpy.float64),
        sr=options.sample_rate,
        n_fft=features.fft_size,
        hop_length=features.hop,
        win_length=len(features.window),
        n_mels=options.mels,
        pad_mode="constant",
        dtype=numpy.float64,
    )
    expected = librosa.power_to_db(mel, amin=FLOOR, top_db=None)
    if options.features == "mfcc":
        expected = librosa.feature.mfcc(S=expected, n_mfcc=options.coefficients)
    assert counts.tolist() == [expected.shape[1]]
    expected = torch.from_numpy(expected.T / DECIBELS).float()
    torch.testing.assert_close(found[0], expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("normalisation", ["training", "recording"])
@pytest.mark.parametrize("options", SOUNDS)
def test_padding_changes_no_features(options: SoundOptions, normalisation: str) -> None:
    chosen = SoundOptions(**{**options.plain(), "normalisation": normalisation})
    recordings = [speech(count, seed=count) for count in (1, 799, 800, 3001, 160)]
    features = Features(chosen, Features(chosen).measured(recordings))
    lengths = torch.tensor([len(each) for each in recordings])
    padded = torch.nn.utils.rnn.pad_sequence(recordings, True)
    together, counts = features(torch.nn.functional.pad(padded, (0, 5000)), lengths)
    for row, each in enumerate(recordings):
        (alone,), (count,) = features(each[None], lengths[row : row + 1])
        assert count == counts[row] == len(alone)
        torch.testing.assert_close(together[row, :count], alone, atol=1e-4, rtol=1e-4)
        assert not together[row, count:].any()


@pytest.mark.parametrize("normalisation", ["training", "recording"])
def test_normalised_features_have_mean_0_and_deviation_1(normalisation: str) -> None:
    options = SoundOptions(sample_rate=RATE, normalisation=normalisation)
    recordings = [speech(count, seed=count) for count in (900, 3001)]
    features = Features(options, Features(options).measured(recordings))
    found = [features(each[None], torch.tensor([len(each)]))[0][0] for each in recordings]
    scaled = [torch.cat(found)] if normalisation == "training" else found
    for each in scaled:
        torch.testing.assert_close(each.mean(0), torch.zeros(40), atol=1e-4, rtol=0)
        torch.testing.assert_close(each.std(0, correction=0), torch.ones(40), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.unscaled(features.scaled(scaled[0])), scaled[0])
    plain = Features(SoundOptions(sample_rate=RATE, normalisation="none"))
    expected = plain.described(plain.energies(recordings[0][None]))
    torch.testing.assert_close(plain(recordings[0][None], torch.tensor([900]))[0], expected)


@pytest.mark.parametrize("options", SOUNDS)
@pytest.mark.parametrize("size", [1, 77, 160, 1000, 9999])
def test_a_stream_gives_the_frames_of_the_whole(options: SoundOptions, size: int) -> None:
    samples = speech(2003)[None]
    features = Features(options, Features(options).measured(samples))
    stream = features.stream()
    frames = [stream.push(part) for part in samples.split(size, 1)]
    frames.append(stream.finish())
    whole, _ = features(samples, torch.tensor([2003]))
    torch.testing.assert_close(torch.cat(frames, 1), whole, atol=1e-4, rtol=1e-4)
    stream = features.stream(3)
    pieces = [stream.push(part) for part in samples.split(size, 1)]
    assert all(piece.shape[1] % 3 == 0 for piece in pieces)
    pieces.append(stream.finish())
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-4, rtol=1e-4)


def test_features_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match=r"hop is 0\.03, longer than window, 0\.025"):
        Features(SoundOptions(hop=0.03))
    with pytest.raises(OptionError, match="coefficients is 41, but mels is 40"):
        Features(SoundOptions(features="mfcc", coefficients=41))
    with pytest.raises(OptionError, match=r"mels is 200, but \d+ of the bands"):
        Features(SoundOptions(sample_rate=RATE, mels=200))
    with pytest.raises(OptionError, match="normalisation=recording needs the whole recording"):
        Features(SoundOptions(normalisation="recording")).stream()


LENGTHS = torch.tensor([4000, 2500, 1])


def batch() -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([speech(n) for n in LENGTHS.tolist()], True)


def test_a_shift_moves_recordings_within_their_length() -> None:
    change = Augmentation(AugmentationOptions(time_shift=0.05), RATE)
    counted = [torch.arange(1.0, length + 1) for length in LENGTHS.tolist()]
    waveforms = torch.nn.utils.rnn.pad_sequence(counted, True)
    torch.manual_seed(0)
    seen = set()
    for _ in range(50):
        found, _ = change.waveforms(waveforms, LENGTHS)
        for row, length in enumerate(LENGTHS[:2].tolist()):
            shift = 2000 - int(found[row, 2000]) + 1
            expected = torch.arange(1.0, length + 1) - shift
            expected[(expected < 1) | (expected > length)] = 0
            assert found[row, :length].equal(expected)
            assert not found[row, length:].any()
            seen.add(shift)
    assert -400 <= min(seen) < -300
    assert 300 < max(seen) <= 400


def test_noise_is_as_weak_as_asked_for() -> None:
    change = Augmentation(AugmentationOptions(noise=10), RATE)
    torch.manual_seed(0)
    ratios = []
    for _ in range(50):
        noise = change.waveforms(batch(), LENGTHS)[0] - batch()
        assert not noise[1, 2500:].any()
        powers = [each[0, :4000].square().mean() for each in (batch(), noise)]
        ratios.append(10 * float((powers[0] / powers[1]).log10()))
    assert 9.5 < min(ratios) < 15
    assert 35 < max(ratios) < 40.5


def test_masks_cover_what_they_may() -> None:
    options = AugmentationOptions(
        time_masks=1, time_mask_share=0.2, frequency_masks=1, frequency_mask_bands=5
    )
    torch.manual_seed(0)
    counts, ones = torch.tensor([50, 30]), torch.ones(2, 50, 20)
    frames, bands = set(), set()
    for _ in range(200):
        found = Augmentation(options, RATE).features(ones, counts)
        for row, count in enumerate(counts.tolist()):
            missing = found[row, :count] == 0
            frames.add((row, int(missing.all(1).sum())))
            bands.add(int(missing.all(0).sum()))
            across = missing[~missing.all(1)]
            assert (across == across[0]).all()
    assert {width for row, width in frames if row == 0} == set(range(11))
    assert {width for row, width in frames if row == 1} == set(range(7))
    assert bands == set(range(6))


def test_speed_changes_length_and_pitch() -> None:
    torch.manual_seed(0)
    waveforms = torch.from_numpy(numpy.stack([tone(4000, 20)] * 30))
    waveforms[:10, 2000:] = 0
    lengths = torch.tensor([2000] * 10 + [4000] * 20)
    change = Augmentation(AugmentationOptions(speed=0.2), RATE)
    found, changed = change.waveforms(waveforms, lengths)
    speeds = lengths / changed
    assert 0.8 <= float(speeds.min()) < 0.85
    assert 1.15 < float(speeds.max()) <= 1.201
    for each, length, speed in zip(found, changed.tolist(), speeds.tolist(), strict=True):
        expected = tone(length, 20 * speed)[: length - 2]
        torch.testing.assert_close(
            each[: length - 2], torch.from_numpy(expected), atol=0.02, rtol=0
        )
        assert not each[length:].any()
    same, unchanged = at_other_speeds(waveforms, lengths, 0.0)
    assert unchanged.equal(lengths)
    torch.testing.assert_close(same, waveforms)


def test_changes_follow_from_the_seed() -> None:
    options = AugmentationOptions(
        speed=0.1, time_shift=0.1, noise=5, time_masks=2, frequency_masks=2
    )
    features, change = Features(SoundOptions(sample_rate=RATE)), Augmentation(options, RATE)

    def changed(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return change.features(*features(*change.waveforms(batch(), LENGTHS)))

    assert torch.equal(changed(1), changed(1))
    assert not torch.equal(changed(1), changed(2))
    nothing = Augmentation(AugmentationOptions(), RATE)
    assert nothing.waveforms(batch(), LENGTHS)[0].equal(batch())
    assert nothing.features(batch()[..., None], LENGTHS).equal(batch()[..., None])
