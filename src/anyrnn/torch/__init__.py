"""Layers for PyTorch: `RNN`, `LSTM`, `GRU` in the place of torch.nn's, and `Recurrent` for any
cell.
"""

from anyrnn.errors import MissingExtraError

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "anyrnn.torch needs 'torch', which is not installed; pip install 'anyrnn[torch]'"
    ) from error

from anyrnn.torch.drop_in import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from anyrnn.torch.prepared import prepare
from anyrnn.torch.recurrent import Recurrent
from anyrnn.torch.streams import truncated

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "prepare",
    "truncated",
]
