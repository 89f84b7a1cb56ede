"""Numbers that follow from the steps of a run, for commands that are recorded once for all of them.

Sequences of one length have as many rows in every step, and a run over them is recorded with
numbers. Where steps have fewer and fewer rows, other lengths would be another recording in each
call: there the numbers of rows and of steps are `Varying`, and a call writes what they are into
memory that has the recorded commands already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from anyrnn.kernels.cpu.program.row_division import divides_rows
from anyrnn.kernels.run import PlacedSteps, Steps

PART = 2048  # the most rows that are summed at a time: they fit the L2 cache
LEADING = 3  # bits of a number that are kept when it is rounded up


class Quotient(NamedTuple):
    """A varying number divided by a whole one, rounded down."""

    number: Varying
    divisor: int


class Varying:
    """A whole number that is known when commands run: a sum of multiples of others.

    Args:
        terms: Factors, by the indices of numbers, or by quotients.
        constant: What is added.
    """

    __slots__ = ("constant", "terms")

    def __init__(self, terms: Mapping[int | Quotient, int], constant: int = 0) -> None:
        self.terms, self.constant = {n: factor for n, factor in terms.items() if factor}, constant

    def __call__(self, numbers: Sequence[int]) -> int:
        """What it is, given the numbers."""
        total = self.constant
        for atom, factor in self.terms.items():
            if isinstance(atom, int):
                total += factor * numbers[atom]
            else:
                total += factor * (atom.number(numbers) // atom.divisor)
        return total

    @property
    def key(self) -> tuple[tuple[int | Quotient, int], ...]:
        """What two numbers have in common that differ by a constant."""
        return tuple(self.terms.items())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Varying):
            return not self.terms and self.constant == other
        return self.constant == other.constant and self.terms == other.terms

    def __hash__(self) -> int:
        return hash((self.constant, frozenset(self.terms.items())))

    def __add__(self, other: Count) -> Varying:
        if isinstance(other, int):
            return Varying(self.terms, self.constant + other)
        terms = dict(self.terms)
        for atom, factor in other.terms.items():
            terms[atom] = terms.get(atom, 0) + factor
        return Varying(terms, self.constant + other.constant)

    __radd__ = __add__

    def __mul__(self, factor: int) -> Varying:
        terms = {atom: factor * each for atom, each in self.terms.items()}
        return Varying(terms, self.constant * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Varying:
        return self * -1

    def __sub__(self, other: Count) -> Varying:
        return self + -other

    def __rsub__(self, other: Count) -> Varying:
        return -self + other

    def __floordiv__(self, divisor: int) -> Varying:
        parts = *self.terms.values(), self.constant
        if all(part % divisor == 0 for part in parts):
            terms = {atom: factor // divisor for atom, factor in self.terms.items()}
            return Varying(terms, self.constant // divisor)
        return Varying({Quotient(self, divisor): 1})


Count = int | Varying


def value_of(count: Count, numbers: Sequence[int]) -> int:
    """What a number is, given those that others follow from."""
    return count if isinstance(count, int) else count(numbers)


def rounded_up(number: int) -> int:
    """The largest of the numbers that share a recording with one: at most a quarter more."""
    step = 1 << max(0, number.bit_length() - LEADING)
    return -(-number // step) * step


class Segment(NamedTuple):
    """Some steps of a run, and their rows; both are half-open ranges.

    Attributes:
        odd: Whether their number is odd.
        parts: Of how many parts gradients are sums, so that the rows of a part stay in a cache.
    """

    start: Count
    stop: Count
    first: Count
    last: Count
    odd: bool
    parts: int


@dataclass(frozen=True, eq=False)
class RecordedSteps:
    """The steps of a run while it is recorded.

    Attributes:
        steps: Those of the run that is recorded.
        count: The number of segments that they are divided into.
    """

    steps: Steps
    count: int

    @property
    def constant(self) -> bool:
        """Whether every step has a row of each sequence; then no number varies."""
        return self.steps.constant

    @cached_property
    def edges(self) -> list[int]:
        """The steps at which segments begin, and the number of steps."""
        total = len(self.steps.batch_sizes)
        return [total * place // self.count for place in range(self.count + 1)]

    @cached_property
    def numbers(self) -> list[int]:
        """What varying numbers follow from: the edges, the rows at which their steps begin, the
        number of sequences; those of padded arrays, of given states and of last states.
        """
        steps, placed = self.steps, ()
        if isinstance(steps, PlacedSteps):
            placed = steps.padded, steps.given, len(steps.end)
        return [*self.edges, *map(steps.bounds.__getitem__, self.edges), steps.batch, *placed]

    def _number(self, place: int) -> Count:
        """One of these numbers; the steps and the rows of the first segment begin at 0."""
        first = place in (0, self.count + 1)
        return self.numbers[place] if self.constant or first else Varying({place: 1})

    @property
    def batch(self) -> Count:
        """The number of sequences."""
        return self._number(2 * self.count + 2)

    @property
    def placed(self) -> bool:
        """Whether rows are in padded arrays."""
        return isinstance(self.steps, PlacedSteps)

    @property
    def padded(self) -> Count:
        """The number of rows of padded arrays."""
        return self._number(2 * self.count + 3)

    @property
    def given(self) -> Count:
        """The number of states that are given."""
        return self._number(2 * self.count + 4) if self.placed else self.batch

    @property
    def ended(self) -> Count:
        """The number of last states."""
        return self._number(2 * self.count + 5) if self.placed else self.batch

    @property
    def most_given(self) -> int:
        """The most states that are given in the runs that share the recording."""
        return rounded_up(self.steps.given) if isinstance(self.steps, PlacedSteps) else 0

    @property
    def rows(self) -> Count:
        """The number of rows of all steps."""
        return self._number(2 * self.count + 1)

    @property
    def segments(self) -> list[Segment]:
        """The segments, in the order of steps."""
        shift, found = self.count + 1, []
        for place, (odd, parts) in enumerate(zip(*self._shares, strict=True)):
            steps, rows = ((self._number(n), self._number(n + 1)) for n in (place, place + shift))
            found.append(Segment(*steps, *rows, odd, parts))
        return found

    @property
    def _bounds(self) -> list[int]:
        """The rows at which segments begin, and the number of rows."""
        return self.numbers[self.count + 1 : 2 * self.count + 2]

    @property
    def _shares(self) -> tuple[list[bool], list[int]]:
        """For each segment whether its number of steps is odd, and the parts of its rows."""
        steps, rows = self.numbers[: self.count + 1], self._bounds
        odd = [bool((stop - start) % 2) for start, stop in pairwise(steps)]
        return odd, [-(-(last - first) // PART) for first, last in pairwise(rows)]

    @property
    def odd(self) -> bool:
        """Whether the number of steps is odd."""
        return bool(self.edges[-1] % 2)

    @property
    def single(self) -> bool:
        """Whether there is one step."""
        return self.edges[-1] == 1

    @property
    def mean(self) -> float:
        """How many rows a step has on average."""
        return self.steps.rows / len(self.steps.batch_sizes)

    @cached_property
    def most(self) -> tuple[int, int]:
        """The most sequences and steps of the runs that share the recording."""
        sizes = self.steps.batch, len(self.steps.batch_sizes)
        return sizes if self.constant else (rounded_up(sizes[0]), rounded_up(sizes[1]))

    @property
    def most_steps(self) -> int:
        """The most steps of a segment."""
        return -(-self.most[1] // self.count)

    @property
    def most_rows(self) -> int:
        """The most rows of a segment."""
        if self.constant:
            return max(last - first for first, last in pairwise(self._bounds))
        return self.most[0] * self.most_steps

    @property
    def most_part(self) -> int:
        """The most rows of a part of a segment."""
        return min(self.most_rows, PART)

    def kind(self, threads: int) -> Any:
        """What runs have in common that share the recording, with so many threads."""
        odd, parts = self._shares
        shared = *self.most, self.most_part, self.most_given, *odd, *parts
        return self.placed, self.constant, divides_rows(self.mean, threads), *shared
