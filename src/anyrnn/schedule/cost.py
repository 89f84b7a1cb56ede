"""How many operations a node takes, as a polynomial of sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size


class Cost:
    """A number as a polynomial of sizes.

    Args:
        terms: The factors, by the names that are multiplied.

    Example:
        >>> from anyrnn.graph.sizes import Size
        >>> from anyrnn.schedule.cost import Cost
        >>> hidden = Size.of("hidden")
        >>> print(Cost.of(hidden.scaled(3), hidden) + Cost.of(hidden + 2))
        3 hidden² + hidden + 2
    """

    def __init__(self, terms: Mapping[tuple[str, ...], int]) -> None:
        self.terms = {names: factor for names, factor in terms.items() if factor}

    @staticmethod
    def of(*sizes: Size | int) -> Cost:
        """The product of some sizes."""
        total = Counter({(): 1})
        for size in map(Size.of, sizes):
            found: Counter[tuple[str, ...]] = Counter()
            for names, factor in total.items():
                found[names] += factor * size.constant
                for atom, own in size.terms:
                    found[tuple(sorted((*names, str(atom))))] += factor * own
            total = found
        return Cost(total)

    def __add__(self, other: Cost) -> Cost:
        """The sum."""
        total = Counter(self.terms)
        for names, factor in other.terms.items():
            total[names] += factor
        return Cost(total)

    def __str__(self) -> str:
        """The terms of most sizes first."""
        text = ""
        for names, factor in sorted(self.terms.items(), key=lambda term: (-len(term[0]), term[0])):
            powers = Counter(names).items()
            parts = [name if power == 1 else f"{name}²" for name, power in powers]
            number = [] if abs(factor) == 1 and names else [str(abs(factor))]
            sign = (" - " if factor < 0 else " + ") if text else "-" * (factor < 0)
            text += sign + " ".join([*number, *parts])
        return text or "0"


def operations(node: Node) -> Cost:
    """The floating-point operations of a node for one row; a function counts as one."""
    shapes = [value.type.shape for value in (node, *node.arguments[:1])]
    return Cost.of(node.traits.cost, *max(shapes, key=len))
