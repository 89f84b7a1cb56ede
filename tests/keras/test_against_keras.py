"""Outputs and gradients of our layers are those of Keras' own, whatever their options."""

from __future__ import annotations

from pathlib import Path

import pytest
from child import run_pytest

EXAMPLES = {"torch": 10, "jax": 4, "tensorflow": 5}  # what compiles loops takes longer


@pytest.mark.long
@pytest.mark.parametrize("backend", EXAMPLES)
def test_the_same_as_keras(backend: str, tmp_path: Path) -> None:
    examples = str(EXAMPLES[backend])
    file = Path(__file__).with_name("comparison.py")
    run = run_pytest(backend, tmp_path, file, EXAMPLES=examples, JAX_ENABLE_X64="1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout
