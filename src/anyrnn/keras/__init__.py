"""Layers for Keras: `SimpleRNN`, `LSTM`, `GRU` in the place of Keras', and `Recurrent` for any
cell.
"""

from anyrnn.errors import MissingExtraError

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name == "keras":
        raise MissingExtraError(
            "anyrnn.keras needs 'keras', which is not installed; pip install 'anyrnn[keras]'"
        ) from error
    raise MissingExtraError(
        f"Keras' backend needs '{error.name}', which is not installed; install it, or name another "
        "backend in KERAS_BACKEND before Keras is imported: torch, jax or tensorflow"
    ) from error

from anyrnn.keras.cells import GRUCell, LSTMCell, SimpleRNNCell
from anyrnn.keras.exchange import from_torch, to_torch
from anyrnn.keras.layers import GRU, LSTM, RNN, SimpleRNN, replace_layers
from anyrnn.keras.prepared import prepare, unprepare
from anyrnn.keras.recurrent import Recurrent, RecurrentCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "Recurrent",
    "RecurrentCell",
    "SimpleRNN",
    "SimpleRNNCell",
    "from_torch",
    "prepare",
    "replace_layers",
    "to_torch",
    "unprepare",
]
