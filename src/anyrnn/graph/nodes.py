"""Nodes of a graph: immutable and hash-consed, so that equal expressions are the same object."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

from anyrnn.errors import VerificationError
from anyrnn.graph.operations import LEAVES, OPERATIONS, Operation, Type
from anyrnn.graph.sizes import Atom, Size


def _operator(operation: str) -> tuple[Callable[[Node, Any], Node], Callable[[Node, Any], Node]]:
    """An operator of nodes, which takes numbers too, and the same with its operands exchanged."""

    def on_left(self: Node, other: Node | float) -> Node:
        return make(operation, self, as_node(other))

    def on_right(self: Node, other: Node | float) -> Node:
        return make(operation, as_node(other), self)

    return on_left, on_right


class Node:
    """One operation applied to other nodes. Make one with `make`, or with Python's operators."""

    __slots__ = ("__weakref__", "arguments", "attributes", "operation", "type")

    operation: str
    arguments: tuple[Node, ...]
    attributes: Mapping[str, Any]
    type: Type

    @property
    def is_leaf(self) -> bool:
        """Whether its operation takes no arguments: an input, a parameter, a constant, ..."""
        return self.operation in LEAVES

    @property
    def traits(self) -> Operation:
        """What the table of operations says of its operation."""
        return OPERATIONS[self.operation]

    @property
    def name(self) -> Any:
        """The name of a leaf that has one, a string or a key (`keys.py`): the input, a state, a
        parameter, a cotangent.
        """
        return self.attributes["name"]

    def bounds(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """What it needs besides arguments, as numbers: the bounds of a slice."""
        return {
            key: value.evaluate(sizes)
            for key, value in self.attributes.items()
            if isinstance(value, Size)
        }

    @property
    def is_number(self) -> bool:
        """Whether it is a constant or a size: a leaf without a name."""
        return self.is_leaf and not self.traits.named

    def number(self, sizes: Mapping[str, int]) -> float:
        """What a constant or a size is, given the numbers of named sizes."""
        size = self.attributes.get("size")
        return self.attributes["value"] if size is None else float(size.evaluate(sizes))

    def __repr__(self) -> str:
        """The operation and the type; `anyrnn.graph.show` prints whole graphs."""
        return f"<{self.operation}: {self.type}>"

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("divide")
    __matmul__, _ = _operator("product")
    __gt__, __lt__ = _operator("greater")
    __ge__, __le__ = _operator("greater_equal")

    def __neg__(self) -> Node:
        return make("negative", self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        """The node itself: it is immutable, and equality is identity."""
        return self


_nodes: weakref.WeakValueDictionary[tuple[Any, ...], Node] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that is not in the child may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def make(operation: str, *arguments: Node, **attributes: Any) -> Node:
    """The node for an operation applied to arguments; the same node for the same call.

    Attributes are what the operation needs besides: the name and type of a leaf, the value of a
    constant, the bounds of a slice.

    Raises:
        SizeError: The types of the arguments do not fit together.
        VerificationError: No such operation, or not its number of arguments.
    """
    row = OPERATIONS.get(operation)
    if row is None:
        raise VerificationError(f"'{operation}' is not in the list of operations")
    if len(arguments) != row.arity and not (row.arity is None and arguments):
        raise VerificationError(f"{operation} takes {row.arity} arguments, not {len(arguments)}")
    key = (operation, arguments, tuple(sorted(attributes.items())))
    with _lock:
        found = _nodes.get(key)
    if found is not None:
        return found
    node = Node()
    node.operation = operation
    node.arguments = arguments
    node.attributes = attributes
    node.type = row.infer(tuple(argument.type for argument in arguments), attributes)
    with _lock:
        return _nodes.setdefault(key, node)


def constant(value: float) -> Node:
    """The constant of a value."""
    return make("constant", value=float(value))


def as_node(value: Node | float) -> Node:
    """A node itself, or the constant of a number."""
    return value if isinstance(value, Node) else constant(value)


def where(condition: Node, left: Node | float, right: Node | float) -> Node:
    """The left value where the condition holds, else the right one."""
    return make("where", condition, as_node(left), as_node(right))


def limited(value: Node, bound: Node) -> Node:
    """The value clamped to +-bound; its derivative is zero outside, as that of torch.clamp."""
    return where(value > bound, bound, where(-bound > value, -bound, value))


class HasArguments(Protocol):
    """What depends on others of its kind."""

    @property
    def arguments(self) -> tuple[Self, ...]:  # noqa: D102
        ...


Expression = TypeVar("Expression", bound=HasArguments)


def topological(roots: Iterable[Expression]) -> list[Expression]:
    """All nodes, or expressions, that the roots depend on, each after its arguments."""
    order: dict[Expression, None] = {}
    stack: list[tuple[Expression, Iterator[Expression]]] = []
    entered: set[Expression] = set()
    for root in roots:
        if root in entered:
            continue
        entered.add(root)
        stack.append((root, iter(root.arguments)))
        while stack:
            node, arguments = stack[-1]
            for argument in arguments:
                if argument not in entered:
                    entered.add(argument)
                    stack.append((argument, iter(argument.arguments)))
                    break
            else:
                order[node] = None
                stack.pop()
    return list(order)


def reached(roots: Iterable[Node], follow: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """The roots, and all nodes that are reached from them by following some arguments of each."""
    found = set(roots)
    left = list(found)
    while left:
        more = set(follow(left.pop())) - found
        found |= more
        left += more
    return found


def joined(concatenation: Node) -> Iterator[tuple[Node, Size, Size]]:
    """The vectors that a concatenation joins, each with its first element and its end."""
    start = Size.of(0)
    for vector in concatenation.arguments:
        stop = start + vector.type.shape[0]
        yield vector, start, stop
        start = stop


@dataclass(frozen=True)
class Graph:
    """A dataflow graph: named results as expressions of leaves.

    Attributes:
        outputs: The results by name, a string or a key (`keys.py`), in order.
        names: What the writer of the equations calls a node; for printing and for looking inside.
    """

    outputs: Mapping[Any, Node]
    names: Mapping[Node, Any] = field(default_factory=dict)

    def nodes(self) -> list[Node]:
        """All nodes, each after its arguments."""
        return topological(self.outputs.values())

    @property
    def draws(self) -> bool:
        """Whether random numbers are drawn, so that a run needs a seed."""
        return any(node.operation == "random" for node in self.nodes())

    def leaves(self, operation: str) -> list[Node]:
        """The leaves of one kind (`input`, `state`, `parameter`, ...), in the order of use."""
        return [node for node in self.nodes() if node.operation == operation]


Rule = Callable[[Node, tuple[Node, ...]], Node]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Rewrite a graph bottom up: the rule is given a node and its rebuilt arguments, and returns
    the node to put in its place. Names go along with their nodes.
    """
    new: dict[Node, Node] = {}
    for node in topological([*graph.outputs.values(), *graph.names]):
        new[node] = rule(node, tuple(new[argument] for argument in node.arguments))
    outputs = {name: new[node] for name, node in graph.outputs.items()}
    names: dict[Node, Any] = {}
    for node, name in graph.names.items():
        names.setdefault(new[node], name)
    return Graph(outputs, names)


def rebuilt(node: Node, arguments: tuple[Node, ...]) -> Node:
    """The same operation on rewritten arguments: the rule that changes nothing by itself."""
    if arguments == node.arguments:
        return node
    return make(node.operation, *arguments, **node.attributes)


def resized(node: Node, arguments: tuple[Node, ...], sizes: Mapping[Atom, Size]) -> Node:
    """The same operation on rewritten arguments, with some named sizes expressed by others."""
    attributes = dict(node.attributes)
    for key, value in attributes.items():
        if isinstance(value, Size):
            attributes[key] = value.substitute(sizes)
        elif isinstance(value, Type):
            shape = tuple(size.substitute(sizes) for size in value.shape)
            attributes[key] = replace(value, shape=shape)
    return make(node.operation, *arguments, **attributes)
