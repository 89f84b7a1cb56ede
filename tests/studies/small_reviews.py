"""Reviews in which one word decides the label."""

import random
from pathlib import Path


def write_reviews(path: Path, count: int = 80) -> Path:
    """A table with the columns `review` and `sentiment`."""
    generator = random.Random(1)
    lines = ["review,sentiment"]
    for number in range(count):
        words = generator.choices(["the", "film", "was", "plot"], k=4)
        words.insert(2, ["good", "bad"][number % 2])
        lines.append(f"{' '.join(words)},{['pos', 'neg'][number % 2]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
