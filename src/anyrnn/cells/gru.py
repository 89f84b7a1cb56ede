"""Gated recurrent units."""

from anyrnn.graph.decorator import cell
from anyrnn.graph.symbols import sigmoid, tanh


@cell
def gru(x, h, *, W, U, b, d):
    """Gated recurrent unit, the reset gate after the product (Cho et al. 2014, arXiv 1406.1078v1).

    The form of torch.nn.GRU and of keras.layers.GRU with reset_after=True: the candidate's
    recurrent part has a bias d of its own, inside the reset gate's reach. z is how much of the old
    state stays.
    """
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + b.n + r * (U.n @ h + d.n))
    h = (1 - z) * n + z * h
    return h


@cell
def gru_reset_before(x, h, *, W, U, b):
    """Gated recurrent unit, the reset gate before the product (Cho et al. 2014, arXiv 1406.1078v3).

    The form of keras.layers.GRU with reset_after=False and of ONNX with linear_before_reset=0. The
    candidate needs the reset gate before its product can start: a step has two stages.
    """
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h = (1 - z) * n + z * h
    return h
