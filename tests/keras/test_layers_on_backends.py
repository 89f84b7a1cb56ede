"""On the other backends of Keras: cells with their tensors, `Recurrent`, mistakes; on each, outputs
and gradients of our layers are those of Keras' own, whatever their options.

`SimpleRNN`, `LSTM` and `GRU` meet the other backends in Keras' own tests too. The files share a
process, because loading a backend takes longer than most of their tests.
"""

from __future__ import annotations

from pathlib import Path

from child import on_each_backend, run_pytest

FILES = ("test_recurrent_on_keras.py", "test_bad_keras_input.py", "test_backends.py")
EXAMPLES = {"torch": 10, "jax": 4, "tensorflow": 5}  # what compiles loops takes longer


@on_each_backend("backend")
def test_on_another_backend(backend: str, tmp_path: Path) -> None:
    names = ("comparison.py", *(FILES if backend != "torch" else ()))
    files = [Path(__file__).with_name(name) for name in names]
    variables = {"EXAMPLES": str(EXAMPLES[backend]), "JAX_ENABLE_X64": "1"}
    code, out, err = run_pytest(backend, tmp_path, "-v", *files, "-k", "not installed", **variables)
    assert code == 0, out[-4000:] + err[-2000:]
    assert "::test_the_same_as_keras PASSED" in out
