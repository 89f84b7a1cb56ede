"""Keras' own tests of its recurrent layers pass with ours in their place, on each backend: all on
PyTorch, each of them on one of the others, which compile every model.
"""

from __future__ import annotations

import json
from pathlib import Path

from child import BACKENDS, on_each_backend, run_pytest

MODULES = {
    "torch": ("lstm_test", "gru_test", "simple_rnn_test", "rnn_test", "bidirectional_test"),
    "jax": ("gru_test", "rnn_test"),
    "tensorflow": ("lstm_test", "simple_rnn_test", "bidirectional_test"),
}
LEAST = {"torch": 48, "jax": 20, "tensorflow": 20}  # how many tests there are
SKIPPED = {  # by Keras itself
    "gru_test.test_stateful_with_symbolic_batch_size": ("torch", "jax"),  # for TensorFlow only
    "gru_test.test_torch_cudnn_dispatch_fires": BACKENDS,  # for a GPU only
    "bidirectional_test.test_torch_cudnn_bidirectional_gru_dispatch_fires": BACKENDS,
}
NOT_COMPILED = {  # the cells of rnn_test are its own
    "bidirectional_test.test_fused_gru_eligibility",  # only builds layers, as the next two do
    "bidirectional_test.test_fused_lstm_eligibility",
    "bidirectional_test.test_keeps_use_cudnn",
    "bidirectional_test.test_output_shape",  # has whole numbers as inputs
}


@on_each_backend("backend")
def test_in_the_place_of_keras_own(backend: str, tmp_path: Path) -> None:
    written = tmp_path / "report.json"
    modules = MODULES[backend]
    names = [f"keras.src.layers.rnn.{name}" for name in modules]
    _, *said = run_pytest(backend, tmp_path, "-p", "suite", "--report", written, "--pyargs", *names)
    assert written.exists(), said
    report = json.loads(written.read_text())
    assert report["backend"] == backend
    assert report["replaced"] == ["SimpleRNN", "LSTM", "GRU", "RNN"]
    tests = report["tests"]
    assert len(tests) >= LEAST[backend]
    assert {name.split(".")[0] for name in tests} == {*modules}
    failed = {name: told["said"] for name, told in tests.items() if told["outcome"] == "failed"}
    assert not failed, "\n".join(f"{name}\n{said}" for name, said in failed.items())
    skipped = {name for name, told in tests.items() if told["outcome"] == "skipped"}
    expected = {name for name, backends in SKIPPED.items() if backend in backends}
    assert skipped == {name for name in expected if name.split(".")[0] in modules}
    own = {name for name in tests if name.startswith("rnn_test.")}
    compiled = {name for name, told in tests.items() if told["runs"]}
    assert compiled == {*tests} - skipped - NOT_COMPILED - own
