from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from anyrnn.tasks.split import split_rows

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
