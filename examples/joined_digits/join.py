"""Joins recordings of the Free Spoken Digit Dataset: numbers of one to seven digits, and tables.

The recordings with the numbers 0 to 4 of each speaker and digit are for the test, as the data set
has it, all others for the training. All digits of a recording are of one speaker.
"""

import argparse
import random
from pathlib import Path

import numpy
import soundfile

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LONGEST = 7
GAP = 0.3  # seconds: the longest silence between two digits


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=Path, help="the folder recordings of the data set")
    parser.add_argument("folder", type=Path, help="the folder to write")
    parser.add_argument("--training", type=int, default=2000, help="how many to train with")
    parser.add_argument("--test", type=int, default=200, help="how many to measure with")
    given = parser.parse_args()
    random.seed(0)
    given.folder.mkdir(exist_ok=True)
    spoken: dict[str, dict[str, list[tuple[str, Path]]]] = {"training": {}, "test": {}}
    for path in sorted(given.recordings.glob("*.wav")):
        digit, speaker, number = path.stem.split("_")
        part = spoken["test" if int(number) < 5 else "training"]
        part.setdefault(speaker, []).append((DIGITS[int(digit)], path))
    for name, part in spoken.items():
        rows = ["file\ttext"]
        for count in range(getattr(given, name)):
            own = part[random.choice([*part])]
            chosen = random.choices(own, k=random.randint(1, LONGEST))
            file = f"{name}{count:04}.wav"
            write(given.folder / file, [path for _, path in chosen])
            rows.append(f"{file}\t{' '.join(word for word, _ in chosen)}")
        (given.folder / f"{name}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def write(path: Path, files: list[Path]) -> None:
    """Write recordings one after the other, with silence before, between and after them."""
    pieces, rate = [], 0
    for file in files:
        samples, rate = soundfile.read(file)
        pieces += [silence(rate), samples]
    soundfile.write(path, numpy.concatenate([*pieces, silence(rate)]), rate)


def silence(rate: int) -> numpy.ndarray:
    """Of some length."""
    return numpy.zeros(random.randrange(int(GAP * rate)))


if __name__ == "__main__":
    main()
