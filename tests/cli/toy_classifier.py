"""Reviews to be told apart, and what a run of the program on them gave."""

import random
from typing import NamedTuple

import pandas

from outcomes import mistake

SMALL = [
    "--hidden-size",
    "8",
    "--embedding-size",
    "8",
    "--learning-rate",
    "0.02",
    "--device",
    "cpu",
]
COLUMNS = ["--text", "review", "--label", "sentiment"]


class Outcome(NamedTuple):
    """What a run of the program gave: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that tells the mistake."""
        return mistake(self)


def reviews(count: int = 60) -> list[dict[str, str]]:
    generator = random.Random(1)
    rows = []
    for number in range(count):
        words = generator.choices(["the", "film", "was", "and", "plot", "scene"], k=6)
        words.insert(3, ["good", "bad"][number % 2])
        rows.append({"review": " ".join(words), "sentiment": ["pos", "neg"][number % 2]})
    return rows


def csv_text(rows: list[dict[str, str]], separator: str = ",") -> str:
    return pandas.DataFrame(rows).to_csv(index=False, sep=separator)
