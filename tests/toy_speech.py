"""Recordings of letters that are tones, as easy to learn as can be."""

import itertools
from pathlib import Path

import numpy
import soundfile

RATE = 8000
TONES = {"a": 400, "b": 700, "c": 1100, "d": 1700}
WORDS = ["ab", "ba", "cad", "dd"]
TEXTS = [" ".join(some) for some in itertools.product(WORDS, repeat=2)] + WORDS


def spoken(text: str, seed: int = 0) -> numpy.ndarray:
    """The samples of a text: a tone for each letter, longer silence for a space."""
    drawn = numpy.random.default_rng([seed, *text.encode()])
    pieces = [numpy.zeros(drawn.integers(200, 500))]
    for letter in text:
        times = numpy.arange(drawn.integers(500, 700)) / RATE
        tone = numpy.sin(2 * numpy.pi * TONES.get(letter, 0) * times) / 2
        pieces += [tone, numpy.zeros(drawn.integers(160, 300))]
    samples = numpy.concatenate(pieces)
    return (samples + drawn.normal(size=len(samples)) / 200).astype(numpy.float32)


def write_spoken(folder: Path, texts: list[str], table: str = "spoken.tsv") -> Path:
    """A table of recordings, and these."""
    rows = ["file\ttext"]
    for number, text in enumerate(texts):
        name = f"{table.partition('.')[0]}{number}"
        soundfile.write(folder / f"{name}.wav", spoken(text, number), RATE)
        rows.append(f"{name}\t{text}")
    (folder / table).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / table
