"""The generator against its authors' known answers, and the numbers it gives."""

from __future__ import annotations

import numpy as np
import pytest

from anyrnn.graph.randomness import philox, uniform


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0x00000000, 0x00000000), 0x00000000, (0xFF1DAE59, 0x6CD10DF2)),
        ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, (0x2C3F628B, 0xAB4FD7AD)),
        ((0x243F6A88, 0x85A308D3), 0x13198A2E, (0xDD7CE038, 0xF62A4C12)),
    ],
)
def test_philox_gives_the_known_answers(counter, key, expected) -> None:
    found = philox(*(np.array([word], np.uint64) for word in (*counter, key)), rounds=10)
    assert tuple(int(word[0]) for word in found) == expected


def test_numbers_are_uniform() -> None:
    numbers = uniform(seed=5, stream=1, step=3, rows=200, units=500)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, 10, (0, 1))[0]
    np.testing.assert_allclose(counts, 10000, rtol=0.05)
    for axis in (0, 1):  # neighbours have nothing to do with each other
        one, two = np.moveaxis(numbers, axis, 0)[:-1], np.moveaxis(numbers, axis, 0)[1:]
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.02


def test_every_place_has_numbers_of_its_own() -> None:
    first = {"seed": 1, "stream": 0, "step": 0, "rows": 3, "units": 4}
    base = uniform(**first)
    for change in ({"seed": 2}, {"seed": 1 + (1 << 32)}, {"stream": 1}, {"step": 1}):
        assert not np.isclose(uniform(**{**first, **change}), base).any()
    np.testing.assert_array_equal(uniform(**{**first, "rows": 2, "units": 3}), base[:2, :3])
