"""The adding problem and copy memory: what is drawn, what is right, and what needs no memory."""

import math
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from anyrnn.errors import OptionError, SizeError
from anyrnn.tasks import evaluate, load, train
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.problems import adding, copying
from anyrnn.tasks.problems.adding.task import TOLERANCE, Adding
from anyrnn.tasks.problems.copying.task import BLANK, KEPT, NOW, SYMBOLS, Copying
from anyrnn.tasks.problems.drawn import Problem, Sequences
from anyrnn.tasks.registry import TASKS, entry_named

SMALL: dict[str, Any] = {
    "training_sequences": 320,
    "validation_sequences": 50,
    "test_sequences": 70,
    "hidden_size": 12,
    "epochs": 2,
    "batch_size": 32,
    "device": "cpu",
}
each_problem = pytest.mark.parametrize("kind", [Adding, Copying], ids=["adding", "copying"])


def made(kind: type[Problem], **others: Any) -> Problem:
    return kind(from_flat(kind.options_type, {**SMALL, **others}))


def every(
    task: Problem, part: Sequences, seed: int | None = None, size: int = 32
) -> dict[str, numpy.ndarray]:
    """All sequences of a part."""
    batches = list(task.batches(part, size, seed))
    return {
        name: torch.cat([batch[name] for batch in batches]).numpy() for name in ("inputs", "answer")
    }


@pytest.mark.parametrize("length", [2, 3, 10, 25])
def test_two_steps_are_marked_and_their_values_are_to_be_added(length: int) -> None:
    drawn = Adding.draw(numpy.random.default_rng(0), 500, length)
    values, marks = drawn["inputs"][..., 0], drawn["inputs"][..., 1]
    assert values.shape == (500, length)
    assert (values >= 0).all()
    assert (values < 1).all()
    for row in range(500):
        first, second = numpy.flatnonzero(marks[row])
        assert first < length // 2 <= second
        assert drawn["answer"][row] == pytest.approx(values[row, first] + values[row, second])
    # every step of each half is marked now and then
    assert (marks.sum(0) > 0).all()


def test_always_1_reaches_a_sixth() -> None:
    """The variance of the sum of two uniform values, to four deviations of such a sample."""
    task, count = made(Adding), 40_000
    figures = task.without_a_network(Sequences(count, 20, 2))["always 1"]
    deviation = math.sqrt((1 / 15 - 1 / 36) / count)  # the fourth moment is 1/15
    assert figures["loss"] == pytest.approx(1 / 6, abs=4 * deviation)
    # the density of the sum is highest, 1, at 1
    assert figures["within"] == pytest.approx(2 * TOLERANCE - TOLERANCE**2, abs=0.006)


@pytest.mark.parametrize("pause", [1, 4, 30])
def test_symbols_are_to_come_again_after_the_pause(pause: int) -> None:
    drawn = Copying.draw(numpy.random.default_rng(0), 200, pause)
    inputs, answer = drawn["inputs"], drawn["answer"]
    assert inputs.shape == answer.shape == (200, pause + 2 * KEPT)
    symbols = inputs[:, :KEPT]
    assert set(numpy.unique(symbols)) == set(range(1, SYMBOLS + 1))
    assert (inputs == NOW).sum() == 200
    # the sign stands one step before the first symbol has to come
    assert (inputs[:, -KEPT - 1] == NOW).all()
    assert (numpy.delete(inputs, -KEPT - 1, 1)[:, KEPT:] == BLANK).all()
    assert (answer[:, :-KEPT] == BLANK).all()
    assert (answer[:, -KEPT:] == symbols).all()


def test_what_remembers_nothing_reaches_the_known_loss() -> None:
    """10 ln 8 / (T + 20), computed from the answers of such a network."""
    task, part = made(Copying, pause=1000), Sequences(40, 1000, 2)
    logits = torch.full((1, 1020, SYMBOLS + 2), -1e4)
    logits[:, :-KEPT, BLANK] = 0
    logits[:, -KEPT:, 1 : SYMBOLS + 1] = 0

    class Memoryless(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.none = torch.nn.Parameter(torch.zeros(1))

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return logits.expand(len(tokens), -1, -1) + self.none

    scores = task.score(Memoryless(), part)
    floor = task.without_a_network(part)["no memory"]
    assert floor["loss"] == pytest.approx(0.0204, abs=5e-5)
    assert scores.figures["loss"] == pytest.approx(floor["loss"], rel=1e-4)
    assert floor["recalled"] == 1 / 8
    assert scores.figures["recalled"] == pytest.approx(1 / 8, abs=0.06)


@each_problem
def test_what_is_measured_stays_and_every_epoch_is_new(kind: type[Problem]) -> None:
    task = made(kind)
    data = kind.read(task.options)
    assert data.validation is not None
    assert data.test is not None
    same = [every(task, data.test, size=size) for size in (32, 32, 7, 70)]
    for other in same[1:]:
        assert all((same[0][name] == other[name]).all() for name in other)
    training = task.batches(data.training, 32, 5)
    epochs = []
    for epoch in (0, 1, 0):
        training.set_epoch(epoch)
        epochs.append(torch.cat([batch["inputs"] for batch in training]))
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    others = [every(task, data.validation), every(task, data.training, 6)]
    assert not any(
        numpy.array_equal(same[0]["inputs"][:50], each["inputs"][:50]) for each in others
    )
    assert len(same[0]["inputs"]) == 70


@each_problem
def test_batches_go_on_in_the_middle_of_an_epoch(kind: type[Problem]) -> None:
    task = made(kind)
    batches = task.batches(kind.read(task.options).training, 32, 5)
    batches.set_epoch(3)
    walk = iter(batches)
    for _ in range(4):
        next(walk)
    state = batches.state_dict()
    rest = [batch["inputs"] for batch in walk]
    again = task.batches(kind.read(task.options).training, 32, 5)
    again.load_state_dict(state)
    assert [
        torch.equal(*pair) for pair in zip(rest, (b["inputs"] for b in again), strict=True)
    ] == [True] * 6


def test_adding_is_learned(tmp_path: Path) -> None:
    options = from_flat(
        adding.Options,
        {**SMALL, "length": 6, "training_sequences": 3200, "epochs": 6, "learning_rate": 0.02}
        | {"cells": ("gru",)},
    )
    result = train(options, tmp_path / "run")
    assert result.best.scores.figures["loss"] < 0.02 < result.baselines["always 1"]["loss"]
    model = load(tmp_path / "run")
    drawn = Adding.draw(numpy.random.default_rng(3), 40, 6)
    assert numpy.abs(model.predict(drawn["inputs"]) - drawn["answer"]).mean() < 0.15
    # a run is measured at another length, too
    longer = evaluate(tmp_path / "run", {"length": 12})
    assert longer.scores.figures["loss"] > result.best.scores.figures["loss"]


def test_copying_is_learned(tmp_path: Path) -> None:
    options = from_flat(
        copying.Options,
        {**SMALL, "pause": 1, "training_sequences": 3200, "epochs": 3, "learning_rate": 0.01}
        | {"cells": ("gru",), "hidden_size": 32},
    )
    result = train(options, tmp_path / "run")
    figures, floor = result.best.scores.figures, result.baselines["no memory"]
    assert figures["loss"] < floor["loss"]
    assert figures["recalled"] > 1.2 * floor["recalled"]
    answers = load(tmp_path / "run").predict(
        Copying.draw(numpy.random.default_rng(0), 4, 1)["inputs"]
    )
    assert answers.shape == (4, 21)
    assert "Copy memory" in (tmp_path / "run" / "report.html").read_text()


def test_problems_are_asked_for_by_name_and_listed_nowhere() -> None:
    assert entry_named("adding").task is Adding
    assert entry_named("copying").task is Copying
    assert not {"adding", "copying"} & set(TASKS)
    with pytest.raises(OptionError, match="nearest: adding"):
        entry_named("addin")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(adding, "length", 1), (copying, "pause", 0), (adding, "training_sequences", 0)],
)
def test_sizes_out_of_bounds(kind: Any, name: str, value: int) -> None:
    with pytest.raises(SizeError, match=f"{name} is {value}"):
        from_flat(kind.Options, {name: value})
