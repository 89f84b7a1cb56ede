"""Writes recordings of Morse code, and a table of what they say."""

import random
import sys
from pathlib import Path

import numpy
import soundfile

RATE = 8000
WORDS = [
    "sos",
    "tea",
    "net",
    "ten",
    "tan",
    "sea",
    "east",
    "rest",
    "nose",
    "star",
    "rain",
    "sand",
    "road",
    "deer",
    "arena",
    "north",
]
CODES = {
    "a": ".-",
    "d": "-..",
    "e": ".",
    "h": "....",
    "i": "..",
    "n": "-.",
    "o": "---",
    "r": ".-.",
    "s": "...",
    "t": "-",
}


def sent(text: str) -> numpy.ndarray:
    """The samples of a text: tones of one unit and of three, in some noise; between them a unit of
    silence, three after a letter, seven after a word. Speed and pitch are other ones each time.
    """
    unit, pitch = random.uniform(0.03, 0.05), random.uniform(500, 900)
    pieces = [numpy.zeros(int(random.uniform(0.1, 0.5) * RATE))]
    for letter in text:
        for mark in CODES.get(letter, ""):
            times = numpy.arange(int({".": 1, "-": 3}[mark] * unit * RATE)) / RATE
            silence = numpy.zeros(int(unit * RATE))
            pieces += [numpy.sin(2 * numpy.pi * pitch * times) / 2, silence]
        pieces.append(numpy.zeros(int((4 if letter == " " else 2) * unit * RATE)))
    samples = numpy.concatenate(pieces)
    noise = numpy.random.default_rng(random.getrandbits(32)).normal(size=len(samples))
    return samples + noise / 50


def write(folder: str, count: int) -> None:
    """Write recordings of one to three words, and `morse.tsv` with the columns file and text."""
    random.seed(0)
    path = Path(folder)
    path.mkdir(exist_ok=True)
    rows = ["file\ttext"]
    for number in range(count):
        text = " ".join(random.choices(WORDS, k=random.randint(1, 3)))
        soundfile.write(path / f"{number:04}.wav", sent(text), RATE)
        rows.append(f"{number:04}.wav\t{text}")
    (path / "morse.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
