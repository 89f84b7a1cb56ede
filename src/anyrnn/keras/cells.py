"""Keras' cells, and adapters that give their equations as cells of ours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

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


class CellAdapter:
    """An adapter: a cell of Keras, seen as one of ours with its parameters."""

    def keras_layer(self) -> Any:
        """The cell of Keras."""
        raise NotImplementedError

    @property
    def sizes(self) -> Mapping[str, int]:
        """The named sizes as numbers."""
        raise NotImplementedError

    def equations(self, training: bool) -> Cell | str:
        """The cell as a call computes it.

        Args:
            training: Whether dropout is on.

        Returns:
            The cell; or why no cell of ours computes the same.
        """
        raise NotImplementedError

    def stored(self) -> list[Any]:
        """The parameters in the layout of `Cell.parameters`, as the backend's tensors."""
        raise NotImplementedError

    def masks_input(self, training: bool) -> bool:
        """Whether the input is to be multiplied with Keras' own dropout mask before."""
        raise NotImplementedError


class KerasCell(CellAdapter):
    """The adapter of Keras' own three cells.

    Args:
        layer: Keras' cell.
        name: What it is called in our catalogue.
    """

    def __init__(self, layer: Any, name: str) -> None:
        self.layer, self.name = layer, name
        self._per_gate = getattr(layer, "implementation", 2) == 1

    def keras_layer(self) -> Any:
        """The cell of Keras."""
        return self.layer

    @property
    def sizes(self) -> Mapping[str, int]:
        """The named sizes as numbers."""
        return {"input": self.layer.kernel.shape[0], "hidden": self.layer.units}

    def equations(self, training: bool) -> Cell | str:
        """As `CellAdapter.equations`; with activations that are not known there is no cell."""
        layer, names = self.layer, []
        for option in ("activation", "recurrent_activation"):
            function = getattr(layer, option, keras.activations.sigmoid)
            name = name_of(function)
            if name is None:
                called = getattr(function, "__name__", type(function).__name__)
                return f"{option}={called} is not in the language of cells"
            names.append(name)
        rates = layer.dropout if self._per_gate else 0.0, layer.recurrent_dropout
        if not training:
            rates = 0.0, 0.0
        elif self.name == "rnn" and 1 in (layer.dropout, layer.recurrent_dropout):
            return "a dropout of 1"
        # Keras' gated cells ignore a rate of 1
        return _equations(self.name, layer.use_bias, *names, *(rate % 1 for rate in rates))

    def stored(self) -> list[Any]:
        """The parameters: Keras' arrays, transposed."""
        layer = self.layer
        matrices = [ops.transpose(layer.kernel), ops.transpose(layer.recurrent_kernel)]
        if not layer.use_bias:
            return matrices
        if len(layer.bias.shape) == 2:
            return [*matrices, layer.bias[0], layer.bias[1]]
        return [*matrices, ops.reshape(layer.bias, (-1,))]  # a tensor, not the variable

    def masks_input(self, training: bool) -> bool:
        """As `CellAdapter.masks_input`; masks of single gates are drawn by the cell."""
        return training and 0 < self.layer.dropout < 1 and not self._per_gate


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


def read(cell: Any) -> CellAdapter | None:
    """The adapter for a cell of Keras.

    Args:
        cell: The cell of a layer.

    Returns:
        The adapter; None for a class whose computation is not known.
    """
    if isinstance(cell, CellAdapter):
        return cell
    name = name_of_own(cell)
    return KerasCell(cell, name) if name is not None and type(cell) in _COMPUTED else None
