"""One rule for each operation, each against differences of the operation itself."""

from __future__ import annotations

import numpy as np
import pytest

from anyrnn.derivative.reverse import derivative
from anyrnn.derivative.rules import RULES
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.keys import Cotangent, Gradient
from anyrnn.graph.nodes import Graph, Node, constant, make
from anyrnn.graph.operations import LEAVES, Type
from anyrnn.graph.sizes import Size
from anyrnn.graph.verify import verify

A, B = Size.of("a"), Size.of("b")
SIZES = {"a": 3, "b": 2}
BATCH = 2


def leaf(kind: str, name: str, *shape: Size) -> Node:
    return make(kind, name=name, type=Type(shape, kind in ("input", "state")))


u, v = leaf("state", "u", A), leaf("state", "v", A)
x = leaf("input", "x", B)
p, q = leaf("parameter", "p", A), leaf("parameter", "q", A)
s = leaf("parameter", "s")
M, N = leaf("parameter", "M", A, B), leaf("parameter", "N", A, A)
number = make("mean", x)
one = Size.of(1)

CASES: dict[str, list[Node]] = {
    name: [make(name, left, right) for left, right in pairs]
    for name, pairs in {
        operation: [
            *((u, v), (u, p), (p, v), (u, s), (s, u), (number, u), (u, number), (p, q), (s, p)),
            *((constant(0.3), u), (u, constant(0.3)), (number, s), (p, constant(-0.2))),
            *((number, p), (p, number)),
        ]
        for operation in ("add", "subtract", "multiply", "divide", "maximum", "minimum")
    }.items()
}
CASES |= {
    name: [make(name, argument) for argument in (u, p, number, s)]
    for name in ("negative", "sigmoid", "tanh", "relu", "exp", "softplus", "abs", "hard_sigmoid")
}
CASES |= {
    name: [make(name, make("add", constant(5), argument)) for argument in (u, p, number, s)]
    for name in ("log", "sqrt")
}
CASES |= {
    "where": [
        make("where", make("greater", *pair), left, right)
        for pair in ((u, v), (u, constant(0)), (number, s), (p, q))
        for left, right in ((u, p), (s, u), (number, v), (constant(1), p), (constant(1), u))
    ],
    "greater": [make("where", make("greater", u, v), u, v)],
    "greater_equal": [make("where", make("greater_equal", u, p), v, s)],
    "clip_gradient": [make("clip_gradient", value, constant(9)) for value in (u, number)],
    "sum": [make("sum", u), make("sum", p)],
    "mean": [make("mean", u), make("mean", p)],
    "softmax": [make("softmax", u), make("softmax", p)],
    "product": [
        make("product", M, x),
        make("product", N, u),
        make("product", N, p),
        make("product", make("transpose", N), u),
        make("product", make("multiply", N, make("transpose", N)), u),
        make("product", make("add", N, constant(0.5)), u),
        make("product", make("outer", p, q), u),
    ],
    "transpose": [make("product", make("transpose", make("tanh", M)), u)],
    "concatenate": [
        make("concatenate", u, x, p),
        make("concatenate", p, q),
        make("concatenate", u, u),
    ],
    "slice": [
        make("slice", u, start=one, stop=A),
        make("slice", u, start=Size.of(0), stop=one),
        make("slice", p, start=one, stop=Size.of(2)),
        make("slice", u, start=Size.of(0), stop=A),
    ],
    "expand": [make("expand", s, u), make("expand", p, u), make("expand", number, v)],
    "outer": [
        make("product", make("outer", u, v), p),
        make("product", make("outer", p, q), p),
        make("product", make("outer", u, p), q),
    ],
    "batch_sum": [make("batch_sum", u), make("multiply", make("batch_sum", make("tanh", u)), v)],
}


def test_every_operation_has_a_case() -> None:
    assert set(CASES) == set(RULES) - LEAVES - {"random"}  # what has no argument has no case


def _shape(node: Node) -> tuple[int, ...]:
    shape = tuple(size.evaluate(SIZES) for size in node.type.shape)
    return (BATCH, *(shape or (1,))) if node.type.per_row else shape


@pytest.mark.parametrize("operation", CASES)
def test_rule(operation: str) -> None:
    random = np.random.default_rng(1)
    dtype = np.dtype(np.longdouble)
    step = np.longdouble(np.finfo(dtype).eps) ** (np.longdouble(1) / 3)
    tolerance = max(1e-9, 1e4 * float(np.finfo(dtype).eps) ** (2 / 3))
    for node in CASES[operation]:
        graph = Graph({"r": node})
        reverse = derivative(graph)
        verify(reverse)
        leaves = [n for n in graph.nodes() if n.operation in ("input", "state", "parameter")]
        values = {n.name: random.normal(size=_shape(n)).astype(dtype) for n in leaves}
        weight = random.normal(size=_shape(node)).astype(dtype)
        found = evaluate(reverse.outputs.values(), {**values, Cotangent("r"): weight}, SIZES, dtype)
        assert {Gradient(n.name) for n in leaves} >= set(reverse.outputs)
        for n in leaves:
            wanted = np.zeros(_shape(n), dtype)
            array = values[n.name]
            for place in np.ndindex(array.shape):
                kept = array[place]
                losses = []
                for moved in (kept + step, kept - step):
                    array[place] = moved
                    result = evaluate([node], values, SIZES, dtype)[node]
                    losses.append((np.broadcast_to(result, weight.shape) * weight).sum())
                array[place] = kept
                wanted[place] = (losses[0] - losses[1]) / (2 * step)
            result = reverse.outputs.get(Gradient(n.name))
            if result is None:
                assert not wanted.any()
                continue
            assert result.type == n.type
            shown = found[result]
            # the sum of one number a row over the rows is an array of one element
            shown = shown.reshape(()) if wanted.ndim == 0 else np.broadcast_to(shown, wanted.shape)
            np.testing.assert_allclose(
                shown, wanted, rtol=10 * tolerance, atol=tolerance, err_msg=str(node)
            )


def test_kinks_are_those_of_torch() -> None:
    import torch

    from anyrnn.torch.torch_ops import TORCH

    ties = np.array([[-3.0, 0.0, 3.0], [0.5, 0.0, -0.0]])
    for operation in ("relu", "abs", "hard_sigmoid", "maximum", "minimum"):
        arguments = (u, v) if operation in ("maximum", "minimum") else (u,)
        reverse = derivative(Graph({"r": make(operation, *arguments)}))
        values = {"u": ties, "v": ties.copy(), Cotangent("r"): np.ones((2, 3))}
        found = evaluate(reverse.outputs.values(), values, SIZES, np.dtype(float))
        tensors = [torch.tensor(values[n.name], requires_grad=True) for n in arguments]
        TORCH[operation](*tensors).sum().backward()
        for n, tensor in zip(arguments, tensors, strict=True):
            result = found[reverse.outputs[Gradient(n.name)]]
            np.testing.assert_array_equal(result, tensor.grad, err_msg=operation)


def test_results_that_share_a_node() -> None:
    node = make("tanh", u)
    reverse = derivative(Graph({"output": node, "u": node, "v": u}))
    given = ("u", *map(Cotangent, ("output", "u", "v")))
    values = {name: np.full((2, 3), 0.5) for name in given}
    found = evaluate(reverse.outputs.values(), values, SIZES, np.dtype(float))
    wanted = (1 - np.tanh(0.5) ** 2) + 0.5
    np.testing.assert_allclose(found[reverse.outputs[Gradient("u")]], np.full((2, 3), wanted))
