import csv
import json
import os
import pickle
import signal
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_reviews import reviews, write_csv

from anyrnn.errors import RunError, StoppedError, UnknownCellError
from anyrnn.tasks.classify import Options
from anyrnn.tasks.experiment import train
from anyrnn.tasks.trained import load
from anyrnn.tasks.training.listener import Epoch, Listener

MakeOptions = Callable[..., Options]


def hash_of(text: str) -> int:
    """A bit that cannot be learned."""
    return zlib.crc32(text.encode()) & 1


class StopAt(Listener):
    """A signal to this process at a batch (or the last one) of an epoch of the training with a
    number.
    """

    def __init__(
        self, epoch: int, batch: int | None, sent: int = signal.SIGINT, training: int = 1
    ) -> None:
        self.place = (training, epoch)
        self.batch, self.sent = batch, sent

    def trial_started(self, cell: str, seed: int | None, number: int, total: int) -> None:
        self.number = number

    def batch_done(self, epoch: int, done: int, total: int) -> None:
        if (self.number, epoch) == self.place and done == (self.batch or total):
            os.kill(os.getpid(), self.sent)


def same_run(one: Path, other: Path, cells: tuple[str, ...]) -> None:
    """Weights and figures are equal, bit for bit; only times may differ."""
    for cell in cells:
        left, right = (load_file(run / f"{cell}.safetensors") for run in (one, other))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
    histories = []
    for run in (one, other):
        with (run / "history.csv").open(encoding="utf-8") as file:
            histories.append([dict(row, seconds="") for row in csv.DictReader(file)])
    assert histories[0] == histories[1]
    results = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    for cell in cells:
        assert results[0]["cells"][cell]["test"] == results[1]["cells"][cell]["test"]


@pytest.mark.parametrize(
    ("pool", "bidirectional"), [("last", False), ("last", True), ("mean", True), ("max", False)]
)
def test_learns(options: MakeOptions, tmp_path: Path, pool: str, bidirectional: bool) -> None:
    chosen = options()
    model = replace(chosen.model, pool=pool, bidirectional=bidirectional)
    result = train(replace(chosen, model=model), tmp_path / "run")
    assert result.best.scores.figures["accuracy"] > 0.9


def test_run_folder_holds_what_it_should(options: MakeOptions, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    train(options(cells=("rnn", "gru"), epochs=1), run)
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json",
        "gru.safetensors",
        "history.csv",
        "report.html",
        "results.json",
        "rnn.safetensors",
        "tokenizer.json",
    ]
    assert [path.name for path in run.parent.iterdir()] == ["one"]
    config = json.loads((run / "config.json").read_text())
    assert config["state"]["labels"] == ["neg", "pos"]
    assert config["facts"]["training"] + config["facts"]["test"] < 200


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Options], Path]:
    """A training that nothing interrupts; the tests whose options are the same share it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    runs: dict[str, Path] = {}

    def run(chosen: Options) -> Path:
        key = repr((chosen.cells, chosen.model, chosen.training))  # the table is the same
        if key not in runs:
            runs[key] = folder / str(len(runs))
            train(chosen, runs[key])
        return runs[key]

    return run


def test_same_seed_same_model(
    options: MakeOptions, uninterrupted: Callable[[Options], Path], tmp_path: Path
) -> None:
    chosen = options(cells=("rnn", "gru"), epochs=2)
    first = uninterrupted(chosen)
    torch.rand(7)  # what was drawn before does not matter
    train(chosen, tmp_path / "run")
    same_run(first, tmp_path / "run", chosen.cells)


def test_other_seed_other_model(options: MakeOptions, tmp_path: Path) -> None:
    for seed in (1, 2):
        train(options(epochs=1, seed=seed), tmp_path / str(seed))
    first, second = (load_file(tmp_path / name / "gru.safetensors") for name in ("1", "2"))
    assert not torch.equal(first["dense.weight"], second["dense.weight"])


def test_a_cell_does_not_depend_on_the_others(
    options: MakeOptions, uninterrupted: Callable[[Options], Path], tmp_path: Path
) -> None:
    train(options(cells=("gru",), epochs=2), tmp_path / "alone")
    runs = uninterrupted(options(cells=("rnn", "gru"), epochs=2)), tmp_path / "alone"
    both, alone = (load_file(run / "gru.safetensors") for run in runs)
    assert all(torch.equal(both[name], alone[name]) for name in both)


@pytest.mark.parametrize(
    ("epoch", "batch", "number"),
    [
        (1, 1, signal.SIGINT),
        (2, 4, signal.SIGTERM),
        (2, None, signal.SIGINT),
        (3, None, signal.SIGTERM),
    ],
    ids=["first batch", "middle", "end of an epoch", "end of the last epoch"],
)
def test_resumed_equals_uninterrupted(
    options: MakeOptions,
    uninterrupted: Callable[[Options], Path],
    tmp_path: Path,
    epoch: int,
    batch: int | None,
    number: int,
) -> None:
    chosen = options(cells=("rnn", "gru"), epochs=3)
    with pytest.raises(StoppedError, match="resume=True"):
        train(chosen, tmp_path / "run", listener=StopAt(epoch, batch, number, training=2))
    assert not (tmp_path / "run").exists()
    train(chosen, tmp_path / "run", resume=True)
    same_run(uninterrupted(chosen), tmp_path / "run", ("rnn", "gru"))
    assert not (tmp_path / "run.partial").exists()


@pytest.mark.parametrize(
    "training",
    [
        {"optimiser": "sgd", "momentum": 0.9, "schedule": "cosine", "weight_decay": 1e-3},
        {"schedule": "plateau", "patience": 9, "accumulate": 2},
        {"schedule": "step", "precision": "bfloat16", "clip": 0.0},
    ],
    ids=["sgd cosine", "plateau accumulate", "step bfloat16"],
)
def test_resumed_equals_uninterrupted_with_every_option(
    options: MakeOptions, table: Path, tmp_path: Path, training: dict[str, object]
) -> None:
    """Within an epoch of the second seed, and of an update where gradients are accumulated."""
    write_csv(table, reviews(120))
    chosen = options(epochs=3, seeds=2, **training)
    train(chosen, tmp_path / "whole")
    logged = replace(chosen, training=replace(chosen.training, tensorboard=tmp_path / "events"))
    with pytest.raises(StoppedError):
        train(logged, tmp_path / "run", listener=StopAt(2, 3, signal.SIGTERM, training=2))
    train(logged, tmp_path / "run", resume=True)
    same_run(tmp_path / "whole", tmp_path / "run", ("gru",))
    assert list((tmp_path / "events").rglob("events.*"))


def test_stops_early_and_keeps_the_best_epoch(
    options: MakeOptions, table: Path, tmp_path: Path
) -> None:
    texts = [text for text, _ in reviews(200)]
    write_csv(table, [(text, "heads" if hash_of(text) else "tails") for text in texts])
    seen: list[Epoch] = []

    class Noting(Listener):
        def epoch_done(self, epoch: Epoch) -> None:
            seen.append(epoch)

    result = train(options(epochs=60, patience=2), tmp_path / "run", listener=Noting())
    assert len(seen) < 60
    assert result.best.best_trial.epochs == seen
    assert result.best.best_trial.best_epoch.number == len(seen) - 2


def test_unfinished_run_is_not_overwritten_silently(options: MakeOptions, tmp_path: Path) -> None:
    chosen = options(cells=("rnn", "gru"), epochs=1)
    with pytest.raises(StoppedError):
        train(chosen, tmp_path / "run", listener=StopAt(1, 1, training=2))
    with pytest.raises(RunError, match=r"unfinished.*resume=True.*overwrite=True"):
        train(chosen, tmp_path / "run")
    with pytest.raises(RunError, match=r"training\.seed was 0 and is 5 now"):
        train(
            replace(chosen, training=replace(chosen.training, seed=5)),
            tmp_path / "run",
            resume=True,
        )
    train(chosen, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "report.html").exists()


def test_damaged_checkpoint(options: MakeOptions, tmp_path: Path) -> None:
    chosen = options(cells=("rnn", "gru"), epochs=1)
    with pytest.raises(StoppedError):
        train(chosen, tmp_path / "run", listener=StopAt(1, 1, training=2))
    checkpoint = tmp_path / "run.partial" / "checkpoints" / "gru" / "checkpoint.ckpt"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "evil"),)

    for damage in (b"", b"PK\x03\x04", pickle.dumps(Evil())):
        checkpoint.write_bytes(damage)
        with pytest.raises(RunError, match=r"cannot go on from .*checkpoint\.ckpt"):
            train(chosen, tmp_path / "run", resume=True)
    torch.save({"state_dict": Evil()}, checkpoint)
    with pytest.raises(RunError, match=r"cannot go on from .*checkpoint\.ckpt"):
        train(chosen, tmp_path / "run", resume=True)
    assert not (tmp_path / "evil").exists()


def test_unknown_cell_writes_nothing(options: MakeOptions, tmp_path: Path) -> None:
    with pytest.raises(UnknownCellError, match="lstm"):
        train(options(cells=("gru", "lstn")), tmp_path / "runs" / "one")
    assert not (tmp_path / "runs").exists()


def test_loading_runs_no_pickle(
    options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(options(epochs=1), tmp_path / "run")

    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("pickle was used")

    for module, name in (
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ):
        monkeypatch.setattr(module, name, refuse)
    prediction = load(tmp_path / "run").predict(["a lovely film"])[0]
    assert prediction.label in ("neg", "pos")
    assert prediction.probability == max(prediction.probabilities.values())
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_predictions_do_not_depend_on_their_company(options: MakeOptions, tmp_path: Path) -> None:
    train(options(epochs=1), tmp_path / "run")
    model = load(tmp_path / "run")
    texts = ["bad", "a film with a very fine plot and a poor scene", "???", "no known word"]
    together = model.task.probabilities(model.network, texts)
    alone = torch.cat([model.task.probabilities(model.network, [text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert model.predict([]) == []
