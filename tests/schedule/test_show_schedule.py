"""The schedule as text: what it says of some cells, and that its equations are right for all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import anyrnn
from anyrnn import CATALOGUE
from anyrnn.errors import InputError
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.sizes import Size
from anyrnn.schedule.cost import SizePolynomial
from anyrnn.schedule.forms import FUSED, Policy
from anyrnn.schedule.show import describe
from checks import Case, close, make_case
from invented_cells import INVENTED, SMALLEST
from random_cells import SMALLEST as SMALLEST_RANDOM
from random_cells import RandomCell, random_cells

CELLS = {**CATALOGUE, **INVENTED}
EXPECTED = Path(__file__).parent / "expected"


def _softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


FUNCTIONS: dict[str, Any] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "exp": np.exp,
    "log": np.log,
    "softplus": lambda x: np.logaddexp(x, 0),
    "sqrt": np.sqrt,
    "abs": np.abs,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "where": np.where,
    "sum": np.sum,
    "mean": np.mean,
    "softmax": _softmax,
    "concatenate": lambda *parts: np.concatenate(parts),
    "size": lambda size: float(size),
    "expand": lambda value, *sizes: np.broadcast_to(value, sizes),
    "outer": lambda rows, columns: np.outer(_joined(rows), columns),
    "batch_sum": lambda rows: _joined(rows),
}


def _joined(rows: Any) -> np.ndarray:
    return np.concatenate(rows) if isinstance(rows, list) else rows


def python(text: str) -> str:
    """Equations as Python: h' and W.r become names, but not U.T; 2 hidden becomes a product."""
    text = text.replace("'", "_new")
    text = re.sub(r"\b([A-Za-z_]\w*)\.(?!T\b)([A-Za-z_]\w*)", r"\1__\2", text)
    text = re.sub(r"\b(\d+) ([a-z])", r"\1 * \2", text)
    return re.sub(r"^(\[.*?\]) @", r"joined(\1) @", text)


def run(
    lines: list[str],
    values: dict[str, Any],
    rows: dict[str, int],
    members: dict[str, tuple[str, ...]],
) -> None:
    """Execute the equations of a schedule for one row.

    Args:
        lines: The lines of the text.
        values: What is known, by names as Python's; results are added.
        rows: The numbers of rows of the parameters.
        members: The parameters that each stored one is stacked from.
    """
    for line in lines:
        if not (line.startswith("    ") and " = " in line):
            continue
        left, _, right = line.partition("->")[0].strip().partition(" = ")
        value = eval(python(right.strip()), {"__builtins__": {}, "joined": _joined}, values)
        names = left.strip().split(", ")
        values[python(left.strip())] = np.asarray(value)
        stacked = [name.removeprefix("d_") for name in names]
        if len(names) > 1 and not names[0].startswith("d_"):
            stacked = right.partition(" @")[0].strip("[]").split(", ")
        if len(stacked) == 1 and stacked[0] in members and stacked[0] not in rows:
            stacked = list(members[stacked[0]])
            names = names if len(names) > 1 else [f"d_{name}" for name in stacked]
        if len(names) > 1:
            ends = np.cumsum([rows[name] for name in stacked])
            values.update(zip(map(python, names), np.split(value, ends[:-1]), strict=True))


def check(case: Case, memory: str, hoist: bool = False) -> None:
    """What the text says gives the interpreter's values, and needs only what it says is kept."""
    cell = case.cell
    printed = describe(cell, memory, Policy() if hoist else FUSED)
    assert all(ord(letter) < 256 for letter in printed)
    forward, backward = printed.split("\nbackward,")
    leaves = split_parameters(cell, case.parameters, case.sizes)
    rows = {name: len(np.atleast_1d(leaf)) for name, leaf in leaves.items()}
    members = {stored.name: stored.members for stored in cell.parameters}
    given: dict[str, Any] = {**FUNCTIONS, **case.sizes}
    given |= {python(name): leaf for name, leaf in (leaves | case.parameters).items()}
    constants = [node for node in cell.graph.nodes() if node.operation == "constant"]
    given |= {c.name: c.attributes["value"] for c in constants if "name" in c.attributes}
    given[cell.input] = case.x[0, 0]
    given |= {name: state[0] for name, state in zip(cell.states, case.states, strict=True)}
    values = dict(given)
    run(forward.splitlines(), values, rows, members)
    wanted = case.interpret()
    for name, state in zip(cell.states, wanted.states, strict=True):
        close(values[f"{name}_new"], state[0], 1e-12, name)

    kept = re.search(r"besides the input: (.*)", forward).group(1)  # type: ignore[union-attr]
    again = given | {python(n): values[python(n)] for n in kept.split(", ") if n != "nothing"}
    again["d_output"] = case.output_gradient[0, 0]
    for name, gradient in zip(cell.states, case.state_gradients, strict=True):
        again[f"d_{name}_later" if name == cell.output else f"d_{name}_new"] = gradient[0]
    run(backward.splitlines(), again, rows, members)
    gradients = case.gradients()
    for name, gradient in zip(cell.states, gradients.states, strict=True):
        close(again[f"d_{name}"], gradient[0], 1e-12, f"gradient of {name}")
    close(again.get(f"d_{cell.input}", np.zeros_like(case.x[0, 0])), gradients.x[0, 0], 1e-12)
    for stored in cell.parameters:
        parts = [
            np.zeros(np.shape(leaves[m])) + again.get(python(f"d_{m}"), 0) for m in stored.members
        ]
        found = np.concatenate([*map(np.atleast_1d, parts)])
        if stored.name not in leaves:
            found = again.get(f"d_{stored.name}", found)
        close(found, gradients.parameters[stored.name], 1e-11, f"gradient of {stored.name}")


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("*.txt")), ids=lambda path: path.stem)
def test_the_schedules_of_some_cells(path: Path) -> None:
    name, _, memory = path.stem.partition(".")
    assert describe(CELLS[name], memory or "high") + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("memory", ["high", "low"])
@pytest.mark.parametrize("name", CELLS)
def test_the_equations_are_right(name: str, memory: str) -> None:
    case = make_case(CELLS[name], 1, time=1, batch=1, smallest=SMALLEST.get(name, 1))
    check(case, memory)
    check(case, memory, hoist=True)


@settings(max_examples=40)
@given(random_cells())
def test_the_equations_of_random_cells_are_right(drawn: RandomCell) -> None:
    check(make_case(drawn.cell, 2, time=1, batch=1, smallest=SMALLEST_RANDOM), "high")


def test_products_with_the_input_may_be_one_before_the_loop() -> None:
    printed = describe(anyrnn.get("gru"), policy=Policy())
    assert "before the loop, for all steps at a time (operations: 6 hidden input)\n" in printed
    assert "    Wx.r, Wx.z, Wx.n = W @ x\n" in printed
    assert "W.r" not in printed.partition("backward")[0]


def test_costs_are_polynomials() -> None:
    hidden, inputs = Size.of("hidden"), Size.of("input")
    assert str(SizePolynomial.of(2, hidden + inputs, hidden - 1)) == (
        "2 hidden² + 2 hidden input - 2 hidden - 2 input"
    )
    assert str(SizePolynomial.of(hidden) + SizePolynomial.of(-1, hidden)) == "0"
    assert str(SizePolynomial.of(-1, hidden) + SizePolynomial.of(1)) == "-hidden + 1"
    assert str(SizePolynomial.of()) == "1"


def test_the_memory_is_checked() -> None:
    with pytest.raises(InputError, match="memory='some'"):
        describe(anyrnn.get("gru"), "some")
