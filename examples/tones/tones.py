"""Writes a voice that is easy to learn: each letter from a to g is a note, a space is silence."""

import random
import sys
import wave
from pathlib import Path

import numpy

RATE, SECONDS, COUNT = 8_000, 0.12, 200
NOTES = dict(zip("abcdefg", (440.0, 493.9, 523.3, 587.3, 659.3, 698.5, 784.0), strict=True))


def sound(text: str) -> numpy.ndarray:
    """The samples of a text: notes with three overtones that fade, and a little noise."""
    time = numpy.arange(round(SECONDS * RATE)) / RATE
    loudness = 0.3 * numpy.exp(-12 * time) * numpy.minimum(1, time / 0.005)
    silence = numpy.zeros(len(time))
    notes = [
        loudness * sum(numpy.sin(2 * numpy.pi * NOTES[letter] * k * time) / k for k in (1, 2, 3, 4))
        if letter in NOTES
        else silence
        for letter in text
    ]
    samples = numpy.concatenate(notes)
    return samples + numpy.random.default_rng(len(text)).normal(0, 0.001, len(samples))


def write(folder: Path, count: int = COUNT) -> None:
    """Write recordings, and a table of them and of what is said in them."""
    random.seed(0)
    folder.mkdir()
    rows = ["file\ttext"]
    for number in range(count):
        words = ("".join(random.choices("abcdefg", k=random.randint(2, 4))) for _ in range(2))
        text = " ".join(words)
        with wave.open(str(folder / f"{number:03}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((32_767 * sound(text)).astype("<i2").tobytes())
        rows.append(f"{number:03}\t{text}")
    (folder / "texts.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "tones"))
