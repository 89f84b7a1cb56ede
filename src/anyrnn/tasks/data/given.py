"""Inputs that Python gives instead of files."""

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from pandas import DataFrame

from anyrnn.errors import DataError


def as_list(inputs: Any, unit: str) -> list[Any]:
    """Several inputs as a list.

    Args:
        inputs: A list, an array, a column of a frame, a generator, ...
        unit: What one of them is called.

    Raises:
        DataError: It is one input in the place of several, or has none in an order.

    Example:
        >>> as_list((word for word in ("go", "stop")), "word")
        ['go', 'stop']
    """
    needed = f"but a list of {unit}s is needed"
    if isinstance(inputs, str | bytes | Path):
        raise DataError(f"one {unit} was given, {needed}")
    # An array without axes looks as if it had elements.
    plain = getattr(inputs, "ndim", 1) and isinstance(inputs, Iterable)
    if not plain or isinstance(inputs, Set | Mapping | DataFrame):
        raise DataError(f"a {type(inputs).__name__} was given, {needed}")
    to_list = getattr(inputs, "to_pylist", None)  # of pyarrow, whose elements are no str
    return list(inputs) if to_list is None else to_list()
