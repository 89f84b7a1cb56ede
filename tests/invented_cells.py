"""Cells that together use every operation of the language, each way of naming parameters and each
relation between sizes.
"""

from __future__ import annotations

import anyrnn
from anyrnn import (
    clip_gradient,
    concatenate,
    exp,
    hard_sigmoid,
    layer_norm,
    log,
    maximum,
    mean,
    minimum,
    relu,
    sigmoid,
    softmax,
    softplus,
    sqrt,
    tanh,
    where,
)


@anyrnn.cell
def normalised(x, h, *, W, U, g, b, epsilon=1e-5):
    """Layer-normed update gate, with gains of its own."""
    z = sigmoid(layer_norm(W.z @ x + U.z @ h, epsilon) * g.z + b.z)
    n = tanh(layer_norm(W.n @ x + b.w) * g.n + layer_norm(U.n @ h + b.u, epsilon=0.01) * g.u)
    return (1 - z) * h + z * n


@anyrnn.cell
def every_function(x, h, *, W, U, b):
    """Every elementwise function and comparison once."""
    a = W.a @ x + U.a @ h + b.a
    d = W.d @ x + U.d @ h + b.d
    e = hard_sigmoid(3 * a) + softplus(d) - abs(a) / (2.5 + tanh(d))
    f = log(1.5 + tanh(a)) * sqrt(d * d + 0.3) + exp(-relu(a)) + relu(d - 0.1) ** 3
    g = where(a > d, e, f) + where(a >= 0.2, 0.5, e) + where(h < 0, f, -1) + where(d <= a, 0, 1)
    i = maximum(e, f) * minimum(a, 0.3) + maximum(-0.1, d) - maximum(a, 0.1) ** 0.5
    return tanh(0.3 * g - 0.2 * i) * +h + sigmoid(e - f) / 2


@anyrnn.cell
def ties(x, h, *, W, U):
    """Both sides of maximum and minimum are equal, and yet different expressions."""
    a = W @ x + U @ h
    upper = maximum(a + 0.5, 0.5 + a) + minimum(2 * a, a * 2)
    return tanh(upper) * sigmoid(a + 0.3) + sigmoid(0.3 + a) * maximum(h, h) / 3


@anyrnn.cell
def antisymmetric(x, h, *, W, U, b, step=0.3, gamma=0.05):
    """Antisymmetric RNN (Chang et al. 2019): family U by itself, transposed, and a matrix minus a
    number.
    """
    return h + step * tanh((U - U.T - gamma) @ h - gamma * h + W @ x + b)


@anyrnn.cell
def tied(x, h, *, V, a):
    """One matrix in both directions."""
    inside = tanh(V.x @ x + V.h @ h)
    back = V.x.T @ (V.h.T @ inside)
    return tanh(inside - V.x @ (back * a))


@anyrnn.cell(sizes={"s.x": 1, "s.h": 1, "t": 1})
def single_numbers(x, h, *, W, U, s, t, b):
    """Trained numbers, some in a family of two, one by itself."""
    return sigmoid(t) * h + tanh(s.x * (W @ x) + (U @ h) / (2 + tanh(s.h)) + b - t)


@anyrnn.cell(sizes={"c": "cell", "m": "memory"})
def three_states(x, h, c, m, *, W, U, P, b):
    """Three states of three sizes; the families W, U and P need several arrays."""
    new_c = tanh(W.c @ x + U.c @ c + P.c @ m + b.c)
    new_m = m * sigmoid(W.m @ x + U.m @ new_c + b.m)
    return tanh(P.h @ new_m + U.h @ h - P.x @ c), new_c, new_m


@anyrnn.cell
def diagonal(x, h, *, W, u, b):
    """Independently recurrent network (Li et al. 2018): the recurrence is a vector."""
    return relu(W @ x + u * h + b)


@anyrnn.cell(sizes={"b.n": "hidden"})
def joined(x, h, *, W, b, e):
    """Concatenations, slices from both ends, and a parameter joined to a state."""
    turned = concatenate(h[1:], h[:1])
    back = concatenate(turned[-1:], turned[:-1]) - h
    g = W.g @ concatenate(x, e.first, turned[:2], h) + e.first * turned
    n = W.n @ concatenate(h[-2:], b.n) * concatenate(b.m[:1], b.m[1:])
    return tanh(g - n) + 0.5 * h + back


@anyrnn.cell
def same_sizes(x, h, *, U):
    """The sum of input and state makes their sizes one."""
    return tanh(x + U @ h)


@anyrnn.cell
def moving_average(x, h):
    """No parameters."""
    return 0.9 * h + 0.1 * x


@anyrnn.cell(sizes={"V": "output"})
def classifier(x, h, *, W, U, V, b):
    """An output of another size, apart from the state."""
    h = tanh(W @ x + U @ h + b.h)
    return softmax(V @ h + b.y), h


@anyrnn.cell
def delayed(x, h, c, *, W, U):
    """A state that is handed on as it is."""
    return tanh(W @ x + U @ c), h


@anyrnn.cell
def echo(x, h, *, W):
    """The new state is the input; the output sees the old state."""
    return tanh(W @ h) * x, x


@anyrnn.cell
def shared_result(x, h, c, *, W, U):
    """One value is the output and two states."""
    h = tanh(W @ x + U @ (h - c))
    return h, h, h


@anyrnn.cell
def of_parameters(x, h, *, W, U, b, g):
    """Expressions of parameters alone, which need no sequence."""
    weight = softmax(b.a) * layer_norm(g) + mean(b.a * g) - anyrnn.sum(b.a)
    return tanh((W @ x) * weight + U @ (h * sigmoid(g)) + U @ b.c)


@anyrnn.cell
def of_numbers(x, h, *, W, U):
    """Numbers of each row, of the state and of the input."""
    level = mean(h) + anyrnn.sum(x) / 5
    return tanh(W @ x + U @ h - level) * sigmoid(level) + where(level > 0, 0.1, mean(h) * h)


@anyrnn.cell
def conditions(x, h, *, W, U):
    """Comparisons used as numbers."""
    a = W @ x + U @ h
    return tanh(a * (a > 0) + mean(h < a) * h + 0.5 * ((a > 0.1) + (h > 0.1)) - (a <= h))


@anyrnn.cell
def repeated(x, h, *, W, U, b, steps=3, slope=0.5):
    """A hyperparameter that decides how often a line runs, and a choice by another."""
    for _ in range(steps):
        h = tanh(W @ x + U @ h + b) if slope > 0 else h
    return slope * h


@anyrnn.cell
def only_input(x, h, *, W, b):
    """No state has influence."""
    return tanh(W @ x + b)


@anyrnn.cell
def only_state(x, h, *, U, b):
    """The input has no influence."""
    return tanh(U @ h + b)


@anyrnn.cell(sizes={"c": "hidden"})
def most_of_a_state(x, h, c, *, W, U, b):
    """The derivative joins a product that is known before the loop with zeros."""
    return c + U @ h[1:], tanh(c + W @ x), tanh(c) + b


@anyrnn.cell
def hardly_clipped(x, h, *, W, U, bound=1000.0):
    """A bound that no gradient reaches, so that the derivative is that of the value."""
    return tanh(W @ x + U @ clip_gradient(h, bound) + clip_gradient(mean(x), bound))


INVENTED = {
    made.name: made
    for made in (
        normalised,
        every_function,
        ties,
        antisymmetric,
        tied,
        single_numbers,
        three_states,
        diagonal,
        joined,
        same_sizes,
        moving_average,
        classifier,
        delayed,
        echo,
        shared_result,
        of_parameters,
        of_numbers,
        conditions,
        repeated,
        only_input,
        only_state,
        most_of_a_state,
        hardly_clipped,
    )
}
SMALLEST = {"joined": 3, "most_of_a_state": 2}  # the sizes of a cell that slices its state
