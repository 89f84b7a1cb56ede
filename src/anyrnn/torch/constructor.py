"""Checks of what constructors take as those of torch.nn do: sizes, flags, a device, a type."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from anyrnn.errors import InputError, OptionError, SizeError
from anyrnn.graph.sizes import as_whole
from anyrnn.torch.layer_options import check_flag
from anyrnn.torch.vendor_path import rnn_mode
from anyrnn.transforms.option_values import check_probability

# arguments of torch.nn's layers after the sizes and the number of layers, and of its cells
LAYER_ARGUMENTS = (
    *("nonlinearity", "bias", "batch_first", "dropout", "bidirectional", "proj_size"),
    *("device", "dtype"),
)
CELL_ARGUMENTS = ("bias", "nonlinearity", "device", "dtype")  # torch checks the second in a call
FLAGS = frozenset(("bias", "batch_first", "bidirectional"))


def check_size(name: str, given: object, least: int = 1) -> int:
    """Check a size.

    Raises:
        SizeError: It is no whole number, or is too small or too large.
    """
    number = as_whole(given)
    if number is None or number < least:
        raise SizeError(f"{name}={given!r}; expected a whole number of at least {least}")
    if number > sys.maxsize // 8:
        raise SizeError(f"{name}={number} is more than can be addressed; use a smaller size")
    return number


def check_place(device: object, dtype: Any) -> None:
    """Check where parameters are to be, and of which type.

    Raises:
        InputError: There is no such device, or it is no type of floating-point numbers.
    """
    try:
        found = torch.empty(0, dtype=dtype, device="cpu")
    except TypeError:
        found = None
    if found is None or not (found.is_floating_point() or found.is_complex()):
        raise InputError(f"dtype={dtype!r}; expected a type of floats, such as torch.float32")
    try:
        torch.empty(0, device=device)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split(". ")[0].split())
        raise InputError(f"device={device!r:.60}: {reason}; expected one such as 'cpu'") from None


def way_out(name: str, own: Iterable[str], others: Iterable[str]) -> str:
    """What a message about an unknown option ends with: the nearest name that is known, or else
    those of its own.
    """
    own = list(dict.fromkeys(own))
    near = difflib.get_close_matches(name, [*own, *others], 1)
    return f"did you mean {near[0]}?" if near else f"its own are: {', '.join(own)}"


def named_arguments(
    module: object,
    names: Sequence[str],
    positional: Sequence[Any],
    given: Mapping[str, Any],
    others: Sequence[str] = (),
) -> dict[str, Any]:
    """The further arguments of a constructor by name, checked.

    Args:
        module: What is constructed.
        names: Those that may be given by position too, in their order.
        positional: Those that were.
        given: Those that were given by name.
        others: Further names that the constructor knows.

    Raises:
        OptionError: One is unknown, or was given twice.
        InputError: One is not what it can be.
        SizeError: The dropout is no probability.
    """
    kind = type(module).__name__
    if len(positional) > len(names):
        raise OptionError(f"{kind}: {len(positional) - len(names)} arguments more than it takes")
    found = {**given}
    for name, value in zip(names, positional, strict=False):
        if name in given:
            raise OptionError(f"{kind}: {name} was given twice")
        found[name] = value
    for name, value in found.items():
        if name not in names:
            raise OptionError(f"{kind} has no option '{name}'; {way_out(name, names, others)}")
        if name in FLAGS:
            check_flag(name, value)
    if "dropout" in found:
        found["dropout"] = check_probability("dropout", found["dropout"], SizeError)
    if "dropout" in names and "nonlinearity" in found:
        rnn_mode(found["nonlinearity"])
    check_place(found.get("device"), found.get("dtype"))
    return found


@contextmanager
def enough_memory() -> Iterator[None]:
    """Where parameters are made.

    Raises:
        SizeError: They do not fit into memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("can't allocate memory", "overflowed")):
            raise
        raise SizeError("the parameters do not fit into memory; use smaller sizes") from None
