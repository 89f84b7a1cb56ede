"""How sure differences between cells are, against other ways to compute the same."""

from __future__ import annotations

import itertools

import numpy
import pytest
from scipy import stats

from anyrnn.studies.comparison.statistics import (
    contrast,
    corrected,
    seeds_needed,
    smallest_p,
)


def pairs(count: int, shift: float, seed: int = 0) -> tuple[list[float], list[float]]:
    generator = numpy.random.default_rng(seed)
    one, other = generator.normal(0, 1, (2, count))
    return (one + shift).tolist(), other.tolist()


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_the_permutation_test_counts_every_flip_of_signs(count: int) -> None:
    ours, theirs = pairs(count, 0.7)
    differences = numpy.subtract(ours, theirs)
    flipped = [
        abs(numpy.mean(signs * differences)) for signs in itertools.product([1, -1], repeat=count)
    ]
    expected = numpy.mean(numpy.array(flipped) >= abs(differences.mean()) - 1e-12)
    found = contrast("a", "b", ours, theirs, larger_is_better=True)
    assert found.p == pytest.approx(expected)
    assert found.p >= smallest_p(count) == 2 / 2**count


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    ours, theirs = pairs(6, -1.0)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    found = contrast("a", "b", ours, theirs, larger_is_better=True)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(numpy.mean(ours) - numpy.mean(theirs))


def test_a_smaller_loss_is_better() -> None:
    found = contrast("a", "b", [0.1, 0.2, 0.1], [0.5, 0.6, 0.7], larger_is_better=False)
    assert found.mean > 0
    assert (found.better, found.worse) == (3, 0)


def test_holm_corrects_for_the_number_of_comparisons() -> None:
    found = [contrast("a", "b", *pairs(10, shift, 3), True) for shift in (2.0, 1.0, 0.2)]
    found = corrected(found)
    order = sorted(found, key=lambda each: each.p or 0)
    largest = 0.0
    for rank, each in enumerate(order):
        assert each.p is not None
        largest = max(largest, min(1.0, (len(order) - rank) * each.p))
        assert each.adjusted_p == pytest.approx(largest)


@pytest.mark.parametrize(
    ("shift", "count", "level", "verdict"),
    [
        (-9.0, 8, 0.05, "worse"),
        (9.0, 8, 0.05, "better"),
        (-9.0, 5, 0.05, "probably worse"),  # 5 seeds cannot reach 0.05
        (9.0, 5, 0.05, "probably better"),
        (-9.0, 5, 0.0625, "worse"),
        (0.1, 5, 0.05, "open"),
        (-9.0, 1, 0.05, "open"),
    ],
)
def test_the_verdict(shift: float, count: int, level: float, verdict: str) -> None:
    found = contrast("a", "b", *pairs(count, shift), larger_is_better=True)
    assert found.verdict(level) == verdict


def test_equal_results_are_no_difference() -> None:
    found = contrast("a", "b", [1.0] * 8, [1.0] * 8, larger_is_better=True)
    assert (found.p, found.low, found.high, found.verdict(0.05)) == (1.0, 0.0, 0.0, "open")


def test_the_same_difference_from_every_seed_has_an_interval_of_no_width() -> None:
    found = contrast("a", "b", [1.0] * 5, [0.5] * 5, larger_is_better=True)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_many_seeds_are_sampled_to_the_same_result_every_time() -> None:
    found = [contrast("a", "b", *pairs(20, 0.5), larger_is_better=True).p for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] == pytest.approx(stats.ttest_rel(*pairs(20, 0.5)).pvalue, abs=0.02)


def test_so_many_seeds_can_make_a_difference_certain() -> None:
    for level, count in ((0.05, 1), (0.05, 3), (0.01, 7)):
        needed = seeds_needed(level, count)
        assert smallest_p(needed) * count <= level < smallest_p(needed - 1) * count
