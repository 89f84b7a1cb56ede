"""Long short-term memory and its relatives."""

from anyrnn.graph.decorator import cell
from anyrnn.graph.symbols import sigmoid, tanh


@cell
def lstm(x, h, c, *, W, U, b):
    """Long short-term memory with a forget gate (Gers, Schmidhuber & Cummins 2000).

    The form of torch.nn.LSTM and keras.layers.LSTM: the original of 1997 with the forget gate of
    2000 and without peepholes, as in Graves & Schmidhuber 2005.
    """
    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell
def lstm_1997(x, h, c, *, W, U, b):
    """Long short-term memory without a forget gate (Hochreiter & Schmidhuber 1997).

    The cell state is only ever added to. The squashing functions of the paper, 4 sigmoid - 2 and 2
    sigmoid - 1, are tanh up to the scale of the weights.
    """
    i = sigmoid(W.i @ x + U.i @ h + b.i)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = c + i * g
    h = o * tanh(c)
    return h, c


@cell
def lstm_peephole(x, h, c, *, W, U, p, b):
    """Long short-term memory whose gates see the cell state (Gers, Schraudolph & Schmidhuber 2002).

    The peepholes are vectors: each unit's gates see that unit's state only, the output gate the new
    one.
    """
    i = sigmoid(W.i @ x + U.i @ h + p.i * c + b.i)
    f = sigmoid(W.f @ x + U.f @ h + p.f * c + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    c = f * c + i * g
    o = sigmoid(W.o @ x + U.o @ h + p.o * c + b.o)
    h = o * tanh(c)
    return h, c


@cell
def lstm_coupled(x, h, c, *, W, U, b):
    """Long short-term memory with the input gate 1 - f (CIFG in Greff et al. 2015, arXiv
    1503.04069).
    """
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = f * c + (1 - f) * g
    h = o * tanh(c)
    return h, c


@cell(sizes={"h": "projection"})
def lstm_projection(x, h, c, *, W, U, b, P):
    """Long short-term memory with a projected output (Sak, Senior & Beaufays 2014, arXiv
    1402.1128).

    The form of torch.nn.LSTM with proj_size: h has a smaller size than c, and is what the gates
    see.
    """
    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = f * c + i * g
    h = P @ (o * tanh(c))
    return h, c
