"""Nodes are made once; passes keep values and types; the tables are complete."""

from __future__ import annotations

import copy
import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anyrnn
from anyrnn import CATALOGUE
from anyrnn.derivative.reverse import derivative
from anyrnn.errors import SizeError, VerificationError
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.nodes import Graph, Node, constant, make, rebuilt, rewrite, topological
from anyrnn.graph.operations import OPERATIONS, Type
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.simplify import simplify
from anyrnn.graph.sizes import Size, SizeVariable
from anyrnn.graph.verify import verify
from checks import make_case
from invented_cells import INVENTED
from random_cells import SMALLEST, RandomCell, random_cells

HIDDEN, INPUT = Size.of("hidden"), Size.of("input")
x = make("input", name="x", type=Type((INPUT,), True))
h = make("state", name="h", type=Type((HIDDEN,), True))
b = make("parameter", name="b", type=Type((HIDDEN,), False))
U = make("parameter", name="U", type=Type((HIDDEN, HIDDEN), False))
NUMBER = Type((), False)


def test_the_invented_cells_use_every_operation() -> None:
    cells = [*CATALOGUE.values(), *INVENTED.values()]
    graphs = [graph for cell in cells for graph in (cell.graph, derivative(cell.graph))]
    used = {node.operation for graph in graphs for node in graph.nodes()}
    assert used == set(OPERATIONS) - {"random"}  # it has tests of its own


def test_equal_expressions_are_one_node() -> None:
    assert make("add", h, b) is make("add", h, b)
    assert make("add", h, b) is not make("add", b, h)
    assert make("slice", h, start=Size.of(0), stop=Size.of(2)) is make(
        "slice", h, stop=Size.of(2), start=Size.of(0)
    )
    assert constant(1) is constant(1.0)
    assert constant(1) is not constant(2)
    again = make("state", name="h", type=Type((Size.of("hidden"),), True))
    assert again is h


def test_nodes_are_their_own_copies() -> None:
    node = make("tanh", make("add", h, b))
    assert copy.deepcopy(node) is node
    assert copy.deepcopy([node, {"a": node}]) == [node, {"a": node}]
    cell = anyrnn.get("lstm")
    assert copy.deepcopy(cell) is cell
    assert copy.copy(cell) is cell


def test_nodes_that_nobody_needs_are_forgotten() -> None:
    node = make("exp", make("add", h, constant(0.123456)))
    identity = id(node)
    del node
    gc.collect()
    again = make("exp", make("add", h, constant(0.123456)))
    assert again.arguments[0].arguments[0] is h
    assert isinstance(identity, int)


def test_nodes_of_many_threads() -> None:
    found: list[list[Node]] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        nodes = [h]
        for number in range(200):
            nodes.append(make("add", nodes[-1], constant(number + 0.25)))
        found.append(nodes)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one is other for nodes in found for one, other in zip(nodes, found[0], strict=True))


def test_cells_of_many_threads() -> None:
    cells: list[anyrnn.Cell] = []

    def work() -> None:
        @anyrnn.cell
        def mine(x, h, *, W, U):
            return anyrnn.tanh(W @ x + U @ h)

        cells.append(mine)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({cell.graph.outputs["h"] for cell in cells}) == 1
    assert len(cells) == 6


def test_long_graphs_need_no_recursion() -> None:
    node = h
    for _ in range(5000):
        node = make("tanh", node)
    assert len(topological([node])) == 5001
    graph = simplify(Graph({"h": node}))
    assert len(derivative(graph).nodes()) > 5000


@pytest.mark.parametrize(
    ("operation", "arguments", "attributes", "error"),
    [
        ("nosuch", (h,), {}, VerificationError),
        ("add", (h,), {}, VerificationError),
        ("tanh", (h, h), {}, VerificationError),
        ("concatenate", (), {}, VerificationError),
        ("add", (h, x), {}, SizeError),
        ("product", (U, x), {}, SizeError),
        ("product", (h, U), {}, SizeError),
        ("product", (U, U), {}, SizeError),
        ("transpose", (h,), {}, SizeError),
        ("multiply", (make("mean", h), U), {}, SizeError),
        ("sum", (constant(1),), {}, SizeError),
        ("softmax", (U,), {}, SizeError),
        ("slice", (make("mean", h),), {"start": Size.of(0), "stop": Size.of(1)}, SizeError),
        ("slice", (h,), {"start": Size.of(2), "stop": Size.of(2)}, SizeError),
        ("where", (h, h, h), {}, SizeError),
        ("concatenate", (h, make("mean", h)), {}, SizeError),
        ("outer", (h, U), {}, SizeError),
        ("expand", (h, x), {}, SizeError),
    ],
)
def test_what_cannot_be_made(
    operation: str, arguments: tuple[Node, ...], attributes: dict, error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(operation, *arguments, **attributes)


@pytest.mark.parametrize(
    ("node", "type_"),
    [
        (make("add", h, b), Type((HIDDEN,), True)),
        (make("add", b, constant(1)), Type((HIDDEN,), False)),
        (make("mean", h), Type((), True)),
        (make("multiply", make("mean", h), b), Type((HIDDEN,), True)),
        (make("product", U, b), Type((HIDDEN,), False)),
        (make("concatenate", h, x, b), Type((HIDDEN + INPUT + HIDDEN,), True)),
        (make("outer", h, x), Type((HIDDEN, INPUT), False)),
        (make("batch_sum", h), Type((HIDDEN,), False)),
        (make("greater", h, b), Type((HIDDEN,), True, boolean=True)),
        (make("expand", constant(0), x), Type((INPUT,), True)),
    ],
)
def test_types(node: Node, type_: Type) -> None:
    assert node.type == type_


def test_text_of_types() -> None:
    shown = [str(node.type) for node in (h, U, make("mean", h), constant(1))]
    assert shown == ["batch x hidden", "hidden x hidden", "batch", "number"]
    assert str(make("concatenate", h, x).type) == "batch x (hidden + input)"
    assert str(make("greater", h, h).type) == "batch x hidden of booleans"


def _broken(operation: str, arguments: tuple[Node, ...], type_: Type, **attributes: object) -> Node:
    node = Node()
    node.operation, node.arguments, node.type = operation, arguments, type_
    node.attributes = attributes
    return node


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (_broken("nosuch", (h,), h.type), "'nosuch' is not in the list"),
        (_broken("add", (h,), h.type), "add has 1 arguments"),
        (_broken("tanh", (h,), x.type), "tanh is batch x input, but should be batch x hidden"),
        (_broken("add", (h, x), h.type), "add: .*different sizes"),
        (
            make("add", h, make("parameter", name="h", type=Type((HIDDEN,), False))),
            "two leaves are called 'h'",
        ),
        (
            make("state", name="c", type=Type((Size.of(SizeVariable("size of c")),), True)),
            "undetermined size: batch x size of c|undetermined size: batch x \\(size of c\\)",
        ),
    ],
)
def test_verify_finds_broken_graphs(node: Node, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        verify(Graph({"h": node}))


@pytest.mark.parametrize("name", [*CATALOGUE, *INVENTED])
def test_graphs_are_sound(name: str) -> None:
    cell = CATALOGUE.get(name) or INVENTED[name]
    for graph in (cell.graph, derivative(cell.graph)):
        verify(graph)
        assert simplify(graph).outputs == graph.outputs
        assert rewrite(graph, rebuilt).outputs == graph.outputs
        assert set(graph.names) <= set(graph.nodes())


ZERO, ONE = constant(0), constant(1)


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        (make("add", h, ZERO), h),
        (make("add", ZERO, h), h),
        (make("subtract", h, ZERO), h),
        (make("subtract", ZERO, h), make("negative", h)),
        (make("multiply", ONE, h), h),
        (make("divide", h, ONE), h),
        (make("negative", make("negative", h)), h),
        (make("add", h, make("negative", b)), make("subtract", h, b)),
        (make("add", make("negative", b), h), make("subtract", h, b)),
        (make("subtract", h, make("negative", b)), make("add", h, b)),
        (make("multiply", constant(2), constant(3)), constant(6)),
        (make("add", h, make("multiply", constant(0), constant(3))), h),
        (make("multiply", ZERO, h), make("multiply", ZERO, h)),
        (make("transpose", make("transpose", U)), U),
        (make("expand", h, make("tanh", h)), h),
        (make("expand", b, h), make("expand", b, h)),
        (make("batch_sum", b), b),
        (make("concatenate", h), h),
        (make("slice", h, start=Size.of(0), stop=HIDDEN), h),
        (make("slice", make("concatenate", h, x), start=HIDDEN, stop=HIDDEN + INPUT), x),
        (
            make("slice", make("concatenate", b, x), start=Size.of(0), stop=HIDDEN),
            make("slice", make("concatenate", b, x), start=Size.of(0), stop=HIDDEN),
        ),
        (
            make(
                "slice",
                make("slice", h, start=Size.of(2), stop=HIDDEN),
                start=Size.of(1),
                stop=Size.of(3),
            ),
            make("slice", h, start=Size.of(3), stop=Size.of(5)),
        ),
    ],
)
def test_what_is_simpler(node: Node, wanted: Node) -> None:
    assert simplify(Graph({"h": node})).outputs["h"] is wanted


def test_names_of_dead_parts_fall_away() -> None:
    graph = simplify(Graph({"h": make("add", h, ZERO)}, {make("tanh", b): "dead", h: "h"}))
    assert graph.names == {h: "h"}


@settings(max_examples=40)
@given(random_cells(), st.integers(0, 99))
def test_simplify_keeps_values(drawn: RandomCell, seed: int) -> None:
    """The raw graph of a cell, before any pass, and the simplified one."""
    cell = drawn.cell
    raw = cell._tracing.graph
    case = make_case(cell, seed, batch=2, smallest=SMALLEST)
    used = {leaf.name for leaf in cell.graph.leaves("parameter")}
    leaves = split_parameters(cell, case.parameters, case.sizes)
    leaves |= {cell.input: case.x[0], **dict(zip(cell.states, case.states, strict=True))}
    random = np.random.default_rng(seed)
    for leaf in raw.leaves("parameter"):
        if leaf.name not in used:
            leaves[leaf.name] = random.normal(
                size=[size.evaluate(case.sizes) for size in leaf.type.shape]
            )
    both = [
        evaluate(graph.outputs.values(), leaves, case.sizes, np.dtype(float))
        for graph in (raw, cell.graph)
    ]
    for name, node in raw.outputs.items():
        simpler = cell.graph.outputs[name]
        assert simpler.type == node.type
        np.testing.assert_allclose(both[1][simpler], both[0][node], rtol=1e-12, atol=1e-12)
