"""Splitting rows into parts: stratified, repeatable, and without leaks between the parts."""

from collections.abc import Hashable, Sequence
from hashlib import blake2b
from typing import Any

import numpy
import pandas
from numpy.typing import NDArray


def key_of(content: str | bytes) -> int:
    """A number of 64 bits that is the same for equal contents."""
    plain = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    return int.from_bytes(blake2b(plain, digest_size=8).digest(), "little")


def split_rows(
    groups: Sequence[Hashable] | NDArray[Any],
    strata: Sequence[Hashable],
    shares: Sequence[float],
    seed: int,
) -> list[list[int]]:
    """Split rows into parts in which every stratum has its share and no group is divided.

    Args:
        groups: The group of each row: rows of one group land in the same part.
        strata: The stratum (such as the label) of each row.
        shares: The share of each part; they sum to 1.
        seed: Decides which rows land where; the same seed gives the same parts.

    Returns:
        The sorted row numbers of each part. Where a stratum has at least as many groups as there
        are parts, every part gets one of them.

    Example:
        >>> train, test = split_rows(["a", "b", "c", "a"], [0, 0, 0, 0], [0.7, 0.3], seed=0)
        >>> sorted(train + test)
        [0, 1, 2, 3]
    """
    group, _ = pandas.factorize(_array(groups), use_na_sentinel=False)
    stratum, different = pandas.factorize(_array(strata), use_na_sentinel=False)
    frequency = numpy.bincount(stratum, minlength=len(different))
    # A group of several strata counts for its rarest: that one has the fewest groups to spare.
    order = numpy.lexsort((frequency[stratum], group))
    _, first, sizes = numpy.unique(group[order], return_index=True, return_counts=True)
    rarest = stratum[order][first]
    generator = numpy.random.default_rng(seed)
    part_of = numpy.zeros(len(sizes), dtype=numpy.int64)
    by_stratum = numpy.argsort(rarest, kind="stable")
    ends = numpy.cumsum(numpy.bincount(rarest, minlength=len(different)))
    for number in pandas.unique(rarest):
        of_stratum = by_stratum[ends[number - 1] if number else 0 : ends[number]]
        shuffled = of_stratum[generator.permutation(len(of_stratum))]
        part_of[shuffled] = _assign(sizes[shuffled], shares)
    return [numpy.flatnonzero(part_of[group] == part).tolist() for part in range(len(shares))]


def _array(values: Sequence[Hashable] | NDArray[Any]) -> NDArray[Any]:
    """The values in an array, each as it is."""
    if isinstance(values, numpy.ndarray):
        return values
    return numpy.fromiter(values, dtype=object, count=len(values))


def _assign(sizes: NDArray[numpy.int64], shares: Sequence[float]) -> list[int]:
    """The part of each group: each part gets one, the smallest first; then always the neediest."""
    total = int(sizes.sum())
    needs = [share * total for share in shares]
    smallest_first = sorted(range(len(shares)), key=lambda part: (shares[part], -part))
    chosen = []
    for number, size in enumerate(sizes.tolist()):
        if len(sizes) >= len(shares) and number < len(shares):
            part = smallest_first[number]
        else:
            part = max(range(len(shares)), key=lambda candidate: needs[candidate])
        needs[part] -= size
        chosen.append(part)
    return chosen
