"""Checks of what a user of NumPy arrays gives: arrays, a type, sizes, a number of threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from anyrnn.errors import InputError
from anyrnn.graph.sizes import as_whole
from anyrnn.kernels.host import usable_cores, usual_threads
from anyrnn.kernels.run import Array


def as_array(what: str, given: object) -> Array:
    """What NumPy makes of something that a user gives."""
    if isinstance(given, np.ma.MaskedArray):
        raise InputError(f"{what} is a masked array, whose mask has no meaning here; fill it first")
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{what} cannot be made an array: {reason}") from error


def checked_dtype(given: Any) -> np.dtype[Any]:
    """The type that is meant."""
    kind = None
    with suppress(TypeError):
        kind = None if given is None else np.dtype(given)
    if kind is None or kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError(f"dtype {kind or given}: kernels compute in float32 or float64")
    return kind


def named_sizes(given: Mapping[str, int]) -> dict[str, int]:
    """The sizes by their short names."""
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(
            f"sizes: a {type(given).__name__} was given; expected numbers by name, as in "
            "{'input': 3, 'hidden': 5}"
        )
    sizes: dict[str, int] = {}
    for name, number in given.items():
        short = name.removesuffix("_size")
        if short in sizes:
            raise InputError(f"sizes: {short} and {short}_size are the same size; give one of them")
        sizes[short] = number
    return sizes


def checked_threads(threads: object) -> int:
    """A number of threads, never more than there are cores; the usual one for None."""
    if threads is None:
        threads = usual_threads()
    number = as_whole(threads)
    if number is None or number < 1:
        raise InputError(f"threads={threads!r}; expected a whole number of at least 1")
    return min(number, usable_cores())
