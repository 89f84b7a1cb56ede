"""The cells as one writes them on arrays, for torch and JAX alike.

All products with the input are one product before the loop, and so are those with the state in a
step. A step takes the functions of the library, the products with the input, the input, the states
and the parameters, which are laid out for `x @ W` with the gates side by side; it returns the new
states, of which the first is the output. `advance` is a step with an option of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.cases import COUNTED, NORM, RESETS, ZONEOUT, Case, Layout, named

States = tuple[Any, ...]
Step = Callable[[Any, Any, Any, States, Any], States]


def inputs(of: Any, x: Any, p: Any) -> Any:
    """The products with the whole input, and their biases."""
    if "input_gain" in p:
        return _normalised(of, x @ p["W"], p["input_gain"], p) + p["b"]
    return of.product(p["b"], x, p["W"])


def advance(
    case: Case, of: Any, a: Any, x: Any, states: States, p: Any, mark: Any
) -> tuple[States, Any]:
    """A step with the option of a case.

    Args:
        case: The case.
        of: The functions of the library.
        a: The products with the input.
        x: The input.
        states: The old states.
        p: The parameters; with recurrent dropout also what the state is multiplied with, `kept`.
        mark: Of this step: whether it counts, or the state is put back before it, (batch, 1); or
            which units keep each state.

    Returns:
        The new states, and the output.
    """
    if case.option == RESETS:
        states = tuple(of.where(mark, 0.0, state) for state in states)
    new = equations(case)[0](of, a, x, states, p)
    if case.option == ZONEOUT:
        new = tuple(of.where(k, old, n) for k, old, n in zip(mark, states, new, strict=True))
    if case.option in COUNTED:
        output = of.where(mark, new[0], 0.0)
        return tuple(of.where(mark, n, old) for n, old in zip(new, states, strict=True)), output
    return new, new[0]


def _seen(h: Any, p: Any) -> Any:
    """The state as the recurrent matrices see it."""
    return h * p["kept"] if "kept" in p else h


def _products(of: Any, h: Any, p: Any) -> Any:
    """Of the recurrent matrices with the state."""
    u = _seen(h, p) @ p["U"]
    return _normalised(of, u, p["recurrent_gain"], p) if "recurrent_gain" in p else u


def _normalised(of: Any, v: Any, gain: Any, p: Any) -> Any:
    """Layer norm, for each gate by itself."""
    gates = v.reshape((*v.shape[:-1], -1, p["U"].shape[0]))
    return of.layer_norm(gates).reshape(v.shape) * gain


def _lstm(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    h, c = states
    i, f, g, o = of.split(of.product(a, _seen(h, p), p["U"]), 4)
    c = of.sigmoid(f) * c + of.sigmoid(i) * of.tanh(g)
    return of.sigmoid(o) * of.tanh(c), c


def _lstm_norm(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    h, c = states
    i, f, g, o = of.split(a + _products(of, h, p), 4)
    c = of.sigmoid(f) * c + of.sigmoid(i) * of.tanh(g)
    return of.sigmoid(o) * of.tanh(of.layer_norm(c) * p["state_gain"] + p["state_bias"]), c


def _gru(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    (h,) = states
    (ar, az, an), (ur, uz, un) = of.split(a, 3), of.split(_products(of, h, p), 3)
    z = of.sigmoid(az + uz)
    n = of.tanh(an + of.sigmoid(ar + ur) * (un + p["d"]))
    return ((1 - z) * n + z * h,)


def _rnn(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    return (of.tanh(of.product(a, states[0], p["U"])),)


def _gru_reset_before(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    (h,) = states
    (ar, az, an), (ur, uz) = of.split(a, 3), of.split(h @ p["U"], 2)
    z = of.sigmoid(az + uz)
    n = of.tanh(of.product(an, of.sigmoid(ar + ur) * h, p["V"]))
    return ((1 - z) * n + z * h,)


def _lstm_peephole(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    h, c = states
    i, f, g, o = of.split(of.product(a, h, p["U"]), 4)
    at_i, at_f, at_o = of.split(p["p"], 3)
    c = of.sigmoid(f + at_f * c) * c + of.sigmoid(i + at_i * c) * of.tanh(g)
    return of.sigmoid(o + at_o * c) * of.tanh(c), c


def _lstm_coupled(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    h, c = states
    f, g, o = of.split(of.product(a, h, p["U"]), 3)
    f = of.sigmoid(f)
    c = f * c + (1 - f) * of.tanh(g)
    return of.sigmoid(o) * of.tanh(c), c


def _fast_slow(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    h, c = states
    s, z, n = of.split(of.product(a, h, p["U"]), 3)
    at_s, at_n = of.split(p["p"], 2)
    s, z, n = of.sigmoid(s + at_s * c), of.sigmoid(z), of.tanh(n)
    c = s * c + (1 - s) * n
    return z * h + (1 - z) * of.tanh(n + at_n * c), c


def _mingru(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    z, n = of.split(a, 2)
    z = of.sigmoid(z)
    return ((1 - z) * states[0] + z * n,)


def _minlstm(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    f, i, n = of.split(a, 3)
    f, i = of.sigmoid(f), of.sigmoid(i)
    return ((f * states[0] + i * n) / (f + i),)


def _sru(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    _, c = states
    (f, r, n), (at_f, at_r) = of.split(a, 3), of.split(p["v"], 2)
    f, r = of.sigmoid(f + at_f * c), of.sigmoid(r + at_r * c)
    c = f * c + (1 - f) * n
    return r * c + (1 - r) * x, c


def _qrnn(of: Any, a: Any, x: Any, states: States, p: Any) -> States:
    _, c, *before = states
    z, f, o, *following = of.split(a, 6)
    z, f, o = of.tanh(z + before[0]), of.sigmoid(f + before[1]), of.sigmoid(o + before[2])
    c = f * c + (1 - f) * z
    return o * c, c, *following


def _with(step: Step, gates: str, **others: list[str]) -> tuple[Step, Layout]:
    return step, {**{family: named(family, gates) for family in "WUb"}, **others}


def _without_matrix(step: Step, products: list[str], **others: list[str]) -> tuple[Step, Layout]:
    """A step without products with the state; where a product has no bias, it gets one of zeros."""
    biases = [name.replace("W", "b").replace("V", "no bias") for name in products]
    return step, {"W": products, "b": biases, **others}


EQUATIONS: dict[str, tuple[Step, Layout]] = {
    "lstm": _with(_lstm, "ifgo"),
    "gru": _with(_gru, "rzn", d=["d.n"]),
    "rnn": _with(_rnn, ""),
    "gru_reset_before": _with(_gru_reset_before, "rzn", U=["U.r", "U.z"], V=["U.n"]),
    "lstm_peephole": _with(_lstm_peephole, "ifgo", p=named("p", "ifo")),
    "lstm_coupled": _with(_lstm_coupled, "fgo"),
    "fast_slow": _with(_fast_slow, "szn", p=named("p", "sn")),
    "mingru": _without_matrix(_mingru, named("W", "zn")),
    "minlstm": _without_matrix(_minlstm, named("W", "fin")),
    "sru": _without_matrix(_sru, named("W", "frc"), v=named("v", "fr")),
    "qrnn": _without_matrix(_qrnn, named("W", "zfo") + named("V", "zfo")),
}


def _gains(gates: str) -> dict[str, list[str]]:
    return {name: named(name, gates) for name in ("input_gain", "recurrent_gain")}


NORMALISED: dict[str, tuple[Step, Layout]] = {
    "lstm": _with(
        _lstm_norm,
        "ifgo",
        state_gain=["state_gain.c"],
        state_bias=["state_bias.c"],
        **_gains("ifgo"),
    ),
    "gru": _with(_gru, "rzn", d=["d.n"], **_gains("rzn")),
}


def equations(case: Case) -> tuple[Step, Layout]:
    """The step of a case, and how its parameters are laid out."""
    return (NORMALISED if case.option == NORM else EQUATIONS)[case.cell]
