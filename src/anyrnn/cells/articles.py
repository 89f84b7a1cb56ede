"""The systems of equations of five introductory articles, exactly as they are printed.

Where an article is circular, contradictory or leaves a gate unused, its lines are read as
assignments in order, and the right-hand side uses the newest value that exists.
docs/equations-in-the-articles.md compares each with its paper.
"""

from anyrnn.graph.decorator import cell
from anyrnn.graph.symbols import concatenate, sigmoid, softmax, tanh


@cell(sizes={"W.hh": "hidden"})
def article1_rnn(x, h, c, f, i, *, W, b):
    """The "RNN" of the first article: an LSTM-like cell with a softmax as its output gate.

    Differs from Elman's RNN: h is computed twice, first as an RNN's state, then as a gated one. c
    uses f and i, which are printed after it: the newest values that exist are those of the step
    before, so f and i are states. W.xc serves both the forget gate and the candidate. o is a
    softmax: the units share an output of one.
    """
    previous = h
    h = tanh(W.hh @ previous + W.xh @ x + b.h)
    o = softmax(W.ho @ h + W.xo @ x + b.o)
    c = f * c + i * tanh(W.hc @ h + W.xc @ x + b.c)
    f = sigmoid(W.hf @ previous + W.xc @ x + b.f)
    i = sigmoid(W.hi @ previous + W.xi @ x + b.i)
    h = o * tanh(c)
    return h, c, f, i


@cell
def article1_lstm(x, h, c, *, W, b):
    """The LSTM of the first article: forget gate and candidate share their input matrix, W.xc.

    The output gate is printed with the new h, which is computed from it: the newest value that
    exists is the old h. With a W.xf of its own for the forget gate it is the LSTM of Gers et al.
    2000.
    """
    f = sigmoid(W.hf @ h + W.xc @ x + b.f)
    i = sigmoid(W.hi @ h + W.xi @ x + b.i)
    o = sigmoid(W.ho @ h + W.xo @ x + b.o)
    g = tanh(W.hc @ h + W.xc @ x + b.c)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(unused=("W.hz", "W.xz", "b.z"))
def article1_gru(x, h, *, W, b):
    """The GRU of the first article: two lines assign the new h, and the second one wins.

    The update gate z, used by the first one only, has no influence, and nothing resets the
    candidate: r does what the update gate does in Cho et al. 2014. The parameters of z are left
    out.
    """
    previous = h
    z = sigmoid(W.hz @ previous + W.xz @ x + b.z)
    r = sigmoid(W.hr @ previous + W.xr @ x + b.r)
    n = tanh(W.hh @ previous + W.xh @ x + b.h)
    h = (1 - z) * previous + z * n
    h = r * previous + (1 - r) * n
    return h


@cell(unused=("W.ix", "W.ih", "b.i"))
def article2_lstm(x, h, c, *, W, b):
    """The LSTM of the second article: an update gate u as in a GRU, and a candidate that f resets.

    c' = u c~ + (1 - u) c instead of f c + i g; f multiplies h inside the candidate's product, so
    that a step has two stages. The input gate i is computed and never used; its parameters are left
    out.
    """
    i = sigmoid(W.ix @ x + W.ih @ h + b.i)  # noqa: F841 - printed, and used nowhere
    f = sigmoid(W.fx @ x + W.fh @ h + b.f)
    u = sigmoid(W.ux @ x + W.uh @ h + b.u)
    g = tanh(W.cx @ x + W.ch @ (f * h) + b.c)
    c = u * g + (1 - u) * c
    o = sigmoid(W.ox @ x + W.oh @ h + b.o)
    h = o * tanh(c)
    return h, c


@cell
def article2_gru(x, h, *, W, b):
    """The GRU of the second article: the last line uses a z that no line defines.

    Its gates are u and r; z is read as u, the update gate, as it is called in the text. In the
    candidate W.cx multiplies the state and W.ch the input, as printed. It is then the GRU of Cho et
    al. 2014 (v3) with the roles of u and 1 - u exchanged.
    """
    u = sigmoid(W.ux @ x + W.uh @ h + b.u)
    r = sigmoid(W.rx @ x + W.rh @ h + b.r)
    n = tanh(W.cx @ (r * h) + W.ch @ x + b.c)
    z = u
    h = (1 - z) * h + z * n
    return h


@cell
def article3_lstm(x, h, c, *, W, b):
    """The LSTM of the third article: one matrix a gate, on [h, x].

    The LSTM of Gers et al. 2000; W.f is U.f and W.f of the cell `lstm` side by side.
    """
    hx = concatenate(h, x)
    f = sigmoid(W.f @ hx + b.f)
    i = sigmoid(W.i @ hx + b.i)
    g = tanh(W.C @ hx + b.C)
    c = f * c + i * g
    o = sigmoid(W.o @ hx + b.o)
    h = o * tanh(c)
    return h, c


@cell
def article3_gru(x, h, *, W, b):
    """The GRU of the third article: one matrix a gate, on [h, x]; the reset gate before the
    product.

    The GRU of Cho et al. 2014 (v3), with z and 1 - z exchanged: here z is how much of the new value
    comes in.
    """
    hx = concatenate(h, x)
    z = sigmoid(W.z @ hx + b.z)
    r = sigmoid(W.r @ hx + b.r)
    n = tanh(W.h @ concatenate(r * h, x) + b.h)
    h = (1 - z) * h + z * n
    return h


@cell(sizes={"W.hy": "output"})
def article4_rnn(x, h, *, W, b):
    """The RNN of the fourth article, with an output layer; f is tanh. The cell `rnn_output` in
    other letters.
    """
    h = tanh(W.hh @ h + W.xh @ x + b.h)
    y = W.hy @ h + b.y
    return y, h


@cell
def article4_lstm(x, h, c, *, W, b):
    """The LSTM of the fourth article: peepholes that are full matrices, all on the old cell state.

    In Gers et al. 2002 and Graves 2013 the peepholes are diagonal (each gate sees its own unit),
    and the output gate sees the new cell state.
    """
    i = sigmoid(W.xi @ x + W.hi @ h + W.ci @ c + b.i)
    f = sigmoid(W.xf @ x + W.hf @ h + W.cf @ c + b.f)
    o = sigmoid(W.xo @ x + W.ho @ h + W.co @ c + b.o)
    c = f * c + i * tanh(W.xc @ x + W.hc @ h + b.c)
    h = o * tanh(c)
    return h, c


@cell
def article4_gru(x, h, *, W, b):
    """The GRU of the fourth article: r scales the candidate instead of resetting the state
    inside it.

    The two weights of h' = (1 - z) h + r n no longer add up to one: with constant gates the state
    grows up to r / z, so it is not bounded by one as a GRU's is.
    """
    z = sigmoid(W.xz @ x + W.hz @ h + b.z)
    r = sigmoid(W.xr @ x + W.hr @ h + b.r)
    h = (1 - z) * h + r * tanh(W.xh @ x + W.hh @ h + b.h)
    return h
