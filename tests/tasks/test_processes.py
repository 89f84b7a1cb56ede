"""Several processes train one network: the figures of one, and what happens when one dies."""

import csv
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
from test_classify_train import same_run

from anyrnn.errors import ProcessError, RunError, StoppedError
from anyrnn.tasks.classify import Options
from anyrnn.tasks.experiment import train
from anyrnn.tasks.training import launch
from anyrnn.tasks.training.listener import Listener

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("processes")]
MakeOptions = Callable[..., Options]


@pytest.fixture(scope="module")
def forking() -> Iterator[BaseContext]:
    """Starts processes as copies of one that has imported everything, which takes longer than so
    short a training. Users' processes are spawned, as one of the tests is.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["anyrnn.tasks.training.training_loop", "anyrnn.tasks.classify.task"]
    )
    yield context
    forkserver._forkserver._stop()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def chosen(options: MakeOptions) -> Callable[..., Options]:
    """Batches of 7 rows, and a last one of 6; three processes would have one without any."""

    def make(**training: object) -> Options:
        made = options(epochs=3, batch_size=7, accumulate=2, **training)
        return replace(made, model=replace(made.model, dropout=0.0))

    return make


def history(run: Path) -> list[float]:
    """The figures of all epochs, without times."""
    with (run / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [float(row[name]) for row in rows for name in row if name not in ("cell", "seconds")]


class Heard(Listener):
    """Does something after chosen batches of the first epochs, and notes what it is told."""

    def __init__(self, actions: Sequence[Callable[[], object] | None] = ()) -> None:
        self.actions = actions
        self.told: list[str] = []

    def trial_started(self, cell: str, seed: int | None, number: int, total: int) -> None:
        self.told.append(cell)

    def batch_done(self, epoch: int, done: int, total: int) -> None:
        action = self.actions[epoch - 1] if epoch <= len(self.actions) else None
        if action and done == 3:
            action()


def kill_the_second() -> None:
    *_, second = sorted(multiprocessing.active_children(), key=lambda each: each.name)
    assert second.pid is not None
    os.kill(second.pid, signal.SIGKILL)


def test_two_processes_reach_the_figures_of_one_and_go_on_when_one_died(
    chosen: MakeOptions, tmp_path: Path, forking: BaseContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "get_context", lambda _: forking)
    alone, two = tmp_path / "alone", tmp_path / "two"
    train(chosen(), alone)
    heard = Heard()
    result = train(chosen(devices=2), two, listener=heard)
    assert heard.told == ["gru"]
    # Sums in another order: float32 agrees to some 6 digits.
    assert history(two) == pytest.approx(history(alone), rel=2e-5)
    assert result.run == two

    other = tmp_path / "other"
    with pytest.raises(ProcessError) as killed:
        train(chosen(devices=2), other, listener=Heard([None, kill_the_second]))
    assert str(killed.value) == (
        f"process 2 of 2 was killed (signal 9); what is done lies in {other}.partial: "
        "go on with the same command and resume=True"
    )
    assert not multiprocessing.active_children()
    stop = Heard([None, lambda: os.kill(os.getpid(), signal.SIGINT)])
    with pytest.raises(StoppedError, match="go on with the same command"):
        train(chosen(devices=2), other, resume=True, listener=stop)
    train(chosen(devices=2), other, resume=True)
    same_run(two, other, ("gru",))


def test_two_machines_reach_the_figures_of_one(
    chosen: MakeOptions, tmp_path: Path, forking: BaseContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of one machine is started as users' are."""
    contexts = iter([forking, multiprocessing.get_context("spawn")])
    monkeypatch.setattr(launch, "get_context", lambda _: next(contexts))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def machine(number: int) -> Path:
        options = chosen(nodes=2, node_rank=number, rendezvous=address)
        return train(options, tmp_path / "two").run

    with ThreadPoolExecutor() as machines:
        runs = list(machines.map(machine, range(2)))
    assert runs == [tmp_path / "two"] * 2
    train(chosen(), tmp_path / "alone")
    assert history(runs[0]) == pytest.approx(history(tmp_path / "alone"), rel=2e-5)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"nodes": 2}, "rendezvous has to say where the first machine is"),
        ({"nodes": 2, "rendezvous": "here"}, "has to be HOST:PORT"),
        ({"nodes": 2, "rendezvous": "127.0.0.1:1", "node_rank": 2}, "has to be from 0 to 1"),
    ],
)
def test_machines_that_cannot_be(
    chosen: MakeOptions, tmp_path: Path, training: dict[str, object], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        train(chosen(**training), tmp_path / "run")
    assert not list(tmp_path.glob("run*"))
