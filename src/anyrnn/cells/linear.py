"""Cells without a matrix on the state: their recurrence is linear in it, unit by unit."""

from anyrnn.graph.decorator import cell
from anyrnn.graph.symbols import sigmoid, tanh


@cell
def mingru(x, h, *, W, b):
    """Minimal gated recurrent unit (Feng et al. 2024, arXiv 2410.01201, section 3.1).

    h' = (1 - z) h + z n. The plain form, not the one in logarithms, which keeps n positive by a
    function of its own.
    """
    z = sigmoid(W.z @ x + b.z)
    n = W.n @ x + b.n
    h = (1 - z) * h + z * n
    return h


@cell
def minlstm(x, h, *, W, b):
    """Minimal long short-term memory (Feng et al. 2024, arXiv 2410.01201, section 3.2).

    h' = (f h + i n) / (f + i), with gates that together are one. The plain form, not the one in
    logarithms, which keeps n positive by a function of its own.
    """
    f = sigmoid(W.f @ x + b.f)
    i = sigmoid(W.i @ x + b.i)
    n = W.n @ x + b.n
    h = f / (f + i) * h + i / (f + i) * n
    return h


@cell
def sru(x, c, *, W, v, b):
    """Simple recurrent unit (Lei et al. 2018, arXiv 1709.02755v5).

    The gates see the unit's own old state; a highway mixes the input into the output h, so that
    input and state have one size. The highway's scaling constant of the paper is 1.
    """
    f = sigmoid(W.f @ x + v.f * c + b.f)
    r = sigmoid(W.r @ x + v.r * c + b.r)
    c = f * c + (1 - f) * (W.c @ x)
    h = r * c + (1 - r) * x
    return h, c


@cell
def qrnn(x, c, z, f, o, *, W, V, b):
    """Quasi-recurrent network, fo-pooling over windows of two (Bradbury et al. 2017, arXiv
    1611.01576).

    The states z, f and o are the products with the input of the step before, which the convolution
    over time adds to those of this step. The paper leaves the biases out.
    """
    z = tanh(W.z @ x + z + b.z)
    f = sigmoid(W.f @ x + f + b.f)
    o = sigmoid(W.o @ x + o + b.o)
    c = f * c + (1 - f) * z
    h = o * c
    return h, c, V.z @ x, V.f @ x, V.o @ x
