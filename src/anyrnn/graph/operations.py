"""The closed list of operations. Each has one row here, one derivative rule, and one line in
every target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anyrnn.errors import SizeError
from anyrnn.graph.sizes import Size

Shape = tuple[Size, ...]


@dataclass(frozen=True)
class Type:
    """What a value is: its shape without the batch, and whether each row of the batch has its own.

    A shape is `()` for one number, `(size,)` for a vector, `(rows, columns)` for a matrix.
    """

    shape: Shape
    per_row: bool
    boolean: bool = False

    def __str__(self) -> str:
        """For example `batch x hidden`, `hidden x input` or `number`."""
        parts = ["batch"] if self.per_row else []
        parts += [f"({size})" if " " in str(size) else str(size) for size in self.shape]
        return (" x ".join(parts) or "number") + (" of booleans" if self.boolean else "")


Infer = Callable[[tuple[Type, ...], Mapping[str, Any]], Type]


@dataclass(frozen=True)
class Operation:
    """One row of the list.

    Attributes:
        name: The name, as the language and every target know it.
        arity: The number of arguments; None for any number from one on.
        infer: The type of the result from the types of the arguments and the attributes.
        text: How it is printed, with `{0}`, `{1}` for the arguments.
        latex: The same for LaTeX.
        precedence: How tightly it binds when printed: sums 1, products 2, negation 3, calls and
            names 4.
        elementwise: Whether each element of the result depends on the same element of the arguments
            only.
    """

    name: str
    arity: int | None
    infer: Infer
    text: str
    latex: str
    precedence: int = 4
    elementwise: bool = False


def broadcast_shape(name: str, types: tuple[Type, ...]) -> Shape:
    """The common shape of arguments of an elementwise operation; numbers go with anything."""
    shapes = {type_.shape for type_ in types if type_.shape}
    if len(shapes) > 1:
        raise SizeError(f"{name} of values of different sizes: {', '.join(map(str, types))}")
    return shapes.pop() if shapes else ()


def _elementwise(name: str, types: tuple[Type, ...], boolean: bool) -> Type:
    result = Type(broadcast_shape(name, types), any(t.per_row for t in types), boolean)
    if result.per_row and len(result.shape) > 1:
        raise SizeError(f"{name} of a matrix and a value that differs from row to row")
    return result


def _infer_elementwise(name: str) -> Infer:
    return lambda types, attributes: _elementwise(name, types, boolean=False)


def _infer_clip_gradient(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    value, bound = types
    if not value.per_row:  # its cotangent would be a sum over the steps, or of each by itself
        raise SizeError("clip_gradient() takes what depends on the input or a state")
    if bound.shape or bound.per_row:
        raise SizeError(f"clip_gradient() takes a number as its bound, not {bound}")
    return value


def _infer_comparison(name: str) -> Infer:
    return lambda types, attributes: _elementwise(name, types, boolean=True)


def _infer_leaf(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    return attributes["type"]


def _infer_number(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    return Type((), per_row=False)


def _infer_where(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    if not types[0].boolean:
        raise SizeError("where() takes a comparison first, such as x > 0")
    return _elementwise("where", types, boolean=False)


def _vector(name: str, type_: Type) -> Size:
    if len(type_.shape) != 1:
        raise SizeError(f"{name} takes a vector, not {type_}")
    return type_.shape[0]


def _infer_over_hidden(name: str, keeps_size: bool) -> Infer:
    def infer(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
        _vector(name, types[0])
        return types[0] if keeps_size else Type((), types[0].per_row)

    return infer


def _infer_product(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    matrix, vector = types
    if len(matrix.shape) != 2 or matrix.per_row or len(vector.shape) != 1:
        raise SizeError(f"the product takes a matrix and a vector, not {matrix} and {vector}")
    if matrix.shape[1] != vector.shape[0]:
        raise SizeError(f"the product of {matrix} and {vector}: the inner sizes differ")
    return Type((matrix.shape[0],), vector.per_row)


def _infer_transpose(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    if len(types[0].shape) != 2:
        raise SizeError(f"only a matrix can be transposed, not {types[0]}")
    return Type(types[0].shape[::-1], per_row=False)


def _infer_concatenate(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    total = Size.of(0)
    for type_ in types:
        total = total + _vector("concatenate", type_)
    return Type((total,), any(type_.per_row for type_ in types))


def _infer_slice(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    if not types[0].shape:
        raise SizeError("a single number cannot be sliced")
    size = attributes["stop"] - attributes["start"]
    if size.never_positive:
        raise SizeError(f"the slice {attributes['start']}:{attributes['stop']} is empty")
    return Type((*types[0].shape[:-1], size), types[0].per_row)


def _infer_expand(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    broadcast_shape("expand", types)
    return Type(types[1].shape, types[1].per_row)


def _infer_outer(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    return Type((_vector("outer", types[0]), _vector("outer", types[1])), per_row=False)


def _infer_batch_sum(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    return Type(types[0].shape, per_row=False)


def _leaf(name: str) -> Operation:
    return Operation(name, 0, _infer_leaf, "{name}", "{name}")


def _function(name: str, latex: str | None = None) -> Operation:
    latex = latex or r"\operatorname{{" + name.replace("_", r"\ ") + "}}({0})"
    infer = _infer_elementwise(name)
    return Operation(name, 1, infer, f"{name}({{0}})", latex, elementwise=True)


def _infix(name: str, text: str, latex: str, precedence: int) -> Operation:
    infer = _infer_elementwise(name)
    return Operation(name, 2, infer, text, latex, precedence, elementwise=True)


_ROWS = [
    # leaves
    _leaf("input"),
    _leaf("state"),
    _leaf("parameter"),
    _leaf("cotangent"),
    Operation("constant", 0, _infer_number, "{value}", "{value}"),
    Operation("size", 0, _infer_number, "size({size})", r"\lvert {size} \rvert"),
    Operation("random", 0, _infer_leaf, "random({stream})", r"u_{{{stream}}}", elementwise=True),
    # arithmetic, elementwise
    _infix("add", "{0} + {1}", "{0} + {1}", 1),
    _infix("subtract", "{0} - {1}", "{0} - {1}", 1),
    _infix("multiply", "{0} * {1}", r"{0} \odot {1}", 2),
    _infix("divide", "{0} / {1}", r"\frac{{{0}}}{{{1}}}", 2),
    Operation("negative", 1, _infer_elementwise("negative"), "-{0}", "-{0}", 3, elementwise=True),
    # functions, elementwise
    _function("sigmoid", r"\sigma({0})"),
    _function("tanh", r"\tanh({0})"),
    _function("relu"),
    _function("exp", r"\exp({0})"),
    _function("log", r"\log({0})"),
    _function("softplus"),
    _function("sqrt", r"\sqrt{{{0}}}"),
    _function("abs", r"\lvert {0} \rvert"),
    _function("hard_sigmoid"),
    Operation(
        "maximum",
        2,
        _infer_elementwise("maximum"),
        "maximum({0}, {1})",
        r"\max({0}, {1})",
        elementwise=True,
    ),
    Operation(
        "minimum",
        2,
        _infer_elementwise("minimum"),
        "minimum({0}, {1})",
        r"\min({0}, {1})",
        elementwise=True,
    ),
    # choices, elementwise
    Operation(
        "greater", 2, _infer_comparison("greater"), "{0} > {1}", "{0} > {1}", 0, elementwise=True
    ),
    Operation(
        "greater_equal",
        2,
        _infer_comparison("greater_equal"),
        "{0} >= {1}",
        r"{0} \ge {1}",
        0,
        elementwise=True,
    ),
    Operation(
        "where",
        3,
        _infer_where,
        "where({0}, {1}, {2})",
        r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
        elementwise=True,
    ),
    # the value itself, with a derivative of its own
    Operation(
        "clip_gradient",
        2,
        _infer_clip_gradient,
        "clip_gradient({0}, {1})",
        r"\operatorname{{clip\ gradient}}({0}, {1})",
        elementwise=True,
    ),
    # over the hidden axis
    Operation("sum", 1, _infer_over_hidden("sum", False), "sum({0})", r"\textstyle\sum {0}"),
    Operation(
        "mean", 1, _infer_over_hidden("mean", False), "mean({0})", r"\operatorname{{mean}}({0})"
    ),
    Operation(
        "softmax",
        1,
        _infer_over_hidden("softmax", True),
        "softmax({0})",
        r"\operatorname{{softmax}}({0})",
    ),
    # products and structure
    Operation("product", 2, _infer_product, "{0} @ {1}", "{0} {1}", 2),
    Operation("transpose", 1, _infer_transpose, "{0}.T", r"{0}^\top"),
    Operation("concatenate", None, _infer_concatenate, "concatenate({all})", "[{all}]"),
    Operation("slice", 1, _infer_slice, "{0}[{start}:{stop}]", "{{{0}}}_{{[{start}:{stop}]}}"),
    # what derivatives need besides
    Operation("expand", 2, _infer_expand, "expand({0}, {1})", "{0}"),
    Operation("outer", 2, _infer_outer, "outer({0}, {1})", r"\textstyle\sum_b {0} {1}^\top"),
    Operation("batch_sum", 1, _infer_batch_sum, "batch_sum({0})", r"\textstyle\sum_b {0}"),
]

OPERATIONS: dict[str, Operation] = {row.name: row for row in _ROWS}
LEAVES = frozenset({"input", "state", "parameter", "cotangent", "constant", "size"})
