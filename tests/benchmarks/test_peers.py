"""Every library that is installed gives the interpreter's numbers, in a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cases import CELLS, Case
from benchmarks.measure import CALLS, Options, difference, measure, run
from benchmarks.peers import OURS, PEERS, SGEMM
from benchmarks.worker import PeerError, Worker

SHORT = Options(seconds=0.01, rounds=2)
CASE = Case("gru", (2, 3, 5, 7), "training")
COMPILING = ("torch.compile step", "torch.compile loop")  # for a minute; equations of torch loop


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    made = Worker(request.param)
    yield made
    made.stop()


@pytest.mark.parametrize("worker", sorted({*PEERS} - {*COMPILING, SGEMM}), indirect=True)
def test_numbers_of_every_cell(worker: Worker) -> None:
    peer = PEERS[worker.name]
    if peer.missing:
        pytest.skip(f"not installed: {', '.join(peer.missing)}")
    some = (1, "inference"), (3, peer.modes[-1])
    sizes = {"sru": (7, 7)}  # it mixes its input into its output
    cases = [
        Case(cell, (2, time, *sizes.get(cell, (5, 7))), mode)
        for cell in CELLS
        for time, mode in some
    ]
    for case in filter(peer.takes, cases):
        data = case.data()
        results, memory = worker.prepare(case, data, 60)
        assert difference(results, case.reference(data, CALLS)) is None, case
        assert memory is None or memory < 2**30
        assert all(seconds > 0 for seconds in worker.time(0.001))
        worker.finish()


@pytest.mark.parametrize("worker", [OURS], indirect=True)
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
    told = "output has the shape (2, 3), not (3, 2)"
    assert difference({**right, "output": np.ones((2, 3))}, right) == told


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child in /proc")
@pytest.mark.parametrize("worker", [OURS], indirect=True)
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


@pytest.mark.parametrize("worker", [OURS], indirect=True)
def test_what_takes_too_long_is_ended(worker: Worker) -> None:
    worker.prepare(CASE, CASE.data(), 60)
    worker.finish()
    with pytest.raises(PeerError, match="stopped after 0 s"):
        worker.prepare(CASE, CASE.data(), 0)
    worker.prepare(CASE, CASE.data(), 60)


def test_rows_are_written_one_by_one_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    document = {"rows": [{"cell": "gru", "shape": [2, 3, 5, 7], "mode": "training"}]}
    for _ in run([CASE], [OURS], SHORT, document, path):
        assert not path.exists()  # nothing was measured
    for _ in run([Case("rnn", (2, 3, 5, 7), "inference")], [], SHORT, document, path):
        assert path.read_text().count('\n{"cell"') == 2
