"""Every library that is installed gives the interpreter's numbers, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.trainings
from benchmarks.cases import (
    BFLOAT16,
    CELLS,
    DROPOUT,
    INT8,
    LENGTHS,
    MASK,
    OPTION_CASES,
    OPTIONS,
    OTHER_LENGTHS,
    PACKED,
    RESETS,
    STANDARD,
    SUBNORMAL,
    ZONEOUT,
    Case,
)
from benchmarks.conditions import Conditions
from benchmarks.measure import CALLS, SMALLEST, Options, difference, measure, run, unlike
from benchmarks.models import FIT, MODELS, PREDICT, Model
from benchmarks.peers import (
    BASELINES,
    KERAS_TRAINING,
    LAYER_PEERS,
    MODEL_PEERS,
    OUR_MODEL,
    OUR_PREPARED,
    OURS,
    PEERS,
    THEIR_MODEL,
    TRAINING_PEERS,
)
from benchmarks.trainings import KERAS_TRAININGS, TRAINING_CASES, TRAININGS
from benchmarks.worker import PeerError, Worker

SHORT = Options(seconds=0.001, rounds=1)
ALONE = Conditions(1)  # other tests have the other cores
CASE = Case("gru", (2, 3, 5, 7), "training")
COMPILING = ("torch.compile step", "torch.compile loop")  # for a minute; equations of torch loop


ON_TORCH, ON_TENSORFLOW = "keras on torch", "keras on tensorflow"
BESIDE = dict.fromkeys(
    ("torch loop", "torch.nn", "torch.nn cell", "torch.ao", OUR_PREPARED), OURS
)  # in whose process
BESIDE |= {whose.format("torch"): ON_TORCH for whose in (OUR_MODEL, THEIR_MODEL)}
BESIDE["onnxruntime int8"] = "onnxruntime"
BESIDE |= {OUR_MODEL.format("tensorflow"): ON_TENSORFLOW}


def each_worker(*names: str) -> pytest.MarkDecorator:
    """The tests of a library share its process."""
    groups = [pytest.mark.xdist_group(BESIDE.get(name, name)) for name in names]
    params = [
        pytest.param(name, marks=[pytest.mark.long, group])
        for name, group in zip(names, groups, strict=True)
    ]
    return pytest.mark.parametrize("worker", params, indirect=True)


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[str, Worker]]:
    made: dict[str, Worker] = {}
    yield made
    for each in made.values():
        each.stop()


@pytest.fixture
def worker(request: pytest.FixtureRequest, workers: dict[str, Worker]) -> Worker:
    host = BESIDE.get(request.param, request.param)
    found = workers.setdefault(host, Worker(host, ALONE))
    found.runs = request.param
    return found


LAYERS = sorted({*LAYER_PEERS} - {*COMPILING, *BASELINES})
# those whose equations or programs another one has, "torch loop" or "keras on torch"
SOME = {
    OURS: ("gru", "fast_slow"),
    OUR_PREPARED: ("lstm", "fast_slow"),
    "jax scan": ("lstm", "sru"),
    "keras on jax": ("lstm",),
    ON_TENSORFLOW: ("gru_reset_before",),
}
# where several options are given to a library in the same way, one of them
SOME_OPTIONS = {
    OURS: (DROPOUT, LENGTHS, OTHER_LENGTHS, RESETS, PACKED, BFLOAT16, INT8, SUBNORMAL),
    "jax scan": (DROPOUT, ZONEOUT, MASK),
    ON_TORCH: (DROPOUT, LENGTHS),
    "keras on jax": (DROPOUT,),
    ON_TENSORFLOW: (LENGTHS,),
}


@each_worker(*(name for name in LAYERS if PEERS[name].cells))
def test_numbers_of_every_cell(worker: Worker) -> None:
    peer = PEERS[worker.runs]
    if peer.missing:
        pytest.skip(f"not installed: {', '.join(peer.missing)}")
    sizes = {"sru": (7, 7)}  # it mixes its input into its output
    some = [(cell, 3, peer.modes[-1]) for cell in SOME.get(worker.runs, CELLS)]
    streams = STANDARD if worker.runs == "torch.nn cell" else ("gru",)
    some += [(cell, 1, "inference") for cell in streams]
    cases = [Case(cell, (2, time, *sizes.get(cell, (5, 7))), mode) for cell, time, mode in some]
    taken = [case for case in cases if peer.takes(case)]
    assert taken
    for case in taken:
        data = case.data()
        results, memory = worker.prepare(case, data, 60)
        assert difference(results, case.reference(data, CALLS)) is None, case
        assert memory is None or memory < 2**30
        assert all(seconds > 0 for seconds in worker.time(0.001))
        worker.finish()


CHANGED = [name for name in LAYERS if PEERS[name].options]


@each_worker(*CHANGED)
def test_numbers_with_every_option(worker: Worker) -> None:
    peer = PEERS[worker.runs]
    if peer.missing:
        pytest.skip(f"not installed: {', '.join(peer.missing)}")
    options = SOME_OPTIONS.get(worker.runs, OPTIONS)
    shape = 32, 9, 40, 40
    modes = {INT8: "inference"}
    cases = [Case("lstm", shape, modes.get(o, peer.modes[-1]), o) for o in options]
    if worker.runs == "torch loop":
        cases += [Case("gru", (32, 9, 40, 40), peer.modes[-1], DROPOUT)]
    taken = [case for case in cases if peer.takes(case)]
    import torch

    if worker.runs == "torch.nn" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        taken = [case for case in taken if case.option != BFLOAT16]  # its LSTM raises there
    assert taken
    for case in taken:
        found = measure(case, {worker.runs: worker}, SHORT)["peers"][worker.runs]
        assert "error" not in found, (case, found["error"])


MODEL_CASES = [
    Model("gru", (8, 6, 20, 20), FIT, LENGTHS),
    Model("lstm", (8, 6, 20, 20), PREDICT, DROPOUT),
]


MODELED = {
    THEIR_MODEL.format("torch"): MODEL_CASES[:1],
    OUR_MODEL.format("torch"): MODEL_CASES,  # the program on JAX
    OUR_MODEL.format("tensorflow"): MODEL_CASES[1:],
}


@each_worker(*MODELED)
def test_numbers_of_models(worker: Worker) -> None:
    peer = PEERS[worker.runs]
    if peer.missing:
        pytest.skip(f"not installed: {', '.join(peer.missing)}")
    for case in MODELED[worker.runs]:
        found = measure(case, {worker.runs: worker}, SHORT)["peers"][worker.runs]
        assert "error" not in found, (case, found["error"])


@each_worker(KERAS_TRAINING.format("jax"))
def test_a_training_is_the_same_by_keras(worker: Worker) -> None:
    peer = PEERS[worker.runs]
    if peer.missing:
        pytest.skip(f"not installed: {', '.join(peer.missing)}")
    named = ("classify numbers", "gru")
    case = next(c for c in TRAINING_CASES if (c.option, c.cell) == named and peer.takes(c))
    found = measure(case, {worker.runs: worker}, SHORT)["peers"][worker.runs]
    assert "error" not in found, found["error"]


@pytest.mark.parametrize(("name", "cell"), [("classify numbers", "gru"), ("forecast", "lstm")])
def test_a_training_is_the_same_on_torch(
    name: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.peers.torch_trainings import TorchLayers

    monkeypatch.setattr(benchmarks.trainings, "BATCHES", 2)
    case = next(c for c in TRAINING_CASES if (c.option, c.cell) == (name, cell))
    train, theirs = case.trained(), case.trained(TorchLayers)
    for _ in range(2):
        losses, peers = train(), theirs()
    right = case.reference(None, 2)["losses"]
    assert len(right) == 2
    np.testing.assert_allclose(losses, right, rtol=1e-5)
    np.testing.assert_allclose(peers, right, rtol=1e-5)


def test_the_rows_of_trainings() -> None:
    assert len({*TRAINING_CASES}) == len(TRAININGS) * 4
    for case in TRAINING_CASES:
        keras = 3 if case.option in KERAS_TRAININGS and case.cell in STANDARD else 0
        assert len([peer for peer in TRAINING_PEERS.values() if peer.takes(case)]) == 3 + keras


def test_the_rows_of_models() -> None:
    assert len({*MODELS}) == 3 * 2 * 3
    for case in MODELS:
        assert [name for name, peer in PEERS.items() if peer.takes(case)] == [*MODEL_PEERS]


@pytest.mark.parametrize("option", [MASK, RESETS])
def test_marks_that_change_nothing(option: str) -> None:
    case = Case("lstm", (2, 4, 3, 3), "training", option)
    marks = np.full((4, 2), option == MASK)
    marked = case.reference(replace(case.data(), marks=marks), CALLS)
    plain = replace(case, option="plain")
    expected = plain.reference(plain.data(), CALLS)
    for name, right in expected.items():
        np.testing.assert_allclose(marked[name], right, rtol=1e-4, atol=1e-6)


def test_too_little_noise_is_told() -> None:
    case = Case("gru", (8, 9, 20, 20), "training", ZONEOUT)
    right = case.reference(case.data(), CALLS)
    plain = replace(case, option="plain").reference(case.data(), CALLS)
    assert unlike(right, right, plain) is None
    assert "what is random in output has the size 0, not" in str(unlike(plain, right, plain))
    assert unlike({**right, "output": np.ones(2)}, right, plain) is not None


def test_the_rows_of_options() -> None:
    cases = OPTION_CASES
    assert len(cases) == len({*cases}) == 2 * 2 * 2 * 9 + 2 + 2 * 3 * 2 + 2 * 6 + 2 * 4
    for case in cases:
        assert PEERS[OURS].takes(case)
        assert sum(peer.takes(case) for peer in PEERS.values()) >= 3


@each_worker(OURS)
def test_wrong_numbers_are_told_and_not_timed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CASE.reference(CASE.data(), CALLS)
    wrong = {name: array.copy() for name, array in right.items()}
    wrong["U.n"][2, 4] += 1e-3 * np.abs(wrong["U.n"]).max()
    monkeypatch.setattr(Case, "reference", lambda *_: wrong)
    found = measure(CASE, {OURS: worker}, SHORT)["peers"][OURS]
    assert found == {"error": "U.n is wrong by 0.001 of its largest number"}
    monkeypatch.setattr(Case, "reference", lambda *_: right)
    assert measure(CASE, {OURS: worker}, SHORT)["peers"][OURS]["calls"] >= 1


def test_not_a_number_and_another_shape_are_wrong() -> None:
    right = {"output": np.ones((3, 2)), "x": np.zeros(2)}
    assert difference(right, right) is None
    assert difference({**right, "x": np.array([0, np.nan])}, right) is not None
    tiny = {"output": np.array([1e-40])}
    assert difference({"output": np.zeros(1)}, tiny) is not None
    assert difference({"output": np.zeros(1)}, tiny, smallest=SMALLEST) is None
    told = "output has the shape (2, 3), not (3, 2)"
    assert difference({**right, "output": np.ones((2, 3))}, right) == told


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child in /proc")
@each_worker(OURS)
def test_a_crash_ends_one_row_only(worker: Worker) -> None:
    worker.prepare(CASE, CASE.data(), 60)
    process = worker._process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGSEGV)
    with pytest.raises(PeerError, match="crashed: SIGSEGV"):
        worker.time(0.01)
    worker.prepare(CASE, CASE.data(), 60)
    worker.finish()


@each_worker(OURS)
def test_what_takes_too_long_is_ended(worker: Worker) -> None:
    worker.prepare(CASE, CASE.data(), 60)
    worker.finish()
    with pytest.raises(PeerError, match="stopped after 0 s"):
        worker.prepare(CASE, CASE.data(), 0)
    worker.prepare(CASE, CASE.data(), 60)


def test_rows_are_written_one_by_one_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    known = {"cell": "gru", "shape": [2, 3, 5, 7], "mode": "training", "threads": 1}
    document: dict[str, Any] = {"machine": {}, "rows": [known]}
    for _ in run([CASE], [OURS], [ALONE], SHORT, document, path):
        assert not path.exists()  # nothing was measured
    both = [ALONE, Conditions(2)]
    for count, _ in enumerate(run([CASE], [], both, SHORT, document, path)):
        assert path.exists() == bool(count)  # the row with two threads is another one
    added = json.loads(path.read_text())["rows"][1]
    assert (added["threads"], added["cell"]) == (2, "gru")
    assert added["load"] is None or 0 <= added["load"] <= (os.cpu_count() or 1)
