"""The eigenvalues of recurrent matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.nodes import Graph, Node, joined, topological
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.roles import Role, matrix_leaf, roles
from anyrnn.inspect.calls import Labels, layers_of
from anyrnn.kernels.run import Array
from anyrnn.torch.layer_part import LayerPart


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of a matrix that multiplies a state.

    Attributes:
        name: The matrix, such as `U.z` or `U.n_l1`.
        eigenvalues: Complex numbers, the largest first, (size,).
        diagonal: Whether the matrix is a vector: each unit reads itself only.
    """

    name: str
    eigenvalues: Array
    diagonal: bool = False

    @property
    def radius(self) -> float:
        """The spectral radius: the size of the largest eigenvalue."""
        return float(np.abs(self.eigenvalues).max())


def spectrum(model: nn.Module) -> list[Spectrum]:
    """The eigenvalues of each recurrent matrix of a model's cells.

    Of a matrix that reads a state joined to something else, W [h, x], those are the columns of the
    state. Where a cell makes its matrix, as U - U.T, the matrix made is taken. Matrices that are
    not square have no eigenvalues, and are left out.

    Args:
        model: A recurrent layer, or any module with such layers in it.

    Returns:
        A spectrum for each matrix.

    Raises:
        InputError: The model has no such layer.

    Example:
        >>> from anyrnn.inspect import spectrum
        >>> from anyrnn.torch import GRU
        >>> [(each.name, len(each.eigenvalues)) for each in spectrum(GRU(3, 5))]
        [('U.r', 5), ('U.z', 5), ('U.n', 5)]
    """
    layers, found = layers_of(model), []
    label = Labels(len(layers) > 1)
    for module, layer in layers.items():
        parts = layer._made().parts
        for part in parts:
            weights = {k: v.detach().double().cpu() for k, v in layer._weights(part).items()}
            arrays = {name: tensor.numpy() for name, tensor in weights.items()}
            suffix = part.suffix * (len(parts) > 1)
            for name, matrix in _matrices(part, arrays):
                diagonal = matrix.ndim == 1
                values = matrix.astype(complex) if diagonal else np.linalg.eigvals(matrix)
                order = np.argsort(-np.abs(values), kind="stable")
                found.append(Spectrum(label(module, name, suffix), values[order], diagonal))
    return found


def _matrices(part: LayerPart, arrays: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    """The square matrices and the vectors that multiply states."""
    cell: Cell = part.cell
    leaves: dict[Any, Any] = split_parameters(cell, arrays, part.sizes)
    seen: set[str] = set()
    for node in _recurrent(cell):
        matrix, vector = node.arguments
        whole = evaluate([matrix], leaves, part.sizes, np.dtype(float))[matrix]
        name = matrix_leaf(matrix).name
        if name in seen:
            continue
        seen.add(name)
        for first, last in _columns(vector, part.sizes):
            own = whole[:, first:last]
            if own.shape[0] == own.shape[1]:
                yield name, own
    for name in _vectors(cell):
        if name not in seen:
            seen.add(name)
            yield name, leaves[name]


def _recurrent(cell: Cell) -> list[Node]:
    found = roles(cell.graph, cell.states)
    products = [node for node, role in found.items() if role is Role.RECURRENT]
    order = {leaf: place for place, leaf in enumerate(cell.members)}
    return sorted(products, key=lambda node: order[matrix_leaf(node.arguments[0])])


def _columns(vector: Node, sizes: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Which columns of a matrix multiply what follows from a state."""
    if vector.operation != "concatenate":
        yield 0, vector.type.shape[0].evaluate(sizes)
        return
    for each, start, stop in joined(vector):
        if any(node.operation == "state" for node in topological([each])):
            yield start.evaluate(sizes), stop.evaluate(sizes)


def _vectors(cell: Cell) -> Iterator[str]:
    """The vectors of parameters that a state itself is multiplied with, on the way to a state."""
    new = {name: cell.graph.outputs[name] for name in cell.states}
    for node in Graph(new).nodes():
        kinds = {argument.operation: argument for argument in node.arguments}
        parameter, state = kinds.get("parameter"), kinds.get("state")
        if node.operation == "multiply" and parameter and state:
            yield from [parameter.name] if parameter.type.shape == state.type.shape else []
