"""The decorator `cell`, which makes a cell of a function that reads like its equations."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, overload

from anyrnn.errors import CellError, UnusedParameterWarning
from anyrnn.graph.cell import Cell, _load
from anyrnn.graph.symbols import as_number, shown
from anyrnn.graph.trace import trace
from anyrnn.graph.tracer import DeclaredSizes, named


@overload
def cell(function: Callable[..., Any], /) -> Cell: ...


@overload
def cell(
    *, sizes: DeclaredSizes | None = None, unused: str | tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Cell]: ...


def cell(
    function: Callable[..., Any] | None = None,
    /,
    *,
    sizes: DeclaredSizes | None = None,
    unused: str | tuple[str, ...] = (),
) -> Cell | Callable[[Callable[..., Any]], Cell]:
    """Make a cell of a function that reads like its equations.

    The first argument is the input, the other positional ones are the states, the keyword-only ones
    are families of parameters (`W.i` is a matrix where it is used with `@`, otherwise a vector) or,
    with a number as default, hyperparameters. The function returns the new states; one value more
    is an output apart from them.

    Args:
        function: The equations.
        sizes: Names of sizes that cannot be inferred, by state or parameter: `{"h": "projection"}`.
            The size 1 makes a parameter a single number.
        unused: Parameters that are known to have no influence, so that no warning is given for
            them.

    Returns:
        The cell.

    Raises:
        CellError: The equations cannot be read.
        SizeError: The sizes do not fit together, or are not determined.

    Example:
        >>> import anyrnn
        >>> from anyrnn import sigmoid, tanh
        >>> @anyrnn.cell
        ... def minimal(x, h, *, W, U, b):
        ...     f = sigmoid(W.f @ x + U.f @ h + b.f)
        ...     g = tanh(W.g @ x + U.g @ (f * h) + b.g)
        ...     return (1 - f) * h + f * g
        >>> minimal
        <cell minimal: states h; parameters W, U, b>
    """
    if function is None:
        declared, left_out = named(sizes), (unused,) if isinstance(unused, str) else unused
        return lambda real: _make(real, declared, left_out, {})
    return _make(function, {}, (), {})


def _make(
    function: Callable[..., Any],
    declared: DeclaredSizes,
    unused: tuple[str, ...],
    chosen: Mapping[str, float],
) -> Cell:
    name = getattr(function, "__name__", None)
    if name is None or not inspect.isfunction(function):
        raise CellError(f"@cell takes a function, not {function!r}; write one with def or lambda")
    positional, families, defaults = _signature(function, name)
    for parameter in unused:
        if not isinstance(parameter, str) or parameter.partition(".")[0] not in families:
            raise CellError(
                f"cell '{name}': unused names {parameter!r}, which is no parameter; its families "
                f"are: {', '.join(families) or 'none'}"
            )
    made = Cell(
        trace(function, name, positional, families, {**defaults, **chosen}, declared),
        remake=lambda **values: _make(function, declared, unused, {**chosen, **values}),
        reference=(_load, (function.__module__, function.__qualname__, dict(chosen))),
    )
    surprising = [parameter for parameter in made.unused if parameter not in unused]
    if surprising:
        warnings.warn(
            f"cell '{name}': {', '.join(surprising)} never influence the result and are left out",
            UnusedParameterWarning,
            stacklevel=3,
        )
    return made


def _signature(
    function: Callable[..., Any], name: str
) -> tuple[list[str], list[str], dict[str, float]]:
    """The names of input and states, of the families, and the hyperparameters with defaults."""
    positional: list[str] = []
    families: list[str] = []
    hyperparameters: dict[str, float] = {}
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise CellError(
                f"cell '{name}': *{parameter.name} cannot be read; write the arguments out"
            )
        if parameter.kind is not parameter.KEYWORD_ONLY:
            if default is not parameter.empty:
                raise CellError(
                    f"cell '{name}': {parameter.name}={default!r}: input and states have no "
                    "defaults; write numbers after *, as in (x, h, *, W, U, b, epsilon=0.01)"
                )
            positional.append(parameter.name)
        elif default is parameter.empty:
            families.append(parameter.name)
        else:
            number = as_number(default)
            if number is None:
                raise CellError(
                    f"cell '{name}': {parameter.name}={shown(default)}: a default must be a number"
                )
            hyperparameters[parameter.name] = number
    if len(positional) < 2:
        raise CellError(
            f"cell '{name}' needs an input and at least one state, as in "
            f"def {name}(x, h, *, W, U, b); it has ({', '.join(positional)})"
        )
    if "output" in positional[1:]:
        raise CellError(f"cell '{name}': a state cannot be called 'output'")
    return positional, families, hyperparameters
