"""Numbers of a cell that its user chooses: symbols in equations, numbers where Python needs one."""

from __future__ import annotations

from collections.abc import Callable
from operator import eq, floordiv, ge, gt, le, lt, mod
from typing import Any

from anyrnn.graph.symbols import Builder, Operator, Symbol, Traced, as_number, known_number


def _python(value: Any) -> Any:
    """What Python computes with: the number of a hyperparameter; anything else as it is."""
    return value.__number__ if isinstance(value, Hyperparameter) else value


def _of_numbers(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operator of a hyperparameter that Python computes, whatever the other operand is."""

    def apply(self: Hyperparameter, other: Any) -> Any:
        return function(self.__number__, _python(other))

    return apply


def _of_numbers_after(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The same, with the operands exchanged."""
    return lambda self, other: function(other, self.__number__)


def _compared(function: Callable[[Any, Any], bool], symbolic: Operator) -> Callable[..., Any]:
    """A comparison of a hyperparameter: a boolean with a number, a symbol with another value."""

    def compare(self: Hyperparameter, other: Any) -> Any:
        number = known_number(other)
        return symbolic(self, other) if number is None else function(self.__number__, number)

    return compare


class Hyperparameter(Symbol):
    """A number that the user of a cell may choose, or one computed from such numbers; where Python
    needs its value, as for the bounds of a slice, it is that number.
    """

    __number__: int | float

    def __init__(self, tracer: Builder, traced: Traced, value: float) -> None:
        super().__init__(tracer, traced)
        self.__number__ = value

    def __index__(self) -> int:  # type: ignore[override]
        if isinstance(self.__number__, int) or self.__number__.is_integer():
            return int(self.__number__)
        self.__tracer__.fail(f"a whole number is needed here, not {self.__number__}")

    def __int__(self) -> int:
        return int(self.__number__)

    def __float__(self) -> float:
        return float(self.__number__)

    def __bool__(self) -> bool:
        return bool(self.__number__)

    def __hash__(self) -> int:  # that of the number, with which it is equal
        return hash(self.__number__)

    def __round__(self, digits: int | None = None) -> float:
        return round(self.__number__, digits)

    def __pow__(self, exponent: Any) -> Any:
        power = _python(exponent)
        symbolic = isinstance(power, Symbol) or as_number(power) in range(1, 9)
        return super().__pow__(power) if symbolic else pow(self.__number__, power)

    __floordiv__, __mod__ = map(_of_numbers, (floordiv, mod))
    __rfloordiv__, __rmod__, __rpow__ = map(_of_numbers_after, (floordiv, mod, pow))
    __eq__ = _of_numbers(eq)  # type: ignore[assignment]
    __gt__, __lt__ = _compared(gt, Symbol.__gt__), _compared(lt, Symbol.__lt__)
    __ge__, __le__ = _compared(ge, Symbol.__ge__), _compared(le, Symbol.__le__)
