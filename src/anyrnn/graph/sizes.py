"""Sizes that are not numbers yet: linear forms such as `hidden` or `hidden + input`, and how
they are made equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any

from anyrnn.errors import SizeError


def as_whole(value: Any) -> int | None:
    """A whole number, Python's, NumPy's or a framework's, as Python's own; None for what is none,
    such as a boolean.
    """
    if isinstance(value, bool):
        return None
    try:
        return index(value)
    except (TypeError, RuntimeError):  # RuntimeError: a tensor without a value
        return None


class SizeVariable:
    """A size that tracing has not determined yet; `label` is how an error message calls it."""

    def __init__(self, label: str) -> None:
        self.label = label

    def __repr__(self) -> str:
        """The label."""
        return self.label


Atom = str | SizeVariable


@dataclass(frozen=True, repr=False)
class Size:
    """A linear form over named sizes: `Size.of("hidden") + 1` is one more than the hidden size."""

    terms: frozenset[tuple[Atom, int]]
    constant: int = 0

    @staticmethod
    def of(value: Atom | int | Size) -> Size:
        """A size from a name, a variable or a number."""
        if isinstance(value, Size):
            return value
        if isinstance(value, int):
            return Size(frozenset(), value)
        return Size(frozenset({(value, 1)}))

    def _combine(self, other: Size | Atom | int, sign: int) -> Size:
        right = Size.of(other)
        terms = dict(self.terms)
        for atom, factor in right.terms:
            terms[atom] = terms.get(atom, 0) + sign * factor
        kept = frozenset((atom, factor) for atom, factor in terms.items() if factor)
        return Size(kept, self.constant + sign * right.constant)

    def __add__(self, other: Size | Atom | int) -> Size:
        """The sum of two sizes."""
        return self._combine(other, 1)

    def __sub__(self, other: Size | Atom | int) -> Size:
        """The difference of two sizes."""
        return self._combine(other, -1)

    def scaled(self, factor: int) -> Size:
        """The size times a number."""
        terms = frozenset((atom, factor * own) for atom, own in self.terms)
        return Size(terms if factor else frozenset(), factor * self.constant)

    def divided(self, factor: int) -> Size | None:
        """The size divided by a number; None where that is no linear form of whole numbers."""
        if self.constant % factor or any(own % factor for _, own in self.terms):
            return None
        terms = frozenset((atom, own // factor) for atom, own in self.terms)
        return Size(terms, self.constant // factor)

    @property
    def variables(self) -> list[SizeVariable]:
        """The undetermined sizes in this form."""
        found = [atom for atom, _ in self.terms if isinstance(atom, SizeVariable)]
        return sorted(found, key=lambda variable: variable.label)

    @property
    def names(self) -> list[str]:
        """The named sizes in this form."""
        return sorted(atom for atom, _ in self.terms if isinstance(atom, str))

    @property
    def never_positive(self) -> bool:
        """Whether no choice of positive sizes makes this form positive."""
        return self.constant <= 0 and all(factor < 0 for _, factor in self.terms)

    def substitute(self, bindings: Mapping[Atom, Size]) -> Size:
        """The form with some of its atoms replaced, repeatedly."""
        size = self
        while any(atom in bindings for atom, _ in size.terms):
            result = Size.of(size.constant)
            for atom, factor in size.terms:
                result = result + bindings.get(atom, Size.of(atom)).scaled(factor)
            size = result
        return size

    def evaluate(self, numbers: Mapping[str, int]) -> int:
        """The size as a number, given the named ones.

        Raises:
            SizeError: One of the names has no number.
        """
        total = self.constant
        for atom, factor in self.terms:
            if not isinstance(atom, str) or atom not in numbers:
                raise SizeError(f"the size '{atom}' is not known; give {atom}_size")
            total += factor * numbers[atom]
        return total

    def __repr__(self) -> str:
        """As it is written."""
        return str(self)

    def __str__(self) -> str:
        """The form as a person writes it, for example `hidden + 2 input`."""
        ordered = sorted(self.terms, key=lambda term: (term[1] < 0, str(term[0])))
        text = ""
        for atom, factor in ordered:
            sign = (" - " if text else "-") if factor < 0 else (" + " if text else "")
            text += sign + (f"{abs(factor)} " if abs(factor) != 1 else "") + str(atom)
        if self.constant or not text:
            sign = " - " if self.constant < 0 else " + "
            text += f"{sign}{abs(self.constant)}" if text else str(self.constant)
        return text


class Unifier:
    """Unification: equations between sizes, solved as they come."""

    def __init__(self) -> None:
        self.bindings: dict[Atom, Size] = {}

    def resolve(self, size: Size) -> Size:
        """The size in terms of what is still undetermined."""
        return size.substitute(self.bindings)

    def unify(self, left: Size, right: Size, keep: Iterable[SizeVariable] = ()) -> bool:
        """Make two sizes equal, expressed by the variables to `keep`, the earlier ones first, where
        there is a choice.

        Returns:
            Whether positive sizes exist for which they are equal; if not, nothing is changed.
        """
        difference = self.resolve(left) - self.resolve(right)
        if not difference.terms:
            return difference.constant == 0
        factors = dict(difference.terms)
        places = {variable: place for place, variable in enumerate(keep, 1)}
        order = {v: (v in places, -places.get(v, 0), abs(factors[v])) for v in difference.variables}
        for variable in sorted(order, key=lambda v: order[v]):
            rest = Size.of(variable).scaled(factors[variable]) - difference
            solved = rest.divided(factors[variable])
            if solved is not None and not solved.never_positive:
                self.bindings[variable] = solved
                return True
        return False
