"""Splitting rows into parts: stratified, repeatable, and without leaks between the parts."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy


def split_rows(
    groups: Sequence[Hashable], strata: Sequence[Hashable], shares: Sequence[float], seed: int
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
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    frequency = Counter(strata)
    by_stratum: dict[Hashable, list[list[int]]] = defaultdict(list)
    for rows in members.values():
        # A group of several strata counts for its rarest: that one has the fewest groups to spare.
        rarest = min((strata[row] for row in rows), key=lambda stratum: frequency[stratum])
        by_stratum[rarest].append(rows)
    generator = numpy.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in shares]
    for stratum_groups in by_stratum.values():
        order = generator.permutation(len(stratum_groups))
        shuffled = [stratum_groups[i] for i in order]
        for part, rows in zip(_assign(shuffled, shares), shuffled, strict=True):
            parts[part].extend(rows)
    return [sorted(part) for part in parts]


def _assign(groups: Sequence[Sequence[int]], shares: Sequence[float]) -> list[int]:
    """The part of each group: each part gets one, the smallest first; then always the neediest."""
    total = sum(len(rows) for rows in groups)
    needs = [share * total for share in shares]
    smallest_first = sorted(range(len(shares)), key=lambda part: (shares[part], -part))
    chosen = []
    for number, rows in enumerate(groups):
        if len(groups) >= len(shares) and number < len(shares):
            part = smallest_first[number]
        else:
            part = max(range(len(shares)), key=lambda candidate: needs[candidate])
        needs[part] -= len(rows)
        chosen.append(part)
    return chosen
