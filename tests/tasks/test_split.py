from collections import Counter
from pathlib import Path

import numpy
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from anyrnn.errors import OptionError
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.split import split_rows
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.registry import TASKS

ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=60)


@given(rows=ROWS, seed=st.integers(0, 5))
def test_every_row_once_and_no_group_divided(rows: list[tuple[int, int]], seed: int) -> None:
    groups, strata = zip(*rows, strict=True)
    parts = split_rows(groups, strata, [0.8, 0.1, 0.1], seed)
    assert sorted(row for part in parts for row in part) == list(range(len(rows)))
    seen = [{groups[row] for row in part} for part in parts]
    assert sum(map(len, seen)) == len(set(groups))
    assert parts == split_rows(groups, strata, [0.8, 0.1, 0.1], seed)


def test_shares_within_every_stratum() -> None:
    strata = ["a"] * 1000 + ["b"] * 100 + ["c"] * 3
    parts = split_rows(range(len(strata)), strata, [0.8, 0.1, 0.1], seed=3)
    counts = [Counter(strata[row] for row in part) for part in parts]
    assert counts == [
        {"a": 800, "b": 80, "c": 1},
        {"a": 100, "b": 10, "c": 1},
        {"a": 100, "b": 10, "c": 1},
    ]


def test_seed_changes_the_split() -> None:
    parts = [split_rows(range(50), [0] * 50, [0.5, 0.5], seed) for seed in (1, 2)]
    assert parts[0] != parts[1]


def test_a_large_group_does_not_starve_the_other_parts() -> None:
    groups = [0] * 90 + list(range(1, 11))
    parts = split_rows(groups, [0] * 100, [0.8, 0.1, 0.1], seed=0)
    assert all(parts)


FILES = {
    "classify": ("a.csv", "text,label\n", "word {0},{1}\n", {"text": "text", "label": "label"}),
    "tag": ("a.conll", "", "word{0} {1}\nthe X\n\n", {}),
    "generate": ("a.csv", "text\n", "word {0}\n", {"text": "text"}),
    "translate": ("a.csv", "x,y\n", "word {0},Wort {0}\n", {"source": "x", "target": "y"}),
    "transcribe": (
        "a.csv",
        "file,text\n",
        "a.wav,word {0}\n",
        {"recording": "file", "transcript": "text"},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_shares_of_every_task_that_splits(tmp_path: Path, name: str) -> None:
    file, head, row, columns = FILES[name]
    path, entry = tmp_path / file, TASKS[name]
    rows = (row.format(number, "AB"[number % 2]) for number in range(40))
    path.write_text(head + "".join(rows))
    soundfile.write(tmp_path / "a.wav", numpy.ones(400), 8000)

    def read(**shares: float) -> Data:
        return entry.task.read(from_flat(entry.options, {"data": path, **columns, **shares}))

    both = read(validation_share=0.25, test_share=0)
    assert both.validation is not None
    assert [name for name, _ in (both.deciding, both.measured)] == ["validation"] * 2
    none = read(validation_share=0, test_share=0.5)
    assert none.validation is None
    assert none.deciding == ("training", none.training)
    assert none.measured[0] == "test"
    assert any("the training part decides on the best epoch" in note for note in none.told())
    assert read(validation_share=0, test_share=0).measured[0] == "training"
    with pytest.raises(OptionError, match="validation_share and test_share leave nothing to train"):
        read(validation_share=0.5, test_share=0.5)
