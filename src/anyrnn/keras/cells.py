"""Keras' cells, and adapters that give their equations as cells of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import keras
from keras import ops

from anyrnn.graph.cell import Cell
from anyrnn.keras.activations import name_of, with_keras_activations
from anyrnn.keras.gate_order import keras_cell
from anyrnn.keras.saving import as_keras_own
from anyrnn.transforms.dropout import with_input_dropout, with_recurrent_dropout


@as_keras_own
class SimpleRNNCell(keras.layers.SimpleRNNCell):
    """keras.layers.SimpleRNNCell, which `anyrnn.keras.RNN` runs compiled.

    Example:
        >>> import keras
        >>> from anyrnn.keras import RNN, SimpleRNNCell
        >>> tuple(RNN([SimpleRNNCell(4), SimpleRNNCell(5)])(keras.ops.ones((2, 7, 3))).shape)
        (2, 5)
    """


@as_keras_own
class LSTMCell(keras.layers.LSTMCell):
    """keras.layers.LSTMCell, which `anyrnn.keras.RNN` runs compiled."""


@as_keras_own
class GRUCell(keras.layers.GRUCell):
    """keras.layers.GRUCell, which `anyrnn.keras.RNN` runs compiled."""


class CellParts(NamedTuple):
    """A cell of Keras as one of ours.

    Attributes:
        layer: The cell of Keras.
        cell: Our cell that computes what a call does.
        sizes: The named sizes as numbers; none before the layer is built.
        weights: Gives the parameters in the order of `Cell.parameters`, as the backend's tensors;
            of matrices the transposes, as Keras has them.
        masks_input: Whether the input is to be multiplied with Keras' own dropout mask before.
    """

    layer: Any
    cell: Cell
    sizes: Mapping[str, int]
    weights: Callable[[], list[Any]]
    masks_input: bool


class CellAdapter:
    """A base of Keras' cells that say themselves which of ours they are."""

    def parts(self, training: bool) -> CellParts:
        """The cell as a call computes it.

        Args:
            training: Whether dropout is on.
        """
        raise NotImplementedError


def _parts_of_own(layer: Any, name: str, training: bool) -> CellParts | str:
    """As `read`, for one of Keras' own three cells, of a name in our catalogue."""
    names, per_gate = [], getattr(layer, "implementation", 2) == 1
    for option in ("activation", "recurrent_activation"):
        function = getattr(layer, option, keras.activations.sigmoid)
        found = name_of(function)
        if found is None:
            called = getattr(function, "__name__", type(function).__name__)
            return f"{option}={called} is not in the language of cells"
        names.append(found)
    rates = layer.dropout if per_gate else 0.0, layer.recurrent_dropout
    if not training:
        rates = 0.0, 0.0
    elif name == "rnn" and 1 in (layer.dropout, layer.recurrent_dropout):
        return "a dropout of 1"
    # Keras' gated cells ignore a rate of 1
    cell = _equations(name, layer.use_bias, *names, *(rate % 1 for rate in rates))
    sizes = {"input": layer.kernel.shape[0], "hidden": layer.units} if layer.built else {}
    # masks of single gates are drawn by our cell
    masks_input = training and 0 < layer.dropout < 1 and not per_gate
    return CellParts(layer, cell, sizes, partial(_weights, layer), masks_input)


def _weights(layer: Any) -> list[Any]:
    """The arrays of one of Keras' own cells, of which a second bias is one too."""
    matrices = [*map(ops.convert_to_tensor, (layer.kernel, layer.recurrent_kernel))]
    if not layer.use_bias:
        return matrices
    if len(layer.bias.shape) == 2:
        return [*matrices, layer.bias[0], layer.bias[1]]
    return [*matrices, ops.reshape(layer.bias, (-1,))]  # a tensor, not the variable


@lru_cache(maxsize=256)
def _equations(
    name: str,
    use_bias: bool,
    activation: str,
    recurrent_activation: str,
    dropout: float,
    recurrent_dropout: float,
) -> Cell:
    cell = with_keras_activations(keras_cell(name, use_bias), activation, recurrent_activation)
    cell = with_recurrent_dropout(cell, recurrent_dropout, per_gate=True)
    return with_input_dropout(cell, dropout, per_gate=True)


_NAMES: dict[type, str] = {
    keras.layers.SimpleRNNCell: "rnn",
    keras.layers.LSTMCell: "lstm",
    keras.layers.GRUCell: "gru",
}
_COMPUTED = {*_NAMES, SimpleRNNCell, LSTMCell, GRUCell}  # a subclass may compute something else


def name_of_own(cell: Any) -> str | None:
    """Which of our cells one of Keras is.

    Args:
        cell: A cell of Keras, or of a subclass, whose weights are laid out as those of its base.

    Returns:
        Its name in our catalogue; None if it is none of the three.
    """
    name = next((name for base, name in _NAMES.items() if isinstance(cell, base)), None)
    return "gru_reset_before" if name == "gru" and not cell.reset_after else name


def read(cell: Any, training: bool) -> CellParts | str:
    """A cell of Keras as one of ours.

    Args:
        cell: The cell of a layer.
        training: Whether dropout is on.

    Returns:
        Its parts; or why no cell of ours computes the same.
    """
    if isinstance(cell, CellAdapter):
        return cell.parts(training)
    name = name_of_own(cell)
    if name is None or type(cell) not in _COMPUTED:
        return f"a cell of the class {type(cell).__name__}"
    return _parts_of_own(cell, name, training)
