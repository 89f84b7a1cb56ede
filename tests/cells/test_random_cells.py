"""Cells drawn at random keep the contract too."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from anyrnn.derivative.reverse import derivative
from anyrnn.graph.show import equations, latex, listing
from anyrnn.graph.verify import verify
from checks import close_gradients, close_results, make_case
from random_cells import SMALLEST, RandomCell, random_cells


@given(random_cells(), st.integers(0, 99))
@settings(max_examples=6)
def test_random_cells_compiled(drawn: RandomCell, seed: int) -> None:
    case = make_case(drawn.cell, seed, time=3, batch=2, smallest=SMALLEST)
    results, gradients = case.execute("compiled")
    close_results(results, case.interpret(), 1e-10)
    close_gradients(gradients, case.gradients(), 1e-9)


@given(random_cells(), st.integers(0, 99))
@settings(max_examples=60)
def test_random_cells(drawn: RandomCell, seed: int) -> None:
    case = make_case(drawn.cell, seed, time=3, batch=2, smallest=SMALLEST)
    results, gradients = case.execute()
    close_results(results, case.interpret(), 1e-10)
    close_gradients(gradients, case.gradients(), 1e-9)
    reverse = derivative(drawn.cell.graph)
    verify(reverse)
    for graph in (drawn.cell.graph, reverse):
        assert equations(graph)
        assert latex(graph).count("{") == latex(graph).count("}")
        assert listing(graph)
