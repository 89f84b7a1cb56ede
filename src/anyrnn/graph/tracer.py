"""Records what a cell's function does to its symbols, and the equations between their sizes."""

from __future__ import annotations

import difflib
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import add, index, mul, neg, sub, truediv
from types import CodeType, FrameType
from typing import Any, NoReturn

from anyrnn.errors import CellError, SizeError
from anyrnn.graph.hyperparameters import Hyperparameter
from anyrnn.graph.nodes import Node, make, topological
from anyrnn.graph.operations import OPERATIONS, Type
from anyrnn.graph.sizes import Size, SizeVariable, Unifier
from anyrnn.graph.symbols import (
    KNOWN,
    Parameter,
    Symbol,
    Traced,
    active,
    as_number,
    known_number,
    shown,
)

DeclaredSizes = Mapping[str, str | int]
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": add,
    "subtract": sub,
    "multiply": mul,
    "divide": truediv,
    "negative": neg,
}


def named(sizes: DeclaredSizes | None) -> DeclaredSizes:
    """The sizes that a decorator names.

    Raises:
        CellError: They are not named by state or parameter.
    """
    if sizes is None:
        return {}
    if not isinstance(sizes, Mapping) or not all(isinstance(name, str) for name in sizes):
        raise CellError(f"sizes={sizes!r}; expected names of sizes, as in {{'h': 'projection'}}")
    return dict(sizes)


class Tracer:
    """Builds expressions as a cell's function runs, and collects equations between their sizes."""

    def __init__(self, name: str, code: CodeType, declared: DeclaredSizes) -> None:
        self.name = name
        self.code = code
        self.unifier = Unifier()
        self.parameters: dict[str, Traced] = {}
        self.names: dict[Traced, str] = {}
        self.reasons: dict[SizeVariable, str] = {}
        self.declared: dict[str, Size | None] = {}
        variables: dict[str, SizeVariable] = {}
        for key, value in declared.items():
            if isinstance(value, str) and value.isidentifier():
                self.declared[key] = Size.of(variables.setdefault(value, SizeVariable(value)))
            elif value == 1:
                self.declared[key] = None  # a single number
            else:
                raise CellError(
                    f"cell '{name}': sizes={{{key!r}: {value!r}}}: a size is a name, or 1 for a "
                    "single number"
                )
        self.declared_variables = variables
        self.kept: list[SizeVariable] = list(variables.values())

    def line(self) -> str:
        """The line of the cell's function that is running, for messages."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        return self._line(frame.f_lineno) if frame is not None else ""

    def _line(self, number: int) -> str:
        text = linecache.getline(self.code.co_filename, number).strip()
        return f"line {number}" + (f" `{text}`" if text else "")

    def fail(
        self, message: str, line: str | None = None, error: type[Exception] = CellError
    ) -> NoReturn:
        """Raise an error that says where in the cell it is."""
        line = self.line() if line is None else line
        raise error(
            f"cell '{self.name}', {line}: {message}" if line else f"cell '{self.name}': {message}"
        )

    def leaf(self, operation: str, name: str, shape: tuple[Size, ...], per_row: bool) -> Traced:
        """The expression of an input, a state or a parameter."""
        return Traced(operation, (), shape, self.line(), {"name": name, "per_row": per_row})

    def _parameter(self, name: str, rank: int, shape: tuple[Size, ...] | None = None) -> Traced:
        known = self.parameters.get(name)
        rows = self.declared.get(name, Size.of(SizeVariable(f"size of {name}")))
        if known is not None:
            if len(known.shape) != rank and known.shape:
                kinds = {1: "a vector", 2: "a matrix"}
                self.fail(
                    f"{name} is {kinds[rank]} here, but {kinds[len(known.shape)]} in {known.line}; "
                    "a parameter is a matrix where it is used with @, and a vector elsewhere"
                )
            return known
        family, dot, _ = name.partition(".")
        if any(f == family and d != dot for f, d, _ in (n.partition(".") for n in self.parameters)):
            self.fail(
                f"'{family}' is used both by itself and as {family}.<name>; use one of the two"
            )
        if rows is None:
            shape = ()
        elif shape is None:
            shape = (rows,) if rank == 1 else (rows, Size.of(SizeVariable(f"columns of {name}")))
        traced = self.leaf("parameter", name, shape, per_row=False)
        self.parameters[name] = traced
        return traced

    def _operand(self, value: Any, rank: int, shape: tuple[Size, ...] | None = None) -> Traced:
        if isinstance(value, Symbol) and value.__tracer__ is not self:
            (active.get() or self).fail(
                "a value of another cell, or of an earlier run of this one, was used; a cell's "
                "function computes from its own arguments"
            )
        if isinstance(value, Parameter):
            return self._parameter(value.__parameter__, rank, shape)
        if isinstance(value, Symbol) and value.__traced__ is not None:
            return value.__traced__
        number = as_number(value)
        if number is None:
            advice = (
                "a if k > 1 else b chooses by a hyperparameter"
                if isinstance(value, bool)
                else "values are the input, the states, parameters such as W.i, numbers, and "
                "results of anyrnn's functions"
            )
            self.fail(f"{type(value).__name__} {shown(value)} is no value of the cell; {advice}")
        return Traced("constant", (), (), self.line(), {"value": float(number)})

    def _equal(self, left: Size, right: Size, line: str | None = None) -> bool:
        before = set(self.unifier.bindings)
        if not self.unifier.unify(left, right, self.kept):
            return False
        for variable in set(self.unifier.bindings) - before:
            self.reasons[variable] = self.line() if line is None else line  # type: ignore[index]
        return True

    def describe(self, shape: tuple[Size, ...]) -> str:
        """A shape for a message, with what is known of its sizes."""
        return " x ".join(str(self.unifier.resolve(size)) for size in shape) or "one number"

    def _join_shapes(self, operation: str, operands: list[Traced]) -> tuple[Size, ...]:
        joined: tuple[Size, ...] = ()
        for operand in operands:
            if not operand.shape:
                continue
            if joined and (
                len(joined) != len(operand.shape)
                or not all(self._equal(*pair) for pair in zip(joined, operand.shape, strict=True))
            ):
                self.fail(
                    f"{operation} of two sizes, {self.describe(joined)} and "
                    f"{self.describe(operand.shape)}; bring them to one size, for example with a "
                    "matrix: W.name @ value",
                    error=SizeError,
                )
            joined = joined or operand.shape
        return joined

    def apply(self, operation: str, *values: Any) -> Symbol:
        """The symbol of an operation on values."""
        row = OPERATIONS[operation]
        values = tuple(
            self._number(value) if operation != "where" or place else value
            for place, value in enumerate(values)
        )
        if operation == "product":
            shape, operands = self._product(*values)
        elif operation == "transpose":
            operands = [self._operand(values[0], rank=2)]
            if len(operands[0].shape) != 2:
                self.fail("only a matrix can be transposed", error=SizeError)
            shape = operands[0].shape[::-1]
        elif row.elementwise:
            known = [v.__traced__.shape for v in values if isinstance(v, Symbol) and v.__traced__]
            matrix = next((shape for shape in known if len(shape) == 2), None)
            operands = [self._operand(value, 2 if matrix else 1, matrix) for value in values]
            shape = self._join_shapes(operation, operands)
            numbers = [operand for operand in operands if not operand.shape]
            if len(shape) == 2 and any(e.operation == "parameter" for e in topological(numbers)):
                self.fail(
                    "a trained number cannot scale a matrix; scale the product: a.name * (U @ h)",
                    error=SizeError,
                )
        else:  # over the hidden axis, and concatenation
            operands = [self._operand(value, rank=1) for value in values]
            if not operands or any(len(operand.shape) != 1 for operand in operands):
                self.fail(f"{operation}() takes vectors", error=SizeError)
            total = sum((operand.shape[0] for operand in operands), Size.of(0))
            shape = () if row.number else (total,)
        traced = Traced(operation, tuple(operands), shape, self.line())
        number = self._computed(operation, values)
        return Symbol(self, traced) if number is None else Hyperparameter(self, traced, number)

    def _computed(self, operation: str, values: tuple[Any, ...]) -> int | float | None:
        """The number that follows from hyperparameters and numbers; None if it does not."""
        if operation not in ARITHMETIC:
            return None
        known = [*map(known_number, values)]
        if None in known:
            return None
        with suppress(ArithmeticError):
            return ARITHMETIC[operation](*known)
        return None

    def _number(self, value: Any) -> Any:
        """A comparison as a number, 1 where it holds and 0 elsewhere; any other value as it is."""
        traced = value.__traced__ if isinstance(value, Symbol) else None
        if traced is None or not OPERATIONS[traced.operation].comparison:
            return value
        return self.apply("where", value, 1.0, 0.0)

    def _product(self, left: Any, right: Any) -> tuple[tuple[Size, ...], list[Traced]]:
        matrix, vector = self._operand(left, rank=2), self._operand(right, rank=1)
        if len(matrix.shape) != 2 or len(vector.shape) != 1:
            state = matrix.attributes["name"] if matrix.operation == "state" else None
            hint = f"; {state} is a state: parameters stand after * in the signature"
            self.fail(
                "@ takes a matrix on the left and a vector on the right, as in W.i @ x; not "
                f"{self.describe(matrix.shape)} and {self.describe(vector.shape)}"
                f"{hint if state else ''}",
                error=SizeError,
            )
        if not self._equal(matrix.shape[1], vector.shape[0]):
            self.fail(
                f"a matrix with {self.describe(matrix.shape[1:])} columns cannot multiply a "
                f"vector of size {self.describe(vector.shape)}",
                error=SizeError,
            )
        return (matrix.shape[0],), [matrix, vector]

    def slice(self, value: Symbol, bounds: Any) -> Symbol:
        """The symbol of `value[start:stop]`."""
        if not isinstance(bounds, slice) or bounds.step is not None:
            self.fail("only slices of consecutive elements are known, as in v[:10] or v[10:]")
        operand = self._operand(self._number(value), rank=1)
        if len(operand.shape) != 1:
            self.fail("only vectors can be sliced", error=SizeError)
        ends = []
        for bound, default in ((bounds.start, Size.of(0)), (bounds.stop, operand.shape[0])):
            if bound is None:
                ends.append(default)
                continue
            try:
                number = index(bound)
            except TypeError as error:
                if isinstance(error, CellError):
                    raise
                self.fail(f"the bounds of a slice are whole numbers, not {bound!r}")
            ends.append(Size.of(number) if number >= 0 else operand.shape[0] + number)
        start, stop = ends
        if self.unifier.resolve(stop - start).never_positive:
            self.fail(f"the slice {start}:{stop} is empty", error=SizeError)
        attributes = {"start": start, "stop": stop}
        return Symbol(self, Traced("slice", (operand,), (stop - start,), self.line(), attributes))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Be the active tracer, and record the names of the function's local variables."""
        seen: dict[str, object] = {}

        def local(frame: FrameType, event: str, argument: Any) -> Any:
            for name, value in frame.f_locals.items():
                if isinstance(value, Symbol) and seen.get(name) is not value:
                    seen[name] = value
                    if value.__traced__ is not None:
                        self.names.setdefault(value.__traced__, name)
            return local

        def watch(frame: FrameType, event: str, argument: Any) -> Any:
            return local if frame.f_code is self.code else None

        previous, token = sys.gettrace(), active.set(self)
        sys.settrace(watch)
        try:
            yield
        finally:
            sys.settrace(previous)
            active.reset(token)

    def run(
        self, function: Callable[..., Any], symbols: list[Symbol], keywords: dict[str, Symbol]
    ) -> Any:
        """Call the function; an exception inside becomes an error that quotes its line."""
        with self.watching():
            try:
                return function(*symbols, **keywords)
            except RecursionError as error:
                self.fail("functions call each other without end", line=self._error_line(error))
            except UnboundLocalError as error:
                self.fail(
                    f"{error}; lines are assignments in order: a line can use what the lines "
                    "before it define, the input and the states",
                    line=self._error_line(error),
                )
            except NameError as error:
                name = getattr(error, "name", None) or ""
                self.fail(f"'{name}' is not defined; {_hint(name)}", line=self._error_line(error))
            except AttributeError as error:
                if getattr(error.obj, "__name__", "") != "anyrnn":
                    raise
                hint = _hint(error.name or "")
                self.fail(f"anyrnn has no '{error.name}'; {hint}", line=self._error_line(error))
            except TypeError as error:
                line = self._error_line(error, innermost=True)
                if isinstance(error, CellError) or not line:
                    raise
                if "__array_ufunc__" in str(error):
                    self.fail(f"a NumPy function was called; {_hint('')}", line=line)
                reason = " ".join(str(error).split())
                self.fail(
                    f"{reason}; known are + - * / ** @, comparisons, slices, and the functions of "
                    f"anyrnn: {', '.join(KNOWN)}",
                    line=line,
                )

    def _error_line(self, error: BaseException, innermost: bool = False) -> str:
        """The line of the cell's function where an exception passed (or was raised), if any."""
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code is self.code and not (innermost and trace.tb_next):
                return self._line(trace.tb_lineno)
            trace = trace.tb_next
        return ""

    def build(self, used: list[Traced]) -> dict[Traced, Node]:
        """Build the nodes of expressions, once every size has its name."""
        resolve = self.unifier.resolve
        nodes: dict[Traced, Node] = {}
        for traced in used:
            attributes = dict(traced.attributes)
            if OPERATIONS[traced.operation].named:
                shape = tuple(resolve(size) for size in traced.shape)
                attributes["type"] = Type(shape, attributes.pop("per_row"))
            elif traced.operation == "slice":
                attributes = {key: resolve(size) for key, size in attributes.items()}
            try:
                arguments = [nodes[argument] for argument in traced.arguments]
                nodes[traced] = make(traced.operation, *arguments, **attributes)
            except SizeError as error:
                self.fail(str(error), line=traced.line, error=SizeError)
        return nodes


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name, KNOWN, 1)
    return f"did you mean {near[0]}?" if near else f"known functions: {', '.join(KNOWN)}"
