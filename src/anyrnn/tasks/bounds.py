"""The bounds of options that are numbers."""

from anyrnn.errors import SizeError

LARGEST_COUNT = 2**31 - 1
LARGEST_SEED = 2**63 - 1  # of all libraries that draw
_LARGEST_NUMBER = 1e38  # a float32 has no larger power of ten


def check_count(option: str, value: object, smallest: int, largest: int) -> None:
    """Check a whole number.

    Raises:
        SizeError: It is none, or too small or too large; the message names the bound.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise SizeError(f"{option} is {value!r}, but has to be a whole number")
    if value < smallest:
        raise SizeError(f"{option} is {value}, but has to be {smallest} or more")
    if value > largest:
        raise SizeError(f"{option} is {value}, but has to be {largest} or less")


def check_number(option: str, value: float, *, above: bool = False) -> None:
    """Check a number from 0 (or, with `above`, above 0) to the largest that float32 can hold.

    Raises:
        SizeError: It is smaller or larger, or NaN; the message names the bound.
    """
    if not (value > 0 if above else value >= 0):
        bound = "above 0" if above else "0 or more"
        raise SizeError(f"{option} is {value}, but has to be {bound}")
    if value > _LARGEST_NUMBER:
        raise SizeError(f"{option} is {value}, but has to be {_LARGEST_NUMBER:g} or less")
