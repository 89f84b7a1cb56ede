"""The order of labels, which is that of the classes."""

from pathlib import Path

from toy_reviews import write_csv

from anyrnn.tasks.classify import DataOptions
from anyrnn.tasks.classify.data import read, sorted_labels

NUMBERS = ["-2", "0.5", "1", "01", "1e1", "20", "30.5", "1e300"]
WORDS = ["-nan", "1e400", "Infinity", "NaN", "a", "inf", "nan"]


def test_labels_have_one_order_whatever_the_hash_seed(tmp_path: Path) -> None:
    labels = sorted([*NUMBERS, *WORDS])
    for order in (labels, labels[::-1], labels[7:] + labels[:7]):
        rows = [(f"text {number}", label) for number in range(5) for label in order]
        path = write_csv(tmp_path / "a.csv", rows)
        data = read(DataOptions(path, "review", "sentiment"), seed=0)
        assert sorted_labels(data.training) == [
            *["-2", "0.5", "01", "1", "1e1", "20", "30.5", "1e300"],
            *WORDS,
        ]
