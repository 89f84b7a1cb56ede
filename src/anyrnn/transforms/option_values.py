"""The values of options: bounds, probabilities, and numbers for all states or for some by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from anyrnn.errors import CellError, InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.symbols import as_number


def check_bound(option: str, bound: object) -> float:
    """Check a bound.

    Raises:
        CellError: It is no number above zero.
    """
    number = as_number(bound)
    if number is None or not 0 < number < math.inf:
        raise CellError(f"{option}={bound!r}; expected a number above zero")
    return float(number)


def check_rate(option: str, rate: object, error: type[Exception] = CellError) -> float:
    """Check a rate of dropout.

    Raises:
        error: It is no probability below 1.
    """
    number = as_number(rate)
    if number is None or not 0 <= number < 1:
        raise error(f"{option}={rate!r}; expected a probability, from 0 up to 1 without 1")
    return float(number)


def check_probability(option: str, value: object, error: type[Exception] = InputError) -> float:
    """Check a probability of dropout that may be 1.

    Raises:
        error: It is no probability.
    """
    number = as_number(value)
    if number is None or not 0 <= number <= 1:
        raise error(f"{option}={value!r}; expected a probability, from 0 to 1")
    return float(number)


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
