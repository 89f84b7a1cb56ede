"""Our vector functions against NumPy in a wider type, over the whole range."""

from __future__ import annotations

import numpy as np
import pytest
from test_loop import run_loop

import anyrnn
from anyrnn import exp, log, sigmoid, softplus, tanh
from checks import TARGETS

pytestmark = pytest.mark.optimised
FUNCTIONS = {"exp": exp, "log": log, "sigmoid": sigmoid, "softplus": softplus, "tanh": tanh}
LIMITS = {"exp": 2, "log": 2, "sigmoid": 3, "softplus": 4, "tanh": 6}  # units in the last place


def cell_of(name: str) -> anyrnn.Cell:
    """A cell whose new state is a function of the old one, so that the loop computes it."""
    function = FUNCTIONS[name]

    @anyrnn.cell
    def applied(x, h):
        return function(h) + 0 * x

    return applied


def numbers(name: str, dtype: type) -> np.ndarray:
    """Numbers over the whole range in which the result is a normal number, and the special ones."""
    random = np.random.default_rng(0)
    limit, tiny = np.log(np.finfo(dtype).max) - 1, float(np.finfo(dtype).tiny)
    spread = np.exp(random.uniform(np.log(2 * tiny), np.log(limit), 20000))
    values = np.concatenate([spread, -spread, random.uniform(-20, 20, 20000), [0.0, 1.0, -1.0]])
    if name == "log":
        values = np.concatenate([np.abs(values), np.exp(random.uniform(-80, 80, 9000)), [tiny]])
        values = values[values > 0]
    if name in ("exp", "sigmoid", "softplus"):
        values = values[values > -limit + 2]
    return values.astype(dtype)


def apply(name: str, values: np.ndarray, target: str) -> np.ndarray:
    """A function on numbers, by a compiled loop."""
    cell = cell_of(name)
    rows = values.reshape(1, -1)
    x = np.zeros((1, 1, rows.shape[1]), values.dtype)
    sizes = {"input": rows.shape[1], "hidden": rows.shape[1]}
    return run_loop(cell, target, values.dtype.type, sizes, {}, x, [rows])[1][0][0]


def exact(name: str, values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.longdouble)
    small = np.exp(-np.abs(wide))
    return {
        "exp": lambda: np.exp(wide),
        "log": lambda: np.log(wide),
        "sigmoid": lambda: np.where(wide >= 0, 1 / (1 + small), small / (1 + small)),
        "softplus": lambda: np.maximum(wide, 0) + np.log1p(small),
        "tanh": lambda: np.tanh(wide),
    }[name]()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_few_units_in_the_last_place(name, dtype, target) -> None:
    values = numbers(name, dtype)
    wanted = exact(name, values)
    difference = np.abs(apply(name, values, target).astype(np.longdouble) - wanted)
    units = difference / np.spacing(np.abs(wanted.astype(dtype))).astype(np.longdouble)
    worst = int(np.argmax(units))
    assert units[worst] <= LIMITS[name], f"{units[worst]:.2f} units at {values[worst]!r}"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinities_and_nan(name, dtype, target) -> None:
    values = np.array([np.inf, -np.inf, np.nan, 0.0, 1e30, -1e30], dtype)
    with np.errstate(all="ignore"):
        wanted = exact(name, values).astype(dtype)
    np.testing.assert_allclose(apply(name, values, target), wanted, rtol=1e-6)


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "neon"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_reaches_one(dtype, target) -> None:
    values = np.array([20, -20, 1e4, 1e30, -np.inf], dtype)
    np.testing.assert_array_equal(apply("tanh", values, target), np.sign(values))
