"""What stays on disk: after a kill at any moment, a full disk, two trainings at once."""

import csv
import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_classify_train import hash_of, same_run
from toy_reviews import reviews, write_csv

from anyrnn.errors import RunError, StoppedError, WriteError
from anyrnn.tasks.classify import Options
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.registry import TASKS
from anyrnn.tasks.trained import load
from anyrnn.tasks.training.listener import Epoch, Listener

MakeOptions = Callable[..., Options]


@pytest.fixture
def noise(table: Path) -> None:
    """Labels that cannot be learned, so that the training stops early."""
    texts = [text for text, _ in reviews(200)]
    write_csv(table, [(text, "heads" if hash_of(text) else "tails") for text in texts])


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """The folder `here` as each change of a name in it would find it: so a kill leaves it."""
    found: list[Path] = []

    def spied(change: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **options: Any) -> object:
            left = tmp_path / f"killed{len(found)}"
            found.append(Path(shutil.copytree(tmp_path / "here", left)))
            return change(*arguments, **options)

        return call

    def run(call: Callable[[], object]) -> list[Path]:
        with monkeypatch.context() as patch:
            for name in ("replace", "rename", "rmdir"):
                patch.setattr(os, name, spied(getattr(os, name)))
            call()
        return found

    return run


def finished_or_resumed(options: Options, place: Path, overwrite: bool = False) -> Path:
    """The run in a folder that a kill left; it is whole, or the same command finishes it."""
    try:
        load(place / "run")
        if not (place / "run.partial").exists():
            return place / "run"
    except RunError:
        pass
    resume = (place / "run.partial").exists()
    train(options, place / "run", resume=resume, overwrite=overwrite)
    return place / "run"


def test_a_kill_anywhere_changes_no_result(
    options: MakeOptions, noise: None, tmp_path: Path, killed: Callable[..., list[Path]]
) -> None:
    chosen = options(epochs=30, patience=2)
    (tmp_path / "here").mkdir()
    found = killed(lambda: train(chosen, tmp_path / "here" / "run"))
    whole = tmp_path / "here" / "run"
    with (whole / "history.csv").open() as file:
        epochs = len(list(csv.DictReader(file)))
    assert 3 <= epochs < 10
    assert len(found) > epochs
    for place in found:
        same_run(whole, finished_or_resumed(chosen, place), ("gru",))
        assert not (place / "run.partial").exists()


@pytest.fixture(params=["generate", "forecast"])
def another_task(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Options of a task other than the classification of texts."""
    training = {"epochs": 2, "batch_size": 8, "device": "cpu"}
    if request.param == "generate":
        (tmp_path / "book.txt").write_text("to be or not to be, that is the question\n" * 30)
        small = {"hidden_size": 8, "embedding_size": 8, "steps": 10, "dropout": 0.3}
        files = {"data": (tmp_path / "book.txt",)}
        return from_flat(TASKS["generate"].options, {**files, **small, **training})
    values = "\n".join(str((i * 7919) % 11 + i % 7) for i in range(90))
    (tmp_path / "series.csv").write_text(f"y\n{values}\n")
    small = {"horizon": 4, "look_back": 8, "hidden_size": 8, "dropout": 0.3, "backtest": 0}
    files = {"data": tmp_path / "series.csv"}
    return from_flat(TASKS["forecast"].options, {**files, **small, **training})


def test_a_kill_or_a_full_disk_changes_no_result_of_other_tasks(
    another_task: Any, tmp_path: Path, killed: Callable[..., list[Path]]
) -> None:
    cells = another_task.cells
    (tmp_path / "here").mkdir()
    whole = tmp_path / "here" / "run"
    found = killed(lambda: train(another_task, whole))
    assert len(found) > 3
    for place in found[1::3]:
        same_run(whole, finished_or_resumed(another_task, place), cells)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(WriteError, match="No space left"):
        train(another_task, tmp_path / "run", listener=During(2, lambda: full_disk(patch)))
    train(another_task, tmp_path / "run", resume=True)
    same_run(whole, tmp_path / "run", cells)


def test_a_kill_while_a_run_is_replaced_leaves_one_of_the_two(
    options: MakeOptions, tmp_path: Path, killed: Callable[..., list[Path]]
) -> None:
    (tmp_path / "here").mkdir()
    run = tmp_path / "here" / "run"
    train(options(epochs=1, seed=1), run)
    chosen = options(epochs=1)
    found = killed(lambda: train(chosen, run, overwrite=True))
    seeds = []
    for place in found:
        if (place / "run").exists():
            load(place / "run")
            seeds.append(
                json.loads((place / "run" / "config.json").read_text())["options"]["training"][
                    "seed"
                ]
            )
        else:
            same_run(run, finished_or_resumed(chosen, place, overwrite=True), ("gru",))
    assert seeds == sorted(seeds, reverse=True)
    assert set(seeds) == {0, 1}


class During(Listener):
    """Does something after an epoch."""

    def __init__(self, epoch: int, action: Callable[[], object]) -> None:
        self.epoch, self.action = epoch, action

    def epoch_done(self, epoch: Epoch) -> None:
        if epoch.number == self.epoch:
            self.action()


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_second_training_on_one_output_is_refused(
    options: MakeOptions, tmp_path: Path, how: dict[str, bool]
) -> None:
    chosen = options(epochs=2)
    train(chosen, tmp_path / "alone")

    def second() -> None:
        with pytest.raises(RunError, match="another training writes"):
            train(chosen, tmp_path / "run", **how)

    train(chosen, tmp_path / "run", listener=During(1, second))
    same_run(tmp_path / "alone", tmp_path / "run", ("gru",))


def test_of_two_that_begin_at_once_one_is_refused(options: MakeOptions, tmp_path: Path) -> None:
    """Both look before either has written."""

    class Noted(Listener):
        def noted(self, text: str) -> None:
            if not (tmp_path / "run").exists():
                train(options(epochs=1), tmp_path / "run")

    with pytest.raises(RunError, match="exists"):
        train(options(epochs=1), tmp_path / "run", listener=Noted())
    load(tmp_path / "run")


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_full_disk_leaves_the_last_good_checkpoint(
    options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    chosen = options(epochs=3)
    train(chosen, tmp_path / "whole")
    with monkeypatch.context() as patch:
        listener = During(epoch, lambda: full_disk(patch))
        with pytest.raises(WriteError, match="No space left on device") as caught:
            train(chosen, tmp_path / "run", listener=listener)
    left = tmp_path / "run.partial" / "checkpoints" / "gru"
    if epoch == 1:  # nothing that is worth keeping
        assert not left.parent.parent.exists()
        return
    assert "resume=True" in str(caught.value)
    assert [path.name for path in left.iterdir()] == ["checkpoint.ckpt"]
    train(chosen, tmp_path / "run", resume=True)
    same_run(tmp_path / "whole", tmp_path / "run", ("gru",))


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_foreign_is_removed(options: MakeOptions, tmp_path: Path, overwrite: bool) -> None:
    for name in ("run.old", "run.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis").write_text("mine")
    chosen = options(epochs=1)
    train(chosen, tmp_path / "run", overwrite=overwrite)
    train(chosen, tmp_path / "run", overwrite=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["reviews.csv", "run", "run.old", "run.tmp"]
    assert (tmp_path / "run.old" / "thesis").read_text() == "mine"


FOREIGN = {
    "a folder": {"thesis": "mine"},
    "another program's settings": {"config.json": '{"model_type": "bert"}'},
    "damaged settings": {"config.json": "{", "settings.json": "{"},
    "another program's folder": {"settings.json": '{"theme": "dark"}', "thesis": "mine"},
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("name", ["run", "run.partial"])
@pytest.mark.parametrize("how", [{"overwrite": True}, {}, {"resume": True}])
def test_a_foreign_folder_stays_as_it_is(
    options: MakeOptions, tmp_path: Path, name: str, content: dict[str, str], how: dict[str, bool]
) -> None:
    (tmp_path / name).mkdir()
    for file, text in content.items():
        (tmp_path / name / file).write_text(text)
    with pytest.raises(RunError, match=name):
        train(options(epochs=1), tmp_path / "run", **how)
    assert {path.name: path.read_text() for path in (tmp_path / name).iterdir()} == content


@pytest.mark.parametrize("unfinished", [False, True])
def test_what_was_put_into_a_run_is_not_removed_with_it(
    options: MakeOptions, tmp_path: Path, unfinished: bool
) -> None:
    chosen = options(epochs=2)

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / ("run.partial" if unfinished else "run")
    if unfinished:
        with pytest.raises(StoppedError):
            train(chosen, tmp_path / "run", listener=During(1, stop))
    else:
        train(chosen, tmp_path / "run")
    (folder / "notes").write_text("mine")
    with pytest.raises(RunError, match="holds 'notes', which anyrnn did not write"):
        train(chosen, tmp_path / "run", overwrite=True)
    assert (folder / "notes").read_text() == "mine"
    (folder / "notes").unlink()
    train(chosen, tmp_path / "run", overwrite=True)


def test_a_link_to_a_run_stays_a_link(options: MakeOptions, tmp_path: Path) -> None:
    train(options(epochs=1, seed=1), tmp_path / "there" / "run")
    (tmp_path / "run").symlink_to(tmp_path / "there" / "run")
    train(options(epochs=1), tmp_path / "run", overwrite=True)
    assert (tmp_path / "run").is_symlink()
    config = json.loads((tmp_path / "there" / "run" / "config.json").read_text())
    assert config["options"]["training"]["seed"] == 0
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["run"]


def test_what_appears_meanwhile_is_not_replaced(options: MakeOptions, tmp_path: Path) -> None:
    def appear() -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis").write_text("mine")

    chosen = options(epochs=1)
    with pytest.raises(WriteError, match="lies whole in"):
        train(chosen, tmp_path / "run", listener=During(1, appear))
    assert (tmp_path / "run" / "thesis").read_text() == "mine"
    shutil.rmtree(tmp_path / "run")
    train(chosen, tmp_path / "run", resume=True)
    load(tmp_path / "run")


def test_other_data_or_another_order_of_labels_is_not_gone_on_with(
    options: MakeOptions, table: Path, tmp_path: Path
) -> None:
    def stop() -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(StoppedError):
        train(options(epochs=2), tmp_path / "run", listener=During(1, stop))
    settings = json.loads((tmp_path / "run.partial" / "settings.json").read_text())
    assert settings["state"]["labels"] == ["neg", "pos"]
    table.write_text(table.read_text() + "a fine film,pos\n")
    with pytest.raises(RunError, match="content was"):
        train(options(epochs=2), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"epochs": 3}', b'{"epochs": [{"x": 1}]}', b"[" * 10**6]
)
def test_a_damaged_unfinished_run_is_told(
    options: MakeOptions, tmp_path: Path, damage: bytes
) -> None:
    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    class Second(During):
        def trial_started(self, cell: str, seed: int | None, number: int, total: int) -> None:
            self.epoch = 1 if number == 2 else 0

    with pytest.raises(StoppedError):
        train(options(("rnn", "gru"), epochs=1), tmp_path / "run", listener=Second(0, stop))
    (tmp_path / "run.partial" / "checkpoints" / "rnn" / "epochs.json").write_bytes(damage)
    with pytest.raises(RunError, match=r"damaged.*epochs\.json"):
        train(options(("rnn", "gru"), epochs=1), tmp_path / "run", resume=True)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(options: MakeOptions, tmp_path: Path) -> None:
    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        train(options(epochs=2), tmp_path / "run", listener=During(1, stop))
    path = tmp_path / "run.partial" / "checkpoints" / "gru" / "checkpoint.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged or foreign"):
        train(options(epochs=2), tmp_path / "run", resume=True)


def test_signals_that_are_ignored_stay_ignored(options: MakeOptions, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        listener = During(1, lambda: os.kill(os.getpid(), signal.SIGHUP))
        train(options(epochs=2), tmp_path / "run", listener=listener)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_stops_at_once(options: MakeOptions, tmp_path: Path) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(StoppedError, match="stopped"):
        train(options(epochs=2), tmp_path / "run", listener=During(2, twice))
    assert signal.getsignal(signal.SIGINT) is before
    train(options(epochs=2), tmp_path / "run", resume=True)
