"""What leaves the loop over time, what one product serves; the values stay."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anyrnn
from anyrnn import CATALOGUE, Cell
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.nodes import Graph, Node
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.verify import verify
from anyrnn.schedule.build import place_operations
from anyrnn.schedule.neighbours import products_together
from anyrnn.schedule.phases import STEP, phases
from anyrnn.schedule.rewrites import rewrite_step
from checks import make_case
from invented_cells import INVENTED, SMALLEST
from random_cells import SMALLEST as SMALLEST_RANDOM
from random_cells import RandomCell, random_cells

CELLS = {**CATALOGUE, **INVENTED}


def products(cell: Cell, nodes: Iterable[Node]) -> list[tuple[str, ...]]:
    """The matrices of each product."""
    return [
        tuple(str(node.arguments[0].attributes.get("name", "?")) for node in group)
        for group in products_together(cell, nodes)
        if group[0].operation == "product"
    ]


@pytest.mark.parametrize(
    ("name", "sequence", "step"),
    [
        ("rnn", [("W",)], [("U",)]),
        ("lstm", [("W.i", "W.f", "W.g", "W.o")], [("U.i", "U.f", "U.g", "U.o")]),
        ("gru", [("W.r", "W.z", "W.n")], [("U.r", "U.z", "U.n")]),
        ("gru_reset_before", [("W.r", "W.z", "W.n")], [("U.r", "U.z"), ("U.n",)]),
        ("rnn_output", [("W",)], [("U",), ("V",)]),
        ("only_input", [("W",)], []),
    ],
)
def test_one_product_serves_all_gates(
    name: str, sequence: list[tuple[str, ...]], step: list[tuple[str, ...]]
) -> None:
    cell = CELLS[name]
    placement = place_operations(cell)
    assert products(cell, placement.before) == sequence
    assert products(cell, placement.loop) == step


@pytest.mark.parametrize("name", CELLS)
def test_no_product_with_the_input_alone_is_in_the_loop(name: str) -> None:
    placement = place_operations(CELLS[name])
    when = phases(placement.graph.nodes())
    for node in placement.loop:
        assert when[node] == STEP
        if node.operation == "product":
            assert when[node.arguments[1]] == STEP
    sections = placement.once, placement.before, placement.loop
    computed = [node for section in sections for node in section if not node.is_leaf]
    assert len(computed) == len(set(computed))
    assert {node for node in placement.graph.nodes() if not node.is_leaf} == set(computed)


def test_products_with_joined_vectors_leave_the_loop() -> None:
    graph = place_operations(anyrnn.get("article3_lstm")).graph
    when = phases(graph.nodes())
    of_the_input = [
        node
        for node in graph.nodes()
        if node.operation == "product" and node.arguments[1].operation == "input"
    ]
    assert len(of_the_input) == 4
    assert all(when[node] < STEP for node in of_the_input)


def keeps_values(cell: Cell, graph: Graph, smallest: int, seed: int = 0) -> None:
    verify(graph)
    case = make_case(cell, seed, time=1, smallest=smallest)
    leaves = split_parameters(cell, case.parameters, case.sizes)
    leaves |= {cell.input: case.x[0], **dict(zip(cell.states, case.states, strict=True))}
    both = [
        evaluate(each.outputs.values(), leaves, case.sizes, np.dtype(float))
        for each in (cell.graph, graph)
    ]
    for name, node in cell.graph.outputs.items():
        other = graph.outputs[name]
        assert other.type == node.type
        scale = max(1.0, np.abs(both[0][node]).max())
        np.testing.assert_allclose(both[1][other], both[0][node], rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_rewrites_keep_values(name: str, seed: int) -> None:
    cell = CELLS[name]
    keeps_values(cell, rewrite_step(cell.graph), SMALLEST.get(name, 1), seed)


@settings(max_examples=40)
@given(random_cells(), st.integers(0, 99))
def test_rewrites_of_random_cells_keep_values(drawn: RandomCell, seed: int) -> None:
    keeps_values(drawn.cell, rewrite_step(drawn.cell.graph), SMALLEST_RANDOM, seed)
