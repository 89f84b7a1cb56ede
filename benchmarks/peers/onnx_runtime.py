"""ONNX Runtime: a model of one of its recurrent operators, inference only."""

# The extra "bench" brings onnx and onnxruntime.
# pyright: reportMissingImports=false

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from benchmarks.cases import LENGTHS, Case, Data, named
from benchmarks.conditions import cores
from benchmarks.peers import Run

KINDS = {"gru": "GRU", "gru_reset_before": "GRU", "rnn": "RNN"}  # all others: LSTM
GATES = {"LSTM": "iofg", "GRU": "zrn", "RNN": ""}
OPSET, IR_VERSION = 14, 10


def build(case: Case, data: Data) -> Run:
    """A model with the states as inputs and outputs."""
    model, given, states = _model(case, data)
    return _run(model.SerializeToString(), given, states)


def dynamic(case: Case, data: Data) -> Run:
    """The same, quantised dynamically, with a scale for each unit."""
    model, given, states = _model(case, data)
    with TemporaryDirectory() as folder, disabled_logging():
        path = Path(folder) / "model.onnx"
        quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8)
        content = path.read_bytes()
    return _run(content, given, states)


@contextmanager
def disabled_logging() -> Iterator[None]:
    """Without its advice to simplify the model first."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _model(case: Case, data: Data) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The model, what is given besides the states, and the first states."""
    kind = KINDS.get(case.cell, "LSTM")
    batch, time, inputs, hidden = case.shape
    attributes: dict[str, Any] = {"hidden_size": hidden}
    if case.cell == "gru":
        attributes["linear_before_reset"] = 1
    if case.cell == "lstm_coupled":  # ONNX has f = 1 - i, we have i = 1 - f: the sign is turned
        attributes["input_forget"] = 1
        turned = {f"{family}.i": -data.members[f"{family}.f"] for family in "WUb"}
        data = Data(data.x, data.output_gradient, data.members | turned)
    layout = {name: named(family, GATES[kind]) for name, family in zip("WR", "WU", strict=True)}
    layout["B"] = named("b", GATES[kind]) + named("d", GATES[kind])
    if case.cell == "lstm_peephole":
        layout["P"] = named("p", "iof")
    weights = {name: array[None] for name, array in data.pack(layout).items()}
    states = {f"initial_{n}": np.zeros((1, batch, hidden), "f") for n in "hc"[: case.states]}
    results = ["Y", *(f"Y_{n}" for n in "hc"[: case.states])]
    lengths = {"lengths": data.lengths.astype(np.int32)} if case.option == LENGTHS else {}
    names = ["x", "W", "R", "B", "".join(lengths), *states, *(["P"] if "P" in weights else [])]

    def values(names: Any, shape: tuple[int, ...]) -> list[Any]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names]

    graph = helper.make_graph(
        [helper.make_node(kind, names, results, **attributes)],
        "cell",
        values(["x"], (time, batch, inputs))
        + [helper.make_tensor_value_info(n, TensorProto.INT32, (batch,)) for n in lengths]
        + values(states, (1, batch, hidden)),
        values(["Y"], (time, 1, batch, hidden)) + values(results[1:], (1, batch, hidden)),
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return model, {"x": data.x, **lengths}, states


def _run(model: bytes, given: dict[str, Any], states: dict[str, Any]) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    providers = ["CPUExecutionProvider"]
    session: Any = onnxruntime.InferenceSession(model, options, providers)

    def call(states: Any) -> tuple[Any, Any]:
        output, *new = session.run(None, {**given, **states})
        return output, dict(zip(states, new, strict=True))

    return Run(call, lambda output: {"output": output[:, 0]}, states)
