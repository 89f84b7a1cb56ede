"""Elementwise operations as expressions of Triton's language, on tiles of float32."""

from __future__ import annotations

import math

LARGEST = (2 - 2**-23) * 2.0**127  # of float32

COMPUTE = {
    "add": "({0} + {1})",
    "subtract": "({0} - {1})",
    "multiply": "({0} * {1})",
    "divide": "({0} / {1})",
    "negative": "(-{0})",
    "sigmoid": "sigmoid({0})",
    "tanh": "tanh({0})",
    "exp": "tl.exp({0})",
    "log": "tl.log({0})",
    "softplus": "softplus({0})",
    "relu": "maximum({0}, 0.0)",
    "sqrt": "tl.sqrt({0})",
    "abs": "tl.abs({0})",
    "hard_sigmoid": "hard_sigmoid({0})",
    "maximum": "maximum({0}, {1})",
    "minimum": "minimum({0}, {1})",
    "greater": "({0} > {1})",
    "greater_equal": "({0} >= {1})",
    "where": "tl.where({0}, {1}, {2})",
    "expand": "{0}",
}


def number(value: float) -> str:
    """A number; beyond float32 it is an infinity, as Triton would compute in float64 with it."""
    if abs(value) <= LARGEST:
        return repr(value) if value >= 0 else f"({value!r})"
    return f'float("{value if math.isnan(value) else math.copysign(math.inf, value)}")'
