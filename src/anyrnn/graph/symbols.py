"""The symbols that a cell's function runs on, and the functions it may call."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, NoReturn, Protocol, TypeAlias

from anyrnn.errors import CellError
from anyrnn.graph.sizes import Size


class Builder(Protocol):
    """What symbols tell their operations: the tracer of the function that is running."""

    def apply(self, operation: str, *values: Any) -> Symbol:
        """The symbol of an operation on values."""
        ...

    def slice(self, value: Symbol, bounds: Any) -> Symbol:
        """The symbol of `value[start:stop]`."""
        ...

    def fail(self, message: str) -> NoReturn:
        """Raise an error that says where in the cell it is."""
        ...


active: ContextVar[Builder | None] = ContextVar("active", default=None)

Operand: TypeAlias = "Symbol | float"


@dataclass(eq=False)
class Traced:
    """An expression whose sizes are still being inferred; `trace` makes a node of it."""

    operation: str
    arguments: tuple[Traced, ...]
    shape: tuple[Size, ...]
    line: str
    attributes: dict[str, Any] = field(default_factory=dict)


Operator = Callable[["Symbol", Operand], "Symbol"]


def _operator(operation: str) -> tuple[Operator, Operator]:
    """An operator of symbols, and the same with its operands exchanged."""

    def on_left(self: Symbol, other: Operand) -> Symbol:
        return self.__tracer__.apply(operation, self, other)

    def on_right(self: Symbol, other: Operand) -> Symbol:
        return self.__tracer__.apply(operation, other, self)

    return on_left, on_right


class Symbol:
    """A value of a cell: the input, a state, a parameter, or an expression of these.

    Its own attributes are called as Python's special ones are, because any other name may be that
    of a parameter: `W.name`.
    """

    __array_ufunc__ = None  # NumPy leaves operators to us
    __number__: float | None = None  # of a hyperparameter

    def __init__(self, tracer: Builder, traced: Traced | None) -> None:
        self.__tracer__ = tracer
        self.__traced__ = traced

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("divide")
    __matmul__ = _operator("product")[0]
    __gt__, __lt__ = _operator("greater")
    __ge__, __le__ = _operator("greater_equal")

    def __repr__(self) -> str:
        traced = self.__traced__
        name = "value" if traced is None else traced.attributes.get("name", traced.operation)
        return f"<{name} of a cell>"

    def __neg__(self) -> Symbol:
        return self.__tracer__.apply("negative", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self.__tracer__.apply("abs", self)

    def __pow__(self, exponent: Any) -> Symbol:
        number = known_number(exponent)
        if number is None and isinstance(exponent, Symbol):
            self.__tracer__.fail(
                "a power with a value as its exponent; use exp(exponent * log(value))"
            )
        if number == 0.5:
            return self.__tracer__.apply("sqrt", self)
        if number is None or number not in range(1, 9):
            power = exponent if number is None else number
            self.__tracer__.fail(
                f"a power of {power!r}: whole numbers from 1 to 8 and 0.5 are known"
            )
        result = self
        for _ in range(int(number) - 1):
            result = result * self
        return result

    @property
    def T(self) -> Symbol:  # noqa: N802 - as in NumPy and PyTorch
        """The transpose of a matrix."""
        return self.__tracer__.apply("transpose", self)

    def __getitem__(self, bounds: slice) -> Symbol:
        return self.__tracer__.slice(self, bounds)

    def __setitem__(self, bounds: object, value: object) -> NoReturn:
        self.__tracer__.fail(
            "an element was set: values do not change; join parts with concatenate(a, b), or "
            "choose with where(condition, a, b)"
        )

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute of the symbol itself."""
        if not name.startswith("__"):
            self.__tracer__.fail(
                f"'.{name}' was set: a parameter such as W.{name} is trained, and a value is what "
                "its equation says; give what is computed a name without a dot"
            )
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        self.__tracer__.fail("== and != of values are not known in a cell; use where(a > b, ...)")

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        self.__tracer__.fail(
            "a branch on a value: a cell runs once, on symbols; use where(condition, a, b), "
            "maximum or minimum instead"
        )

    def __iter__(self) -> NoReturn:
        self.__tracer__.fail(
            "a value cannot be unpacked or looped over; slice it, as in v[:10], or use sum and "
            "mean of anyrnn"
        )

    def __call__(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse to be called."""
        self.__tracer__.fail(
            "a value or parameter was called; a matrix stands before @, as in W.i @ x, and a "
            "parameter hides a function of its name"
        )

    def __float__(self) -> float:
        self.__tracer__.fail(
            "a value was used as a number; use the functions of anyrnn, not those of math"
        )

    __int__ = __index__ = __complex__ = __float__  # type: ignore[assignment]

    def __array__(self, *arguments: Any, **options: Any) -> NoReturn:
        self.__tracer__.fail(
            "a NumPy function was called; use the functions of anyrnn: " + ", ".join(KNOWN)
        )

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Any = None
    ) -> NoReturn:
        name = getattr(function, "__name__", str(function))
        fail(f"{name}() of torch was called; use the functions of anyrnn: {', '.join(KNOWN)}")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__tracer__.fail(
            f"a value has no '.{name}'; use the functions of anyrnn: {', '.join(KNOWN)}"
        )


def as_number(value: object) -> int | float | None:
    """A number as Python's own; None for what is none, or is beyond float64."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = int(value) if isinstance(value, Integral) else float(value)
        float(number)
    except OverflowError:
        return None
    return number


def known_number(value: object) -> int | float | None:
    """The number that a hyperparameter or a number is; None for any other value."""
    return value.__number__ if isinstance(value, Symbol) else as_number(value)


def shown(value: object) -> str:
    """What is no number of Python's, for a message."""
    if isinstance(value, Real) and not isinstance(value, bool):
        return "a number beyond float64"
    return repr(value)[:60]


class Parameter(Symbol):
    """A parameter, `W.i` or a family `W` used by itself: a matrix where used with `@`, else a
    vector.
    """

    def __init__(self, tracer: Builder, name: str) -> None:
        super().__init__(tracer, None)
        self.__parameter__ = name

    def __repr__(self) -> str:
        return f"<{self.__parameter__} of a cell>"


class Family(Parameter):
    """A keyword-only argument of a cell: its attributes are parameters."""

    def __getattr__(self, name: str) -> Parameter:  # type: ignore[override]
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Parameter(self.__tracer__, f"{self.__parameter__}.{name}")


def _apply(operation: str, *operands: Operand) -> Symbol:
    tracer = active.get()
    if tracer is None:
        raise CellError(f"anyrnn.{operation}() works on the values of a cell, inside its function")
    return tracer.apply(operation, *operands)


def fail(message: str) -> NoReturn:
    """Raise an error that says where in a cell it is, if a cell's function is running."""
    tracer = active.get()
    if tracer is None:
        raise CellError(message)
    tracer.fail(message)


def sigmoid(value: Operand) -> Symbol:
    """The logistic function, 1 / (1 + exp(-value))."""
    return _apply("sigmoid", value)


def tanh(value: Operand) -> Symbol:
    """The hyperbolic tangent."""
    return _apply("tanh", value)


def relu(value: Operand) -> Symbol:
    """The positive part."""
    return _apply("relu", value)


def exp(value: Operand) -> Symbol:
    """The exponential."""
    return _apply("exp", value)


def log(value: Operand) -> Symbol:
    """The natural logarithm."""
    return _apply("log", value)


def softplus(value: Operand) -> Symbol:
    """log(1 + exp(value)), without overflow."""
    return _apply("softplus", value)


def sqrt(value: Operand) -> Symbol:
    """The square root."""
    return _apply("sqrt", value)


def hard_sigmoid(value: Operand) -> Symbol:
    """The piecewise linear sigmoid of PyTorch and Keras 3: value / 6 + 1/2, between 0 and 1."""
    return _apply("hard_sigmoid", value)


def maximum(left: Operand, right: Operand) -> Symbol:
    """The larger of two values, element by element."""
    return _apply("maximum", left, right)


def minimum(left: Operand, right: Operand) -> Symbol:
    """The smaller of two values, element by element."""
    return _apply("minimum", left, right)


def where(condition: Operand, left: Operand, right: Operand) -> Symbol:
    """The left value where the condition (such as `x > 0`) holds, else the right one."""
    return _apply("where", condition, left, right)


def clip_gradient(value: Operand, bound: Operand) -> Symbol:
    """The value itself; the gradient that flows back through it is limited to +-bound."""
    number = known_number(bound)
    if number is not None and not number > 0:
        fail(f"clip_gradient() takes a bound above zero, not {number}")
    return _apply("clip_gradient", value, bound)


def softmax(value: Operand) -> Symbol:
    """exp(value), scaled to sum to one over the hidden axis."""
    return _apply("softmax", value)


def mean(value: Operand) -> Symbol:
    """The mean over the hidden axis: one number for each row of the batch."""
    return _apply("mean", value)


def sum(value: Operand) -> Symbol:
    """The sum over the hidden axis: one number for each row of the batch."""
    return _apply("sum", value)


def layer_norm(value: Symbol, epsilon: float = 1e-5) -> Symbol:
    """Zero mean and unit variance over the hidden axis (Ba, Kiros & Hinton 2016, eq. 4).

    Args:
        value: A vector.
        epsilon: Added to the variance.

    Returns:
        The normalised vector; multiply by a gain and add a bias of your own if wanted.
    """
    number = known_number(epsilon)
    if number is not None and not number >= 0:
        fail(f"layer_norm() takes an epsilon of at least 0, not {number}")
    centred = value - mean(value)
    return centred / sqrt(mean(centred * centred) + epsilon)


def concatenate(*values: Operand) -> Symbol:
    """Vectors joined end to end, as in the [h, x] of many papers."""
    return _apply("concatenate", *values)


FUNCTIONS = {
    "abs": abs,
    "clip_gradient": clip_gradient,
    "concatenate": concatenate,
    "exp": exp,
    "hard_sigmoid": hard_sigmoid,
    "layer_norm": layer_norm,
    "log": log,
    "maximum": maximum,
    "mean": mean,
    "minimum": minimum,
    "relu": relu,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "softplus": softplus,
    "sqrt": sqrt,
    "sum": sum,
    "tanh": tanh,
    "where": where,
}
KNOWN = list(FUNCTIONS)
