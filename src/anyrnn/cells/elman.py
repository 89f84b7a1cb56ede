"""The simple recurrent network."""

from anyrnn.graph.decorator import cell
from anyrnn.graph.symbols import relu, tanh


@cell
def rnn(x, h, *, W, U, b):
    """The simple recurrent network with tanh (Elman 1990, "Finding structure in time").

    h' = tanh(W x + U h + b)
    """
    h = tanh(W @ x + U @ h + b)
    return h


@cell
def rnn_relu(x, h, *, W, U, b):
    """The simple recurrent network with the rectifier (Le, Jaitly & Hinton 2015, arXiv 1504.00941).

    h' = relu(W x + U h + b)
    """
    h = relu(W @ x + U @ h + b)
    return h


@cell(sizes={"V": "output"})
def rnn_output(x, h, *, W, U, b, V, d):
    """The simple recurrent network with an output layer of its own (Elman 1990).

    h' = tanh(W x + U h + b), y = V h' + d; the layer returns y, and carries h.
    """
    h = tanh(W @ x + U @ h + b)
    y = V @ h + d
    return y, h
