"""A small set of reviews that is easy to learn."""

import csv
import random
from pathlib import Path

GOOD = ("good", "great", "lovely", "fine")
BAD = ("bad", "awful", "dull", "poor")
FILLER = ("the", "film", "was", "and", "plot", "with", "actors", "scene", "it", "a")


def reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of filler words in which one word decides the label."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        words = generator.choices(FILLER, k=generator.randint(3, 9))
        label, telling = (("pos", GOOD), ("neg", BAD))[number % 2]
        words.insert(generator.randrange(len(words)), generator.choice(telling))
        rows.append((" ".join(words), label))
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    """A table with the columns `review` and `sentiment`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "sentiment"])
        writer.writerows(rows)
    return path
