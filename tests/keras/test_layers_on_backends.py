"""The tests of `Recurrent` and of mistakes on the other backends of Keras; `SimpleRNN`, `LSTM` and
`GRU` meet those in Keras' own tests and beside Keras' own layers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from child import run_pytest

HERE = Path(__file__).parent
FILES = [HERE / name for name in ("test_recurrent_on_keras.py", "test_bad_keras_input.py")]


@pytest.mark.long
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_on_another_backend(backend: str, tmp_path: Path) -> None:
    run = run_pytest(backend, tmp_path, "-q", *FILES, "-k", "not installed")
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
