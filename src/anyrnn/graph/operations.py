"""The table of operations, which is closed: one row for each, with its traits. Every other stage
has a rule or a line for it in a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from math import inf
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

    @property
    def size(self) -> Size:
        """The size of the first axis; 1 for one number."""
        return self.shape[0] if self.shape else Size.of(1)

    def __str__(self) -> str:
        """For example `batch x hidden`, `hidden x input` or `number`."""
        parts = ["batch"] if self.per_row else []
        parts += [f"({size})" if " " in str(size) else str(size) for size in self.shape]
        return (" x ".join(parts) or "number") + (" of booleans" if self.boolean else "")


Infer = Callable[[tuple[Type, ...], Mapping[str, Any]], Type]


@dataclass(frozen=True)
class Operation:
    """One row of the table: everything that other stages ask about an operation.

    Attributes:
        name: The name, as the language and every target know it.
        arity: The number of arguments; None for any number from one on.
        infer: The type of the result from the types of the arguments and the attributes.
        text: How it is printed, with `{0}`, `{1}` for the arguments.
        latex: The same for LaTeX.
        precedence: How tightly it binds when printed: sums 1, products 2, negation 3, calls and
            names 4.
        cost: Floating-point operations for each element of its result or its first argument,
            whichever is larger; a function counts as one.
        leaf: Whether it has no arguments by its nature.
        named: Whether it is a leaf with a name, which is unique in a graph.
        elementwise: Whether each element of the result depends on the same element of the arguments
            only.
        broadcast: Whether it repeats a value along the axes of another one.
        cheap: Whether computing it again costs less than reading it from memory.
        signs: The signs of its arguments in a sum; empty for what is no sum of its arguments.
        activation: Whether it is a function of one value that another one may take the place of.
        nonlinear: Whether it is not linear in its arguments, as an activation.
        comparison: Whether its result is a boolean.
        reduction: Whether it goes over the hidden axis, so that it needs whole vectors.
        number: Whether its result is a single number, for each row or for all.
        batch_sum: Whether it sums over the rows of the batch.
        view: Whether its result is its argument, read in another order or in part.
        limits: The numbers that its result comes near to where it saturates, infinite where it does
            not; None for what never does.
    """

    name: str
    arity: int | None
    infer: Infer
    text: str
    latex: str
    precedence: int = 4
    _: KW_ONLY
    cost: int
    leaf: bool = False
    named: bool = False
    elementwise: bool = False
    broadcast: bool = False
    cheap: bool = False
    signs: tuple[int, ...] = ()
    activation: bool = False
    nonlinear: bool = False
    comparison: bool = False
    reduction: bool = False
    number: bool = False
    batch_sum: bool = False
    view: bool = False
    limits: tuple[float, float] | None = None

    @property
    def pointwise(self) -> bool:
        """Whether a kernel computes it one vector of units at a time, in registers."""
        return self.elementwise or self.broadcast


def broadcast_shape(name: str, types: tuple[Type, ...]) -> Shape:
    """The common shape of arguments of an elementwise operation; numbers go with anything."""
    shapes = {type_.shape for type_ in types if type_.shape}
    if len(shapes) > 1:
        raise SizeError(f"{name} of values of different sizes: {', '.join(map(str, types))}")
    return shapes.pop() if shapes else ()


def _infer_elementwise(name: str, boolean: bool = False) -> Infer:
    def infer(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
        result = Type(broadcast_shape(name, types), any(t.per_row for t in types), boolean)
        if result.per_row and len(result.shape) > 1:
            raise SizeError(f"{name} of a matrix and a value that differs from row to row")
        return result

    return infer


def _infer_clip_gradient(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    value, bound = types
    if not value.per_row:  # its cotangent would be a sum over the steps, or of each by itself
        raise SizeError("clip_gradient() takes what depends on the input or a state")
    if bound.shape or bound.per_row:
        raise SizeError(f"clip_gradient() takes a number as its bound, not {bound}")
    return value


def _infer_leaf(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    return attributes["type"]


def _infer_number(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    return Type((), per_row=False)


def _infer_where(types: tuple[Type, ...], attributes: Mapping[str, Any]) -> Type:
    if not types[0].boolean:
        raise SizeError("where() takes a comparison first, such as x > 0")
    return _infer_elementwise("where")(types, attributes)


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
    total = sum((_vector("concatenate", type_) for type_ in types), Size.of(0))
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
    return Operation(name, 0, _infer_leaf, "{name}", "{name}", cost=0, leaf=True, named=True)


def _number(name: str, text: str, latex: str, **traits: Any) -> Operation:
    return Operation(name, 0, _infer_number, text, latex, cost=0, leaf=True, number=True, **traits)


def _elementwise(
    name: str, arity: int, text: str, latex: str, precedence: int = 4, **traits: Any
) -> Operation:
    traits = {"infer": _infer_elementwise(name), "cost": 1, "elementwise": True, **traits}
    return Operation(name, arity, text=text, latex=latex, precedence=precedence, **traits)


def _function(name: str, latex: str | None = None, **traits: Any) -> Operation:
    latex = latex or r"\operatorname{{" + name.replace("_", r"\ ") + "}}({0})"
    traits = {"activation": True, "nonlinear": True, **traits}
    return _elementwise(name, 1, f"{name}({{0}})", latex, **traits)


def _comparison(name: str, text: str, latex: str) -> Operation:
    infer = _infer_elementwise(name, boolean=True)
    return _elementwise(name, 2, text, latex, 0, infer=infer, comparison=True, cheap=True)


def _reduction(name: str, latex: str, cost: int, number: bool, **traits: Any) -> Operation:
    infer = _infer_over_hidden(name, keeps_size=not number)
    traits = {"reduction": True, "number": number, "nonlinear": not number, **traits}
    return Operation(name, 1, infer, f"{name}({{0}})", latex, cost=cost, **traits)


CASES = r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}"
SOFTMAX = r"\operatorname{{softmax}}({0})"
CLIPPED = "clip_gradient({0}, {1})", r"\operatorname{{clip\ gradient}}({0}, {1})"
SLICE = "{0}[{start}:{stop}]", "{{{0}}}_{{[{start}:{stop}]}}"
EXPANDED = "expand({0}, {1})", "{0}"
OUTER = "outer({0}, {1})", r"\textstyle\sum_b {0} {1}^\top"
BATCH_SUM = "batch_sum({0})", r"\textstyle\sum_b {0}"

_ROWS = [
    # leaves
    _leaf("input"),
    _leaf("state"),
    _leaf("parameter"),
    _leaf("cotangent"),
    _number("constant", "{value}", "{value}", cheap=True),
    _number("size", "size({size})", r"\lvert {size} \rvert"),
    _elementwise("random", 0, "random({stream})", r"u_{{{stream}}}", infer=_infer_leaf),
    # arithmetic, elementwise
    _elementwise("add", 2, "{0} + {1}", "{0} + {1}", 1, cheap=True, signs=(1, 1)),
    _elementwise("subtract", 2, "{0} - {1}", "{0} - {1}", 1, cheap=True, signs=(1, -1)),
    _elementwise("multiply", 2, "{0} * {1}", r"{0} \odot {1}", 2, cheap=True),
    _elementwise("divide", 2, "{0} / {1}", r"\frac{{{0}}}{{{1}}}", 2),
    _elementwise("negative", 1, "-{0}", "-{0}", 3, cheap=True, cost=0),
    # functions, elementwise
    _function("sigmoid", r"\sigma({0})", limits=(0.0, 1.0)),
    _function("tanh", r"\tanh({0})", limits=(-1.0, 1.0)),
    _function("relu", limits=(0.0, inf)),
    _function("hard_sigmoid", limits=(0.0, 1.0)),
    _function("softplus"),
    _function("exp", r"\exp({0})"),
    _function("log", r"\log({0})"),
    _function("sqrt", r"\sqrt{{{0}}}"),
    _function("abs", r"\lvert {0} \rvert"),
    _elementwise("maximum", 2, "maximum({0}, {1})", r"\max({0}, {1})", nonlinear=True),
    _elementwise("minimum", 2, "minimum({0}, {1})", r"\min({0}, {1})", nonlinear=True),
    # choices, elementwise
    _comparison("greater", "{0} > {1}", "{0} > {1}"),
    _comparison("greater_equal", "{0} >= {1}", r"{0} \ge {1}"),
    _elementwise("where", 3, "where({0}, {1}, {2})", CASES, infer=_infer_where, cheap=True),
    # the value itself, with a derivative of its own
    _elementwise("clip_gradient", 2, *CLIPPED, infer=_infer_clip_gradient),
    # over the hidden axis
    _reduction("sum", r"\textstyle\sum {0}", cost=1, number=True),
    _reduction("mean", r"\operatorname{{mean}}({0})", cost=1, number=True),
    _reduction(
        "softmax", r"\operatorname{{softmax}}({0})", cost=4, number=False, limits=(0.0, 1.0)
    ),
    # products and structure
    Operation("product", 2, _infer_product, "{0} @ {1}", "{0} {1}", 2, cost=2),
    Operation("transpose", 1, _infer_transpose, "{0}.T", r"{0}^\top", cost=0, view=True),
    Operation("concatenate", None, _infer_concatenate, "concatenate({all})", "[{all}]", cost=0),
    Operation("slice", 1, _infer_slice, *SLICE, cost=0, view=True),
    # what derivatives need besides
    Operation("expand", 2, _infer_expand, *EXPANDED, cost=0, broadcast=True, cheap=True, view=True),
    Operation("outer", 2, _infer_outer, *OUTER, cost=2, batch_sum=True),
    Operation("batch_sum", 1, _infer_batch_sum, *BATCH_SUM, cost=1, batch_sum=True),
]

OPERATIONS: dict[str, Operation] = {row.name: row for row in _ROWS}
LEAVES = frozenset(row.name for row in _ROWS if row.leaf)
