"""Makes `digits.npz` of the recordings of the Free Spoken Digit Dataset: features of sound, frame
by frame. `python features.py RECORDINGS` reads `{digit}_{speaker}_{index}.wav`, 8 kHz.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy

RATE = 8000  # samples a second
WINDOW, HOP = 256, 160  # samples: 32 ms, every 20 ms
BANDS = 16
RECORDINGS, TEST = 25, 5  # of each digit by each speaker; the first ones are the test part


def band_weights() -> numpy.ndarray:
    """Triangles that overlap, evenly spaced on the mel scale, (bands, frequencies)."""
    mel = numpy.linspace(0, 2595 * numpy.log10(1 + RATE / 2 / 700), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequencies = numpy.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return numpy.minimum(rising, falling).clip(0)


def features(path: Path) -> numpy.ndarray:
    """The energy of each band in each frame, in decibels, (frames, bands)."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE
        sound = numpy.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
    sound = numpy.pad(sound, (0, max(0, WINDOW - len(sound))))
    frames = numpy.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    power = numpy.abs(numpy.fft.rfft(frames * numpy.hanning(WINDOW))) ** 2
    return 10 * numpy.log10(power @ band_weights().T + 1e-6)


def main(folder: Path) -> None:
    """Write the features of both parts, in whole decibels."""
    arrays: dict[str, numpy.ndarray] = {}
    for part, indices in (("train", range(TEST, RECORDINGS)), ("test", range(TEST))):
        names = [path.stem.split("_") for path in sorted(folder.glob("*.wav"))]
        chosen = [name for name in names if int(name[2]) in indices]
        found = [features(folder / f"{'_'.join(name)}.wav") for name in chosen]
        arrays[f"x_{part}"] = numpy.concatenate(found).round().astype(numpy.int8)
        arrays[f"y_{part}"] = numpy.array([int(digit) for digit, _, _ in chosen], numpy.int8)
        arrays[f"lengths_{part}"] = numpy.array([len(each) for each in found], numpy.int16)
    numpy.savez_compressed("digits.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
