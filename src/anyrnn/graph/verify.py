"""Verification of graphs; in the tests every pass over one ends with it."""

from __future__ import annotations

import os
import weakref

from anyrnn.errors import SizeError, VerificationError
from anyrnn.graph.nodes import Graph, Node
from anyrnn.graph.operations import OPERATIONS

VERIFY = bool(os.environ.get("ANYRNN_VERIFY"))  # set in the tests: elsewhere it costs nothing
_sound: weakref.WeakSet[Node] = weakref.WeakSet()  # a node never changes, so once is enough


def verify(graph: Graph) -> None:
    """Check every node of a graph against the list of operations.

    Raises:
        VerificationError: A node is of no known operation, has another type than its arguments give
        it, or a size that is not determined; or two leaves share a name.
    """
    leaves: dict[str, object] = {}
    for node in graph.nodes():
        if node not in _sound:
            _verify_node(node)
            _sound.add(node)
        named = OPERATIONS[node.operation].named
        if named and leaves.setdefault(node.name, node) is not node:
            raise VerificationError(f"two leaves are called '{node.name}'")


def _verify_node(node: Node) -> None:
    row = OPERATIONS.get(node.operation)
    if row is None:
        raise VerificationError(f"'{node.operation}' is not in the list of operations")
    if row.arity is not None and len(node.arguments) != row.arity:
        raise VerificationError(f"{node.operation} has {len(node.arguments)} arguments")
    try:
        inferred = row.infer(tuple(a.type for a in node.arguments), node.attributes)
    except SizeError as error:
        raise VerificationError(f"{node.operation}: {error}") from error
    if inferred != node.type:
        raise VerificationError(f"{node.operation} is {node.type}, but should be {inferred}")
    if any(size.variables for size in node.type.shape):
        raise VerificationError(f"{node.operation} has an undetermined size: {node.type}")
