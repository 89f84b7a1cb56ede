"""Graphs as text."""

from __future__ import annotations

import re

import pytest

import anyrnn
from anyrnn import CATALOGUE
from anyrnn.derivative.reverse import derivative
from anyrnn.graph.keys import Cotangent, Name, NewValue
from anyrnn.graph.show import equations, latex, latex_name, listing
from invented_cells import INVENTED
from random_cells import make

CELLS = {**CATALOGUE, **INVENTED}

EQUATIONS = {
    "rnn_output": """
h' = tanh(W @ x + U @ h + b)
y  = V @ h' + d
""",
    "gru": """
r  = sigmoid(W.r @ x + U.r @ h + b.r)
z  = sigmoid(W.z @ x + U.z @ h + b.z)
n  = tanh(W.n @ x + b.n + r * (U.n @ h + d.n))
h' = (1 - z) * n + z * h
""",
    "lstm_peephole": """
i  = sigmoid(W.i @ x + U.i @ h + p.i * c + b.i)
f  = sigmoid(W.f @ x + U.f @ h + p.f * c + b.f)
g  = tanh(W.g @ x + U.g @ h + b.g)
c' = f * c + i * g
o  = sigmoid(W.o @ x + U.o @ h + p.o * c' + b.o)
h' = o * tanh(c')
""",
    "article1_gru": """
r  = sigmoid(W.hr @ h + W.xr @ x + b.r)
n  = tanh(W.hh @ h + W.xh @ x + b.h)
h' = r * h + (1 - r) * n
""",
    "every_function": """
a  = W.a @ x + U.a @ h + b.a
d  = W.d @ x + U.d @ h + b.d
e  = hard_sigmoid(3 * a) + softplus(d) - abs(a) / (2.5 + tanh(d))
t1 = relu(d - 0.1)
f  = log(1.5 + tanh(a)) * sqrt(d * d + 0.3) + exp(-relu(a)) + t1 * t1 * t1
g  = where(a > d, e, f) + where(a >= 0.2, 0.5, e) + where(0 > h, f, -1) + where(a >= d, 0, 1)
i  = maximum(e, f) * minimum(a, 0.3) + maximum(-0.1, d) - sqrt(maximum(a, 0.1))
h' = tanh(0.3 * g - 0.2 * i) * h + sigmoid(e - f) / 2
""",
    "antisymmetric": """
h' = h + step * tanh((U - U.T - gamma) @ h - gamma * h + W @ x + b)
""",
    "joined": """
turned = concatenate(h[1:hidden], h[0:1])
back   = concatenate(h[0:1], h[1:hidden]) - h
g      = W.g @ concatenate(x, e.first, turned[0:2], h) + e.first * turned
n      = W.n @ concatenate(h[hidden - 2:hidden], b.n) * concatenate(b.m[0:1], b.m[1:hidden])
h'     = tanh(g - n) + 0.5 * h + back
""",
    "delayed": """
h' = tanh(W @ x + U @ c)
c' = h
""",
    "shared_result": """
c'     = tanh(W @ x + U @ (h - c))
output = c'
h'     = c'
""",
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_equations(name: str) -> None:
    assert equations(CELLS[name].graph) == EQUATIONS[name].strip()


def test_latex() -> None:
    assert latex(CELLS["gru"].graph) == (
        r"""
\begin{aligned}
r_{t} &= \sigma(W_{r} x_{t} + U_{r} h_{t-1} + b_{r}) \\
z_{t} &= \sigma(W_{z} x_{t} + U_{z} h_{t-1} + b_{z}) \\
n_{t} &= \tanh(W_{n} x_{t} + b_{n} + r_{t} \odot \left(U_{n} h_{t-1} + d_{n}\right)) \\
h_{t} &= \left(1 - z_{t}\right) \odot n_{t} + z_{t} \odot h_{t-1}
\end{aligned}
""".strip()
    )


def test_derivative() -> None:
    reverse = derivative(CELLS["rnn"].graph)
    assert (
        equations(reverse)
        == """
h'  = tanh(W @ x + U @ h + b)
t1  = d_h' * (1 - h' * h')
d_x = W.T @ t1
d_h = U.T @ t1
d_W = outer(t1, x)
d_U = outer(t1, h)
d_b = batch_sum(t1)
""".strip()
    )
    assert (
        latex(reverse)
        == r"""
\begin{aligned}
h_{t} &= \tanh(W x_{t} + U h_{t-1} + b) \\
t^{(1)}_{t} &= \bar{h}_{t} \odot \left(1 - h_{t} \odot h_{t}\right) \\
\bar{x}_{t} &= W^\top t^{(1)}_{t} \\
\bar{h}_{t-1} &= U^\top t^{(1)}_{t} \\
\bar{W} &= \textstyle\sum_b t^{(1)}_{t} x_{t}^\top \\
\bar{U} &= \textstyle\sum_b t^{(1)}_{t} h_{t-1}^\top \\
\bar{b} &= \textstyle\sum_b t^{(1)}_{t}
\end{aligned}
""".strip()
    )


def test_listing() -> None:
    cell = make("@cell\ndef mine(x, h, *, W):\n    return tanh(W @ x[1:]) * 0.5 + h\n", "mine")
    assert (
        listing(cell.graph)
        == """
%0  parameter W       hidden x (input - 1)
%1  input x           batch x input
%2  slice %1 1:input  batch x (input - 1)
%3  product %0 %2     batch x hidden
%4  tanh %3           batch x hidden
%5  constant 0.5      number
%6  multiply %4 %5    batch x hidden
%7  state h           batch x hidden
%8  add %6 %7         batch x hidden        -> h
""".strip()
    )


@pytest.mark.parametrize("name", CELLS)
def test_everything_can_be_printed(name: str) -> None:
    cell = CELLS[name]
    for graph in (cell.graph, derivative(cell.graph)):
        text = latex(graph)
        assert text.count("{") == text.count("}")
        assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
        assert text.count(r"\begin") == text.count(r"\end")
        assert not re.search(r"\}_\{[^{}]*\}_\{", text)  # no subscript of a bare subscript
        rows = listing(graph).splitlines()
        assert len(rows) == len(graph.nodes())
        for name_of_result in graph.outputs:
            assert f"-> {name_of_result}" in listing(graph) or len(
                set(graph.outputs.values())
            ) < len(graph.outputs)
    left = [line.split(" = ")[0].strip() for line in equations(cell.graph).splitlines()]
    assert len(set(left)) == len(left)
    assert {f"{state}'" for state in cell.states} <= set(left) | {"h'"}


def _sources(body: str) -> str:
    return f"@cell\ndef mine(x, h, *, W, U, b, alpha=0.5):\n    return {body}\n"


@pytest.mark.parametrize(
    "body",
    [
        "W @ x - (h - b)",
        "W @ x - (h + b)",
        "W @ x / (h / b)",
        "W @ x / (h * b)",
        "W @ x * (h / b)",
        "-(W @ x + h) * b",
        "-(W @ x) * b + (-h) ** 2",
        "U @ (W @ (x * 2) + h)",
        "(U.T - U) @ h + W @ x",
        "(U @ h) * b + W @ (-x)",
        "U @ (h * b) + W @ x",
        "where(h > b * 2, -h, (h + b) * 2) + W @ x",
        "(h > b) * 2 - W @ x",
        "tanh(-h)[1:] @ b if False else alpha * h - (alpha - W @ x)",
        "maximum(h, -1.5) - W @ x - -1",
        "W @ concatenate(x, h - b) + h",
        "h - sum(x - 1) * mean(W @ x + h)",
    ],
)
def test_printed_equations_are_the_equations(body: str) -> None:
    """What is printed, read again, is the same graph."""
    cell = make(_sources(body), "mine")
    printed = equations(cell.graph).splitlines()
    lines = "\n    ".join(line.replace("h' =", "result =") for line in printed)
    again = make(_sources("result").replace("    return", f"    {lines}\n    return"), "mine")
    assert again.graph.outputs == cell.graph.outputs


@pytest.mark.parametrize(
    ("name", "time", "text"),
    [
        ("W.i", "", "W_{i}"),
        (NewValue("h"), "t", "h_{t}"),
        (Cotangent("h"), "t", r"\bar{h}_{t}"),
        ("d_h", "t", r"\mathrm{d\ h}_{t}"),
        ("alpha", "", r"\alpha"),
        ("t1", "t", "t^{(1)}_{t}"),
        ("new_gate", "t", r"\mathrm{new\ gate}_{t}"),
        ("W.in_gate", "", r"W_{in\ gate}"),
        ("_", "t", r"\__{t}"),
        ("_1", "", r"\_^{(1)}"),
    ],
)
def test_names_in_latex(name: Name, time: str, text: str) -> None:
    assert latex_name(name, time) == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1e-5 * h", r"10^{-5} \odot h_{t-1}"),
        ("2.5e-07 * h", r"2.5 \cdot 10^{-7} \odot h_{t-1}"),
        ("-1e-30 * h", r"-10^{-30} \odot h_{t-1}"),
    ],
)
def test_numbers_in_latex(expression: str, text: str) -> None:
    cell = make(f"@cell\ndef mine(x, h):\n    return {expression} + x\n", "mine")
    assert text in latex(cell.graph)


def test_sizes_in_latex() -> None:
    source = "@cell(sizes={'h': 'n_out'})\ndef mine(x, h, *, W):\n    return W @ x + mean(h)\n"
    text = latex(derivative(make(source, "mine").graph))
    assert r"\lvert \mathrm{n\ out} \rvert" in text


def test_infinity() -> None:
    cell = make("@cell\ndef mine(x, h):\n    return maximum(h, -float('inf')) + x\n", "mine")
    assert equations(cell.graph) == "h' = maximum(h, -inf) + x"
    assert r"-\infty" in latex(cell.graph)


def test_representation_of_cells() -> None:
    assert repr(anyrnn.get("lstm")) == "<cell lstm: states h, c; parameters W, U, b>"


def test_a_state_whose_name_looks_like_a_gradients() -> None:
    source = "@cell\ndef mine(x, h, d_h, *, W):\n    return W.h @ x + d_h, W.d @ x + h\n"
    cell = make(source, "mine")
    assert equations(cell.graph).splitlines() == ["h'   = W.h @ x + d_h", "d_h' = W.d @ x + h"]
    assert r"\bar" not in latex(cell.graph)
