"""Whole comparisons on small sets: the recommendation, the report, killed and gone on with."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from anyrnn.errors import SizeError, StoppedError
from anyrnn.studies import CompareOptions, StudyOptions, compare
from anyrnn.studies.comparison.compare import Comparison
from anyrnn.studies.trials import TrialRecord
from anyrnn.studies.worker import StudyListener
from anyrnn.tasks.classify import DataOptions, ModelOptions, Options
from anyrnn.tasks.options.training_options import TrainingOptions


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def options(folder: Path, decides: int, cells: tuple[str, ...], **training: Any) -> Options:
    """Sequences of 25 letters of which one decides, the first (0) or the last (-1)."""
    generator = random.Random(1)
    rows = ["text,label"]
    for _ in range(400):
        letters = generator.choices("xyz", k=25)
        letters[decides] = generator.choice("ab")
        rows.append(f"{' '.join(letters)},{letters[decides]}")
    path = folder / "letters.csv"
    path.write_text("\n".join(rows))
    settings = {"batch_size": 16, "learning_rate": 0.02, "device": "cpu", "seeds": 3}
    return Options(
        DataOptions(path, "text", "label"),
        cells=cells,
        model=ModelOptions(embedding_size=8, hidden_size=16, dropout=0.0, pool="last"),
        training=TrainingOptions(**{**settings, **training}),
    )


def compared(folder: Path, options: Options, choices: dict[str, Any], **others: Any) -> Comparison:
    listener = others.pop("listener", None)
    study = StudyOptions(output=folder / "study", **others)
    return compare(options, CompareOptions(**choices), study, listener=listener)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """The first letter decides: within so few epochs only the RNN learns to hold it."""
    folder = tmp_path_factory.mktemp("first")
    chosen = options(folder, 0, ("rnn", "mingru"), epochs=6, patience=6)
    return compared(folder, chosen, {"fixed_rate": True, "sizes": "equal-hidden"})


def test_where_the_first_token_decides(first: Comparison) -> None:
    assert (first.recommended, first.choice.why) == ("rnn", "clear")
    assert min(each["accuracy"] for each in first.evidence.outcome("rnn").figures.values()) > 0.9
    (mingru,) = first.choice.test
    assert (mingru.cell, mingru.worse, mingru.p) == ("mingru", 3, 0.25)
    assert mingru.verdict(0.05) == "probably worse"
    advice = first.advice()
    assert advice.recommendation.startswith("Recommended: rnn.")
    assert any(
        "mingru is worse than rnn from each of the 3 seeds" in text for text in advice.reasons
    )
    assert any("majority" in name for name in first.evidence.baselines)


def test_how_far_the_gradient_reaches(first: Comparison) -> None:
    for outcome in first.evidence.outcomes:
        shares = first.shares[outcome.cell]
        assert shares[0] == 1.0
        assert outcome.signal is not None
        assert outcome.signal.length == len(shares) == 25
        left = max(steps for steps, share in enumerate(shares) if share > 0.01) + 1
        assert outcome.signal.steps == (left if left < 25 else None)


def test_what_is_written(first: Comparison) -> None:
    found = json.loads((first.folder / "results.json").read_text("utf-8"))
    assert found == json.loads(json.dumps(first.plain()))
    assert found["recommended"] == "rnn"
    assert found["advice"]["zh"]["recommendation"].startswith("推荐 rnn")
    assert found["test"]["name"].startswith("paired permutation test")
    records = [json.loads(path.read_text("utf-8")) for path in first.folder.glob("trials/*.json")]
    assert len(records) == 6
    tested = {each["seed"]: each["figures"] for each in records if each["cell"] == "rnn"}
    assert {
        int(seed): figures for seed, figures in found["cells"]["rnn"]["figures"].items()
    } == tested
    page = (first.folder / "report.html").read_text("utf-8")
    assert page.count("<svg") == 6  # two of results, three of curves, one of gradients
    for said in ("Recommended: rnn.", "permutation test", "smallest p is 0.25", "optimiser"):
        assert said in page, said
    assert 'lang="en"' in page


def test_where_the_last_token_decides_no_cell_is_needed_more_than_another(tmp_path: Path) -> None:
    chosen = options(tmp_path, -1, ("rnn", "gru"), epochs=2, seeds=2, learning_rate=0.05)
    found = compared(tmp_path, chosen, {"fixed_rate": True, "figure": "accuracy", "language": "zh"})
    assert found.choice.why in ("open", "cheaper")
    assert [each.verdict(0.05) for each in found.choice.test] == ["open"]
    page = (found.folder / "report.html").read_text("utf-8")
    assert 'lang="zh-CN"' in page
    texts = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<tbody>.*?</tbody>", "", page, flags=re.S)
    words = re.findall(r"[A-Za-z]{4,}", re.sub(r"<[^>]*>", " ", texts.partition("<h2>设置")[0]))
    assert set(words) <= {"mingru", "accuracy", "Holm", "macro", "loss", "classify", "letters"}


def test_learning_rates_that_diverge_are_not_chosen(tmp_path: Path) -> None:
    cells = ("rnn_relu", "gru")
    chosen = options(tmp_path, -1, cells, epochs=1, seeds=1, optimiser="sgd", clip=0.0)
    found = compared(tmp_path, chosen, {"rates": (0.1, 1e38)}, keep_runs=True)
    tried = [each for each in found.records if each.purpose == "learning rate"]
    states = {
        each.changes["training.learning_rate"]: each.state
        for each in tried
        if each.cell == "rnn_relu"
    }
    assert states == {0.1: "finished", 1e38: "diverged"}
    assert found.evidence.outcome("rnn_relu").learning_rate == 0.1
    assert found.choice.why == "one seed"
    kept = {each.run for each in found.records if each.run}
    assert kept == {
        f"trials/{path.parent.name}" for path in found.folder.glob("trials/*/config.json")
    }
    assert any(each.run in kept for each in tried)


class _Stops(StudyListener):
    """Requests a stop, as Ctrl-C would, in an epoch of the trial after some."""

    def __init__(self, after: int) -> None:
        self.done, self.after = 0, after

    def trial_done(self, record: TrialRecord) -> None:
        self.done += 1

    def batch_done(self, number: int, epoch: int, done: int, total: int) -> None:
        import signal

        if self.done == self.after and done == 2:
            self.after = -1
            signal.raise_signal(signal.SIGINT)


def figures(found: Comparison) -> dict[str, Any]:
    """All that does not depend on how fast the machine was."""
    outcomes = found.evidence.outcomes
    return {
        each.cell: (each.learning_rate, each.rates, each.validation, each.figures, each.failures)
        for each in outcomes
    }


def test_a_comparison_that_was_stopped_is_gone_on_with_to_the_same_result(tmp_path: Path) -> None:
    chosen = options(tmp_path, -1, ("rnn", "gru"), epochs=1, seeds=2)
    choices = {"rates": (0.01, 0.1)}
    whole = compared(tmp_path, chosen, choices)
    again = tmp_path / "again"
    for count, listener in enumerate((_Stops(0), _Stops(1), _Stops(3))):
        with pytest.raises(StoppedError, match="go on with the same command and resume=True"):
            compared(again, chosen, choices, resume=count > 0, listener=listener)
    found = compared(again, chosen, choices, resume=True)
    assert figures(found) == figures(whole)
    assert found.plan == whole.plan
    assert found.choice.test == whole.choice.test


def test_a_budget_that_ends_before_every_cell_was_trained(tmp_path: Path) -> None:
    chosen = options(tmp_path, -1, ("rnn", "gru"), epochs=1, seeds=2)
    with pytest.raises(SizeError, match="budget"):
        compared(tmp_path, chosen, {"fixed_rate": True}, budget="0.001s")
    assert not (tmp_path / "study").exists()
    found = compared(tmp_path, chosen, {"fixed_rate": True}, budget="10m")
    assert found.complete
    assert set(found.plan.epoch_seconds) == {"rnn", "gru"}
