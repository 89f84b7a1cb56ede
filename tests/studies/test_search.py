"""A study: its trials are planned or chosen, go on after a kill, and are trained by several."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from anyrnn.errors import RunError, SizeError, StoppedError, StorageError
from anyrnn.studies import processes, trial_queue
from anyrnn.studies.place import Place
from anyrnn.studies.search import Study
from anyrnn.studies.space import Range, Space
from anyrnn.studies.trials import Trainer, TrialPlan, TrialRecord
from anyrnn.studies.worker import Sampling, StudyListener
from anyrnn.tasks.classify import Options
from anyrnn.tasks.classify.task import Classify
from anyrnn.tasks.run_files import read_json
from anyrnn.tasks.trained import load
from anyrnn.tasks.training.listener import Epoch

MakeOptions = Callable[..., Options]
RATE = "training.learning_rate"
SPACE = Space((Range(RATE, 0.0001, 0.1, log=True), Range("model.hidden_size", 2, 6)))


BUDGET = 3.0  # seconds


class Late(StudyListener):
    """In the second epoch of the second trial the time of a budget goes by."""

    def batch_done(self, number: int, epoch: int, done: int, total: int) -> None:
        if (number, epoch, done) == (1, 2, 1):
            time.sleep(BUDGET)


def place(folder: Path, *, resume: bool = False, url: str | None = None) -> Place:
    return Place(folder / "study", "study", url, resume)


def plain(records: list[TrialRecord]) -> list[tuple[Any, ...]]:
    """What repeats of records: no times, no memory."""
    return [
        (
            each.number,
            each.cell,
            each.seed,
            each.changes,
            each.state,
            each.deciding,
            each.figures,
            [epoch["figures"] for epoch in each.epochs],
        )
        for each in records
    ]


class Heard(StudyListener):
    """Calls a function after an epoch of a trial."""

    def __init__(self, number: int, epoch: int, action: Callable[[], object]) -> None:
        self.at = (number, epoch)
        self.action = action

    def epoch_done(self, number: int, epoch: Epoch) -> None:
        if (number, epoch.number) == self.at:
            self.action()


def test_planned_trials(options: MakeOptions, tmp_path: Path, monkeypatch: Any) -> None:
    reads = []
    read = Classify.read
    monkeypatch.setattr(Classify, "read", lambda options: reads.append(1) or read(options))
    plans = [
        TrialPlan(cell, seed, {RATE: 0.03}, "main") for cell in ("rnn", "gru") for seed in (0, 5)
    ]
    plans.append(TrialPlan("rnn", 0, {RATE: 1e38}, "rate"))
    plans.append(TrialPlan("rnn", 0, {"model.hidden_size": 2**31 - 1}, "size"))
    with Study("compare", options(seed=3), place(tmp_path)) as study:
        study.enqueue(plans)
        study.enqueue(plans[:2])
        assert study.run()
        found = study.records()
    assert [each.plan for each in found] == plans
    assert [each.state for each in found] == ["finished"] * 4 + ["diverged", "failed"]
    assert "the training diverged" in found[4].reason
    assert "more than can be addressed" in found[5].reason
    assert len(reads) == 1
    assert not list((tmp_path / "study/trials").glob("*.partial"))
    first = found[0]
    assert first.parameters == sum(
        each.numel() for each in load(tmp_path / "study" / str(first.run)).network.parameters()
    )
    assert first.updates == 4  # 64 rows in batches of 16
    assert first.deciding == min(epoch["figures"]["validation_loss"] for epoch in first.epochs)
    assert first.peak_memory_bytes is None or first.peak_memory_bytes > 1e6
    assert first.seconds_per_row
    assert TrialRecord(**read_json(tmp_path / "study/trials/0000.json")) == first
    config = json.loads((tmp_path / "study/trials/0001/config.json").read_text("utf-8"))
    assert config["options"]["training"]["seed"] == 5
    assert config["options"]["training"]["learning_rate"] == 0.03
    # The seeds differ, and the data that are split by the seed of the study do not.
    assert found[0].deciding != found[1].deciding
    assert not (tmp_path / "study/trials/0004").exists()


def test_sampled_trials_repeat_and_the_worst_are_given_up(
    options: MakeOptions, tmp_path: Path
) -> None:
    sampling = Sampling(SPACE, 7, seed=1, pruned_from=1, pruned_after=3)
    found = []
    for name in ("one", "other"):
        with Study("tune", options(), Place(tmp_path / name, name)) as study:
            assert study.run(sampling=sampling)
            found.append(study.records())
    assert plain(found[0]) == plain(found[1])
    assert [each.number for each in found[0]] == list(range(7))
    states = [each.state for each in found[0]]
    assert states[:3] == ["finished"] * 3
    assert "pruned" in states
    for record in found[0]:
        assert 0.0001 <= record.changes[RATE] <= 0.1
        if record.state == "pruned":  # it was worse than the median of those finished before
            number = len(record.epochs) - 1
            before = [
                each.epochs[number]["figures"]["validation_loss"]
                for each in found[0][: record.number]
                if each.state == "finished"
            ]
            better = [each for each in before if each < (record.deciding or 0)]
            assert len(better) * 2 >= len(before)
    other = replace(sampling, seed=2)
    with Study("tune", options(), Place(tmp_path / "third", "third")) as study:
        study.run(sampling=replace(other, trials=1))
        assert study.records()[0].changes != found[0][0].changes


def test_an_interrupted_study_goes_on_to_the_same_result(
    options: MakeOptions, tmp_path: Path
) -> None:
    sampling = Sampling(SPACE, 6, seed=1, pruned_from=1, pruned_after=3)
    with Study("tune", options(), Place(tmp_path / "whole", "study")) as study:
        study.run(sampling=sampling)
        whole = study.records()
    stop = Heard(2, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with Study("tune", options(), place(tmp_path), listener=stop) as study:
        with pytest.raises(StoppedError, match="go on with the same command and resume=True"):
            study.run(sampling=sampling)
        assert len(study.records()) == 2
    # As if it had been killed: in the middle of a line of the journal, holding the lock of it.
    journal = tmp_path / "study/trials.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 5, "tri')
    (tmp_path / "study/trials.journal.lock").write_text("")
    with Study("tune", options(), place(tmp_path, resume=True)) as study:
        assert study.run(sampling=sampling)
        assert plain(study.records()) == plain(whole)
        states = [each.state for each in study.inner.get_trials(deepcopy=False)]
    assert states.count(TrialState.FAIL) == 1
    assert states.count(TrialState.WAITING) == 0


def test_trials_of_a_killed_process_are_tried_again(options: MakeOptions, tmp_path: Path) -> None:
    plan = TrialPlan("rnn", 0, purpose="main")
    with Study("compare", options(), place(tmp_path)) as study:
        study.enqueue([plan])
        study.inner.ask()  # and the process is killed
    with Study("compare", options(), place(tmp_path, resume=True)) as study:
        study.enqueue([plan])
        assert study.run()
        (record,) = study.records()
        assert (record.number, record.plan, record.state) == (0, plan, "finished")
        # Killed when all was done but for telling Optuna: not trained again.
        study.enqueue([TrialPlan("rnn", 1)])
        trial_queue.keep_record(study.inner.ask(), replace(record, number=1, seed=1))
    with Study("compare", options(), place(tmp_path, resume=True)) as study:
        assert study.run()
        assert [each.seed for each in study.records()] == [0, 1]
    assert not (tmp_path / "study/trials/0001").exists()


def test_a_trial_that_kills_its_process_is_given_up(options: MakeOptions, tmp_path: Path) -> None:
    with Study("compare", options(), place(tmp_path)) as study:
        study.enqueue([TrialPlan("rnn", 7)])
        for _ in range(trial_queue.MOST_ATTEMPTS):
            assert study.records() == []
            study.inner.ask()
            assert trial_queue.requeue_lost(study.inner, None, killed=True) == 1
        assert trial_queue.waiting(study.inner) == 0
        (record,) = study.records()
        assert (record.seed, record.state) == (7, "failed")
        assert record.reason == "its process was killed 3 times"


def test_studies_that_cannot_begin(options: MakeOptions, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no study .* to go on with; leave resume out"):
        Study("tune", options(), place(tmp_path, resume=True))
    with Study("tune", options(), place(tmp_path)) as study:
        study.enqueue([TrialPlan("rnn", 0)])
        with (
            pytest.raises(RunError, match="another process works on the study"),
            Study("tune", options(), place(tmp_path, resume=True)),
        ):
            pass
        study.run()
    with pytest.raises(RunError, match="exists: go on with it by resume=True, or choose another"):
        Study("tune", options(), place(tmp_path))
    for kind, changed, message in [
        ("compare", options(), "kind was 'tune' and is 'compare' now"),
        ("tune", options(batch_size=8), "training.batch_size was 16 and is 8 now"),
    ]:
        with (
            pytest.raises(RunError, match=message),
            Study(kind, changed, place(tmp_path, resume=True)),
        ):
            pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    with pytest.raises(RunError, match="is no study of anyrnn, so it stays as it is"):
        Study("tune", options(), Place(tmp_path / "other", "other"))
    journal = tmp_path / "study/trials.journal"
    journal.write_bytes(journal.read_bytes().replace(b"op_code", b"opcode"))
    with (
        pytest.raises(StorageError, match=r"trials.journal is damaged"),
        Study("tune", options(), place(tmp_path, resume=True)),
    ):
        pass


def test_the_time_is_over(options: MakeOptions, tmp_path: Path) -> None:
    plans = [TrialPlan("rnn", seed) for seed in range(3)]
    with (
        pytest.raises(SizeError, match=r"budget is 0\.0 s, which is too little for one epoch"),
        Study("tune", options(), place(tmp_path)) as study,
    ):
        study.run(sampling=Sampling(SPACE, 1), budget=1e-6)
    assert not (tmp_path / "study").exists()
    with Study("tune", options(), place(tmp_path)) as study:
        study.enqueue(plans)

        study._listener = Late()
        assert not study.run(budget=BUDGET)
        assert [each.seed for each in study.records()] == [0]
        assert study.seconds >= BUDGET
    with Study("tune", options(), place(tmp_path, resume=True)) as study:
        assert not study.run(budget=BUDGET)  # is used up
        assert study.run(budget=600)
        assert [each.seed for each in study.records()] == [0, 1, 2]


@pytest.fixture(scope="module")
def forking() -> Iterator[Any]:
    """Starts processes as copies of one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["anyrnn.studies.processes", "anyrnn.tasks.classify.task"])
    yield context
    forkserver._forkserver._stop()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.long
def test_two_processes_of_which_one_is_killed(
    options: MakeOptions, tmp_path: Path, forking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "get_context", lambda method: forking)
    plans = [TrialPlan(cell, seed) for cell in ("rnn", "gru") for seed in (0, 1)]
    with Study("compare", options(), Place(tmp_path / "alone", "alone")) as study:
        study.enqueue(plans)
        study.run()
        alone = study.records()

    def kill() -> None:
        if not killed:
            worker = multiprocessing.active_children()[0]
            assert worker.pid
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    killed: list[int] = []
    heard = Heard(1, 1, kill)
    with Study("compare", options(), place(tmp_path), listener=heard) as study:
        study.enqueue(plans)
        assert study.run(workers=2)
        assert plain(study.records()) == plain(alone)
        trials = study.inner.get_trials(deepcopy=False)
    assert killed
    workers = {each.user_attrs.get(trial_queue.WORKER) for each in trials} - {None}
    assert len(workers) >= 2
    assert not multiprocessing.active_children()


@pytest.mark.long
def test_two_processes_stop_together(
    options: MakeOptions, tmp_path: Path, forking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "get_context", lambda method: forking)
    plans = [TrialPlan("rnn", seed) for seed in range(20)]  # more than are done before it is heard
    stop = Heard(0, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with Study("compare", options(), place(tmp_path), listener=stop) as study:
        study.enqueue(plans)
        with pytest.raises(StoppedError, match="go on with the same command"):
            study.run(workers=2)
        left = len(plans) - len(study.records())
        assert trial_queue.waiting(study.inner) == left > 0
    assert not multiprocessing.active_children()


def test_a_database_is_shared(options: MakeOptions, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    with Study("tune", options(), place(tmp_path, url=url)) as study:
        study.enqueue([TrialPlan("rnn", 0)])
        assert study.run()
    other = Place(tmp_path / "elsewhere", "study", url)
    with (
        pytest.raises(RunError, match=r"the study 'study' in sqlite.* exists"),
        Study("tune", options(), other),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()
    with Study("tune", options(), replace(other, resume=True)) as study:
        study.enqueue([TrialPlan("rnn", 0), TrialPlan("rnn", 1)])
        assert study.run()
        assert [each.number for each in study.records()] == [0, 1]
    assert (tmp_path / "elsewhere/trials/0001/config.json").exists()
    with (
        pytest.raises(RunError, match="there is no study 'none' in"),
        Study("tune", options(), Place(tmp_path / "none", "none", url, True)),
    ):
        pass


def test_a_change_in_how_data_are_read_reads_them_again(options: MakeOptions) -> None:
    trainer = Trainer(options())
    same = trainer._as_read(replace(options(), model=replace(options().model, hidden_size=2)))
    assert same is trainer.data
    numbers = replace(options().numbers, class_weights="balanced")
    other = trainer._as_read(replace(options(), numbers=numbers))
    assert other is not trainer.data
    assert list(other.training.rows) == list(trainer.data.training.rows)
