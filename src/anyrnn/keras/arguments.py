"""Checks of what constructors take as those of Keras' layers do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from anyrnn.errors import AnyrnnError, InputError, SizeError
from anyrnn.graph.sizes import as_whole
from anyrnn.graph.symbols import as_number
from anyrnn.keras.activations import check

FLAGS = frozenset((
    *("use_bias", "unit_forget_bias", "reset_after", "return_sequences", "return_state"),
    *("go_backwards", "stateful", "unroll", "zero_output_for_mask"),
))  # fmt: skip
ACTIVATIONS = ("activation", "recurrent_activation")
RATES = ("dropout", "recurrent_dropout")
MOST_UNITS = SEEDS = 1 << 31
ROLES: dict[str, Callable[[Any], Any]] = {
    "initializer": keras.initializers.get,
    "regularizer": keras.regularizers.get,
    "constraint": keras.constraints.get,
}


def check_units(given: Any) -> int | None:
    """The size of the hidden state, if it is given.

    Raises:
        SizeError: It is none, or more than can be addressed.
    """
    units = None if given is None else as_whole(given)
    if given is not None and (units is None or units < 1):
        raise SizeError(f"units={given!r}; expected a whole number of at least 1")
    if units is not None and units >= MOST_UNITS:
        raise SizeError(f"units={units} is more than can be addressed; use a smaller size")
    return units


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor by name, with whole numbers as Python's own.

    Raises:
        SizeError: The units are no size.
        InputError: Another one is not what it can be.
    """
    found = {**given}
    for name, value in given.items():
        _, _, role = name.rpartition("_")
        if name == "units":
            found[name] = check_units(value)
        elif name in FLAGS:
            if not (
                value is None or isinstance(value, bool | np.bool_) or as_whole(value) in (0, 1)
            ):
                raise InputError(f"{name}={value!r:.60}; expected True or False")
            found[name] = None if value is None else bool(value)
        elif name in RATES:
            if as_number(value) is None:
                raise InputError(f"{name}={value!r:.60}; expected a probability, from 0 to 1")
        elif name == "seed":
            found[name] = _seed(value)
        elif name in ACTIVATIONS:
            check(name, value)
        elif role in ROLES:
            with told(f"{name}={value!r:.60}"):
                ROLES[role](value)
        elif name == "dtype":
            with told(f"dtype={value!r:.60}"):
                keras.dtype_policies.get(value)
    return found


def _seed(given: Any) -> Any:
    """A seed: a whole number, or a generator of Keras.

    Raises:
        InputError: It is neither.
    """
    number = as_whole(given)
    if given is None or isinstance(given, keras.random.SeedGenerator):
        return given
    if number is None or not -SEEDS <= number < SEEDS:
        raise InputError(f"seed={given!r:.60}; expected a whole number below 2**31, or None")
    return number


@contextmanager
def told(what: str) -> Iterator[None]:
    """Where Keras reads what a user gives.

    Raises:
        InputError: Keras refuses it.
    """
    try:
        yield
    except AnyrnnError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: {' '.join(str(error).split())[:200]}") from error


def by_name(
    construct: Any, kind: str, positional: tuple[Any, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What a constructor is given, by name.

    Args:
        construct: The constructor.
        kind: The name of its class.
        positional: Its arguments that are given by position.
        given: Those that are given by name.

    Raises:
        InputError: One is missing, given twice, or more than it takes.
    """
    try:
        bound = inspect.signature(construct).bind(None, *positional, **given).arguments
    except TypeError as error:
        raise InputError(f"{kind}: {error}") from None
    _, *arguments = bound.items()
    found: dict[str, Any] = dict(arguments)
    return found | found.pop("kwargs", {})
