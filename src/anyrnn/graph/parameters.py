"""How a cell's parameters are stored: the members of a family, such as W.i and W.f, stacked in one
array.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from anyrnn.errors import CellError
from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size

if TYPE_CHECKING:
    from anyrnn.graph.cell import Cell


@dataclass(frozen=True)
class StoredParameter:
    """One array of parameters: the members of a family, stacked along the first axis.

    Attributes:
        name: The name of the array: the family's, or family_member where a family needs several
            arrays.
        members: The names of its members, in order (`W.i`, `W.f`, ...).
        bounds: The first row of each member and the end of the last one.
        shape: The shape of the array.
    """

    name: str
    members: tuple[str, ...]
    bounds: tuple[Size, ...]
    shape: tuple[Size, ...]

    @property
    def is_matrix(self) -> bool:
        """Whether it is used in matrix products."""
        return len(self.shape) == 2

    def shape_for(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple(size.evaluate(sizes) for size in self.shape)

    def rows(self, sizes: Mapping[str, int]) -> dict[str, slice]:
        """Which rows of the array each member is, in order."""
        ends = pairwise(bound.evaluate(sizes) for bound in self.bounds)
        return {name: slice(*rows) for name, rows in zip(self.members, ends, strict=True)}


def store(parameters: Iterable[Node], cell: str) -> tuple[StoredParameter, ...]:
    """Stack the parameters of each family that have the same number of columns.

    Args:
        parameters: The parameters, in order of first use.
        cell: The name of their cell, for messages.

    Raises:
        CellError: Two arrays would have one name.
    """
    groups: dict[tuple[str, tuple[Size, ...], bool], list[Node]] = {}
    for node in parameters:
        shape = node.type.shape
        key = (node.name.split(".")[0], shape[1:], bool(shape))
        groups.setdefault(key, []).append(node)
    families = [family for family, *_ in groups]
    stored: dict[str, StoredParameter] = {}
    for (family, columns, _), nodes in groups.items():
        bounds = [*accumulate((node.type.size for node in nodes), initial=Size.of(0))]
        alone = families.count(family) == 1
        name = family if alone else nodes[0].name.replace(".", "_")
        members = tuple(node.name for node in nodes)
        if name in stored:
            raise CellError(
                f"cell '{cell}': {stored[name].members[0]} and {members[0]} are both stored as "
                f"{name}; rename one"
            )
        stored[name] = StoredParameter(name, members, tuple(bounds), (bounds[-1], *columns))
    return tuple(stored.values())


def split_parameters(
    cell: Cell, parameters: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """The members of the stored parameters: `{"W": stacked}` becomes `{"W.i": ..., "W.f": ...}`."""
    members: dict[str, Any] = {}
    leaves = {leaf.name: leaf for leaf in cell.members}
    for stored in cell.parameters:
        for name, rows in stored.rows(sizes).items():
            part = parameters[stored.name][rows]
            members[name] = part if leaves[name].type.shape else part[0]
    return members
