"""Transforms from cell to cell: each rewrites the equations, and later stages compile the result
like any other cell.

`transform` applies those that are asked for, in one order.
"""

from __future__ import annotations

from collections.abc import Mapping

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell
from anyrnn.transforms.activations import with_activations
from anyrnn.transforms.clip import with_clipped_gradient, with_clipped_state
from anyrnn.transforms.heads import with_heads, with_independent_units
from anyrnn.transforms.normalisation import with_normalisation
from anyrnn.transforms.projection import with_projection


def transform(
    cell: Cell,
    *,
    activations: Mapping[str, str] | None = None,
    norm: str | None = None,
    heads: int = 1,
    independent: bool = False,
    projection: bool = False,
    clip_state: float | Mapping[str, float] | None = None,
    clip_gradient: float | None = None,
) -> Cell:
    """The cell with some changes, made in the order of the arguments.

    So the activations of an option are those of the cell itself, a norm goes over all heads, and
    what is limited is what is carried.

    Args:
        cell: A cell.
        activations: Functions and those to take instead (`with_activations`).
        norm: `layer` or `rms` (`with_normalisation`).
        heads: The number of blocks of recurrent matrices (`with_heads`).
        independent: Whether units see themselves only (`with_independent_units`).
        projection: Whether the first state is projected (`with_projection`).
        clip_state: The bound of the states, or of some by name (`with_clipped_state`).
        clip_gradient: The bound of the gradient through time (`with_clipped_gradient`).

    Returns:
        The changed cell; the cell itself where nothing is asked for. The same one for the same
        call.

    Raises:
        CellError: An option is not what its transform takes, or two exclude each other.

    Example:
        >>> import anyrnn
        >>> from anyrnn.transforms import transform
        >>> transform(anyrnn.get("gru"), norm="rms", clip_state=2.0)
        <cell gru: states h; parameters W, U, b, d, input_gain, recurrent_gain>
    """
    for name, value in {"independent": independent, "projection": projection}.items():
        if not isinstance(value, bool):
            raise CellError(f"{name}={value!r}; expected True or False")
    structure = {"independent=True": independent, "projection": projection}
    chosen = [*([f"heads={heads}"] if heads != 1 else []), *(k for k, v in structure.items() if v)]
    if len(chosen) > 1:
        raise CellError(
            f"{' and '.join(chosen)} exclude each other: each changes the same matrices"
        )
    if activations:
        cell = with_activations(cell, activations)
    if norm is not None:
        cell = with_normalisation(cell, norm)
    cell = with_heads(cell, heads)
    if independent:
        cell = with_independent_units(cell)
    if projection:
        cell = with_projection(cell)
    if clip_state is not None:
        cell = with_clipped_state(cell, clip_state)
    if clip_gradient is not None:
        cell = with_clipped_gradient(cell, clip_gradient)
    return cell
