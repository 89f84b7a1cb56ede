"""Options that are one number for all states, or one for some by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell


def by_state(
    cell: Cell,
    option: str,
    given: float | Mapping[str, float],
    check: Callable[[str, object], float],
) -> dict[str, float]:
    """A number for each state, or for some of them.

    Args:
        cell: The cell.
        option: What the option is called.
        given: A number for all states, or for some by name.
        check: Takes the option's name and a number, and gives the number if it is right.

    Raises:
        CellError: A number is not right, or no state has that name.
    """
    named = given if isinstance(given, Mapping) else dict.fromkeys(cell.states, given)
    for name in named:
        if name not in cell.states:
            raise CellError(
                f"{option}={dict(named)}: cell '{cell.name}' has no state '{name}'; "
                f"its states are: {', '.join(cell.states)}"
            )
    return {name: check(option, number) for name, number in named.items()}
