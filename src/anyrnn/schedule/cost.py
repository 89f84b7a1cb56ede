"""How many floating-point operations a node takes, as a polynomial of the sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size


class SizePolynomial:
    """A number of operations or elements, as a polynomial of named sizes.

    Args:
        terms: The coefficient of each product of names.

    Example:
        >>> from anyrnn.graph.sizes import Size
        >>> from anyrnn.schedule.cost import SizePolynomial
        >>> hidden = Size.of("hidden")
        >>> print(SizePolynomial.of(hidden.scaled(3), hidden) + SizePolynomial.of(hidden + 2))
        3 hidden² + hidden + 2
    """

    def __init__(self, terms: Mapping[tuple[str, ...], int]) -> None:
        self.terms = {names: factor for names, factor in terms.items() if factor}

    @staticmethod
    def of(*sizes: Size | int) -> SizePolynomial:
        """The product of some sizes."""
        total = Counter({(): 1})
        for size in map(Size.of, sizes):
            found: Counter[tuple[str, ...]] = Counter()
            for names, factor in total.items():
                found[names] += factor * size.constant
                for atom, own in size.terms:
                    found[tuple(sorted((*names, str(atom))))] += factor * own
            total = found
        return SizePolynomial(total)

    def __add__(self, other: SizePolynomial) -> SizePolynomial:
        """The sum."""
        total = Counter(self.terms)
        total.update(other.terms)
        return SizePolynomial(total)

    def __str__(self) -> str:
        """The terms of the highest degree first, for example `3 hidden² + 2`."""
        text = ""
        for names, factor in sorted(self.terms.items(), key=lambda term: (-len(term[0]), term[0])):
            powers = Counter(names).items()
            parts = [name if power == 1 else f"{name}²" for name, power in powers]
            number = [] if abs(factor) == 1 and names else [str(abs(factor))]
            sign = (" - " if factor < 0 else " + ") if text else "-" * (factor < 0)
            text += sign + " ".join([*number, *parts])
        return text or "0"


def operations(node: Node) -> SizePolynomial:
    """The floating-point operations of a node for one row; a function counts as one."""
    shapes = [value.type.shape for value in (node, *node.arguments[:1])]
    return SizePolynomial.of(node.traits.cost, *max(shapes, key=len))
