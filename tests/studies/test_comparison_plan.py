"""Sizes, learning rates and epochs of a comparison."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from anyrnn.errors import OptionError, SizeError
from anyrnn.studies.comparison.options import CompareOptions
from anyrnn.studies.comparison.outcomes import best_rates, further_trials
from anyrnn.studies.comparison.plan import RATE, RESULT, Plan, beyond, rates_tried, within
from anyrnn.studies.comparison.sizes import (
    check_cells,
    equal_parameters,
    equal_time,
    nearest,
    parameters,
    with_hidden_size,
)
from anyrnn.studies.trials import TrialRecord
from anyrnn.tasks.classify import DataOptions, ModelOptions, Options
from anyrnn.tasks.options.declaration import replaced
from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.registry import TASKS
from anyrnn.tasks.scores.figures import LOSS
from anyrnn.tasks.task import Task

CELLS = ("rnn", "lstm", "gru", "mingru", "qrnn")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    path = tmp_path / "texts.csv"
    rows = [
        f"{'a b c d e'[: 1 + 2 * (number % 5)]} {number},{['yes', 'no'][number % 2]}\n"
        for number in range(40)
    ]
    path.write_text("text,label\n" + "".join(rows))
    options = Options(
        DataOptions(path, "text", "label"),
        cells=CELLS,
        model=ModelOptions(embedding_size=7, hidden_size=29),
        training=TrainingOptions(seeds=3, seed=5, device="cpu"),
    )
    kind = TASKS["classify"].task
    return kind.prepare(options, kind.read(options).training, lambda text: None)


def real_count(task: Task, cell: str, size: int) -> int:
    network = with_hidden_size(task, size).network(cell)
    return sum(each.numel() for each in network.parameters())


def test_no_other_size_comes_nearer_to_the_parameters_of_the_first_cell(task: Task) -> None:
    sizes = equal_parameters(task, CELLS, 29)
    wanted = real_count(task, "rnn", 29)
    assert sizes["rnn"] == 29
    for cell, size in sizes.items():
        off = [abs(real_count(task, cell, size + d) - wanted) for d in (-1, 0, 1) if size + d]
        assert min(off) == abs(real_count(task, cell, size) - wanted), cell
    assert sizes["lstm"] < sizes["gru"] < sizes["mingru"]


def test_parameters_are_counted_without_drawing_any(task: Task) -> None:
    state = torch.get_rng_state()
    assert parameters(task, "gru", 29) == real_count(task, "gru", 29)
    torch.set_rng_state(state)
    parameters(task, "gru", 29)
    assert torch.equal(torch.get_rng_state(), state)


def test_sizes_of_equal_time_follow_from_the_measured_steps(task: Task) -> None:
    factors = {"rnn": 1.0, "lstm": 4.0, "gru": 2.0}

    def seconds(changed: Any, cell: str) -> float:
        return factors[cell] * changed.options.model.hidden_size**2

    sizes = equal_time(task, tuple(factors), 64, seconds)
    assert sizes["rnn"] == 64
    assert sizes["lstm"] == 32
    assert abs(sizes["gru"] - 64 / math.sqrt(2)) <= 4


@pytest.mark.parametrize("wanted", [0, 1, 7, 50, 99, 1000])
def test_the_nearest_size(wanted: int) -> None:
    found = nearest(lambda size: 2 * size, wanted, 100)
    assert abs(2 * found - wanted) == min(abs(2 * size - wanted) for size in range(1, 101))


def test_a_cell_that_a_task_cannot_take(task: Task) -> None:
    check_cells(task, CELLS)
    with pytest.raises(OptionError, match=r"^classify cannot take the cell lstm_projection: "):
        check_cells(task, ["rnn", "lstm_projection"])
    square = with_hidden_size(task, 7)
    check_cells(square, ["rnn", "sru"])
    with pytest.raises(OptionError, match=r"cannot take the cell sru: .*; use sizes=equal-hidden"):
        equal_parameters(square, ["rnn", "sru"], 7)


def plan(rates: tuple[float, ...] = (0.01, 0.03)) -> Plan:
    sizes = {"rnn": 8, "gru": 4}
    return Plan(sizes, {"rnn": 100, "gru": 100}, rates, 6, 8, {})


def test_trials_are_planned_seed_by_seed(task: Task) -> None:
    options: Any = task.options
    options = type(options)(options.data, cells=("rnn", "gru"), training=options.training)
    tried = list(plan().rate_trials(options))
    assert [(each.cell, each.seed, each.purpose) for each in tried[:2]] == [
        ("rnn", 8, RATE),
        ("gru", 8, RATE),
    ]
    assert len(tried) == 4
    results = list(plan().result_trials(options, {"rnn": 0.01, "gru": 0.03}))
    assert [(each.cell, each.seed) for each in results[:3]] == [("rnn", 5), ("gru", 5), ("rnn", 6)]
    assert {each.purpose for each in results} == {RESULT}
    assert results[1].changes == {
        "model.hidden_size": 4,
        "training.learning_rate": 0.03,
        "training.epochs": 6,
    }
    assert Plan.restored(plan().plain()) == plan()


def test_more_seeds_leave_out_that_of_the_learning_rates(task: Task) -> None:
    options: Any = task.options
    more = replaced(options, training=replaced(options.training, seeds=5))
    assert plan().seeds(options) == (5, 6, 7)
    assert plan().seeds(more) == (5, 6, 7, 9, 10)


def test_the_learning_rates_that_are_tried(task: Task) -> None:
    options = task.options
    assert rates_tried(options, CompareOptions()) == (0.0003, 0.001, 0.003, 0.01)
    assert rates_tried(options, CompareOptions(rates=(0.1, 0.01))) == (0.01, 0.1)
    assert rates_tried(options, CompareOptions(fixed_rate=True)) == (0.001,)
    assert beyond(options, (0.001, 0.003, 0.01), 0.01) == 0.03
    assert beyond(options, (0.001, 0.003, 0.01), 0.001) == 0.0003
    assert beyond(options, (0.001, 0.003, 0.01), 0.003) is None
    assert beyond(options, (0.03, 0.1), 0.1) is None


def record(cell: str, rate: float, loss: float, state: Any = "finished") -> TrialRecord:
    changes = {"training.learning_rate": rate}
    epochs = [{"number": 1, "seconds": 1.0, "figures": {"validation_loss": loss}}]
    return TrialRecord(0, cell, 8, changes, RATE, state, epochs=epochs, best_epoch=1)


def test_the_best_learning_rate_of_each_cell() -> None:
    records = [
        record("rnn", 0.003, 0.3),
        record("rnn", 0.01, 0.2),
        record("gru", 0.003, 0.1),
        record("gru", 0.01, 0.2),
        record("lstm", 0.003, 0.0, "diverged"),
        record("lstm", 0.01, 0.0, "diverged"),
    ]
    rates = best_rates(records, plan((0.003, 0.01)), ("rnn", "gru", "lstm"), LOSS)
    assert rates == {"rnn": 0.01, "gru": 0.003, "lstm": 0.003}


def test_rates_beyond_the_best_one_are_tried_where_it_is_at_an_end(task: Task) -> None:
    records = [record("rnn", 0.003, 0.3), record("rnn", 0.01, 0.2)]
    records += [record("gru", 0.001, 0.3), record("gru", 0.003, 0.1), record("gru", 0.01, 0.2)]
    options: Any = task.options
    options = type(options)(options.data, cells=("rnn", "gru"), training=options.training)
    found = further_trials(records, plan(), options, LOSS)
    assert [(each.cell, each.changes["training.learning_rate"]) for each in found] == [
        ("rnn", 0.03)
    ]
    records.append(record("rnn", 0.03, 0.0, "diverged"))
    assert further_trials(records, plan(), options, LOSS) == []


def test_a_budget_is_spent_on_rates_and_epochs() -> None:
    seconds, rates = {"rnn": 1.0, "gru": 3.0}, (0.1, 0.3, 1.0, 3.0)
    for budget in (30, 100, 200, 1000):
        tried, epochs = within(budget, seconds, rates, 50, 5, False)
        trainings = 5 + (len(tried) if len(tried) > 1 else 0)
        assert 1 <= epochs <= 50
        assert 4 * epochs * trainings <= budget
        assert set(tried) <= set(rates)
    assert within(30, seconds, rates, 50, 5, False) == ((0.3,), 1)
    assert within(80, seconds, rates, 50, 5, True) == (rates, 1)
    assert within(1e6, seconds, rates, 50, 5, False) == (rates, 50)


def test_a_budget_too_small_for_one_epoch() -> None:
    with pytest.raises(SizeError, match=r"^budget is too small for one epoch: .* about 13.0 s"):
        within(5, {"rnn": 1.0, "gru": 1.0}, (0.1, 0.3), 50, 5, False)
