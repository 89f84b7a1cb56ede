"""The recommendation is right on constructed trainings, in both languages."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

import pytest

from anyrnn.studies.comparison.advice import advise
from anyrnn.studies.comparison.evidence import Evidence, Failure, Outcome, Signal, choose
from anyrnn.studies.comparison.words import WORDS
from anyrnn.tasks.scores.figures import LOSS, Figure

ACCURACY = Figure("accuracy", "accuracy", percent=True)
SEEDS = (0, 1, 2, 3, 4)


def outcome(cell: str, values: Sequence[float], seconds: float = 1.0, **others: Any) -> Outcome:
    """A cell with these accuracies, on validation and test, and what its training cost."""
    figures = {
        seed: {"accuracy": value, "loss": 1 - value}
        for seed, value in zip(SEEDS, values, strict=False)
    }
    settings = {"hidden_size": 8, "parameters": 1000, "learning_rate": 0.003}
    settings |= {"rates": (0.001, 0.003, 0.01), "epoch_seconds": seconds}
    return Outcome(cell, validation=figures, figures=figures, **(settings | others))


def evidence(*outcomes: Outcome, **others: Any) -> Evidence:
    settings: dict[str, Any] = {"planned": SEEDS}
    return Evidence(ACCURACY, (ACCURACY, LOSS), outcomes, **(settings | others))


MEMORY_NEEDED = evidence(
    outcome("rnn", [0.52, 0.5, 0.55, 0.51, 0.49], 0.3, signal=Signal(12, 40)),
    outcome("lstm", [0.97, 0.99, 0.98, 0.97, 0.99], 1.0, signal=Signal(None, 40)),
    outcome("gru", [0.98, 0.99, 0.99, 0.96, 0.995], 0.9, signal=Signal(None, 40)),
)
NOT_NEEDED = evidence(
    outcome("rnn", [0.901, 0.899, 0.905, 0.9, 0.897], 0.3),
    outcome("lstm", [0.903, 0.896, 0.906, 0.901, 0.899], 1.0),
    outcome("gru", [0.9, 0.902, 0.899, 0.898, 0.903], 0.8),
)
ALL_EQUAL = evidence(
    outcome("rnn", [0.8, 0.82, 0.81, 0.79, 0.8]),
    outcome("lstm", [0.81, 0.8, 0.79, 0.82, 0.8]),
    outcome("gru", [0.79, 0.81, 0.8, 0.8, 0.82]),
)
ONE_DIVERGES = evidence(
    outcome(
        "rnn_relu",
        [0.99, 0.99],
        0.1,
        failures=tuple(Failure(seed, True, "the loss is nan") for seed in (2, 3, 4)),
    ),
    outcome("lstm", [0.9, 0.91, 0.9, 0.92, 0.91]),
    outcome("gru", [0.8, 0.81, 0.8, 0.8, 0.82]),
)


def said(found: Evidence, language: Any = "en") -> tuple[str, str, str]:
    advice = advise(found, choose(found), language)
    return advice.recommendation, " ".join(advice.reasons), " ".join(advice.doubts)


def test_where_memory_is_needed() -> None:
    choice = choose(MEMORY_NEEDED)
    assert (choice.recommended, choice.why) == ("gru", "open")
    recommendation, reasons, doubts = said(MEMORY_NEEDED)
    assert recommendation == (
        "Recommended: gru. Its validation accuracy is the highest (98.3 ± 1.4 %); "
        "not worse with any certainty: lstm."
    )
    assert "rnn is worse than gru from each of the 5 seeds: accuracy by 46.9 points" in reasons
    assert "lstm is not worse than gru with any certainty" in reasons
    assert "The trained rnn loses the gradient after 12 steps" in reasons
    assert "The trained gru keeps more than 1 % of the gradient over all 40 steps" in reasons
    assert "the smallest p that the test can give is 0.062, after correction 0.12" in doubts


def test_where_memory_is_not_needed() -> None:
    choice = choose(NOT_NEEDED)
    assert (choice.recommended, choice.best, choice.why) == ("rnn", "lstm", "cheaper")
    recommendation, reasons, _ = said(NOT_NEEDED)
    assert recommendation == (
        "Recommended: rnn. Its validation accuracy (90.0 ± 0.3 %) lies within what the seeds of "
        "the best cell differ by (lstm: 89.6 to 90.6), and an epoch takes 30 % of the time."
    )
    assert "lstm is not worse than rnn with any certainty" in reasons


def test_where_all_are_equal() -> None:
    choice = choose(ALL_EQUAL)
    assert choice.why == "open"
    assert {each.verdict(0.05) for each in choice.validation} == {"open"}
    recommendation, reasons, _ = said(ALL_EQUAL)
    assert recommendation == (
        "Recommended, without certainty: rnn. Its validation accuracy is the highest "
        "(80.4 ± 1.1 %), but no other cell is worse there by more than seeds vary."
    )
    assert not re.search(r"is (worse|better)", reasons)


def test_where_a_cell_diverges() -> None:
    choice = choose(ONE_DIVERGES)
    assert (choice.recommended, choice.why) == ("lstm", "clear")
    recommendation, reasons, _ = said(ONE_DIVERGES)
    assert recommendation.startswith("Recommended: lstm.")
    assert "every other cell is worse by more than seeds vary" in recommendation
    assert "rnn_relu diverged in 3 of 5 trainings and is left out" in reasons


def test_where_every_cell_diverges() -> None:
    failures = (Failure(0, True, "the loss is nan"),)
    found = evidence(outcome("rnn", [], failures=failures), outcome("gru", [], failures=failures))
    recommendation, reasons, _ = said(found)
    assert recommendation.startswith("No recommendation")
    assert reasons.count("diverged in 1 of 5") == 2


def test_a_single_sound_cell_is_recommended_without_a_comparison() -> None:
    failures = (Failure(0, False, "there is not enough memory"),)
    found = evidence(outcome("rnn", [0.5] * 5), outcome("gru", [], failures=failures))
    recommendation, reasons, _ = said(found)
    assert recommendation == "Recommended: rnn, the only cell of which no training failed."
    assert "gru is left out of the choice: 1 of 5 trainings failed (there is not enough" in reasons


def test_one_seed_is_recommended_with_reserve() -> None:
    found = evidence(outcome("rnn", [0.5]), outcome("gru", [0.9]), planned=(0,))
    recommendation, reasons, _ = said(found)
    assert recommendation.startswith("Recommended, with reserve: gru.")
    assert "p =" not in reasons


def test_seven_seeds_can_be_certain() -> None:
    seeds = tuple(range(7))

    def of(cell: str, value: float) -> Outcome:
        figures = {seed: {"accuracy": value + seed / 1000, "loss": 0.1} for seed in seeds}
        return Outcome(cell, 8, 1000, 0.01, (0.01,), figures, figures)

    found = evidence(of("rnn", 0.5), of("gru", 0.9), planned=seeds)
    recommendation, reasons, doubts = said(found)
    assert "every other cell is worse" in recommendation
    assert "p = 0.016, corrected for 1 comparison" in reasons
    assert "cannot call any difference certain" not in doubts


def test_a_large_difference_that_is_not_certain_is_no_reason_for_a_cheaper_cell() -> None:
    found = evidence(
        outcome("rnn", [0.9, 0.9, 0.9, 0.5, 0.91], 0.2),
        outcome("lstm", [0.91, 0.9, 0.91, 0.92, 0.9]),
    )
    assert choose(found).recommended == "lstm"


def test_fewer_parameters_count_where_time_is_the_same() -> None:
    found = evidence(
        outcome("rnn", [0.9, 0.91, 0.9, 0.92, 0.9], parameters=300),
        outcome("lstm", [0.91, 0.9, 0.91, 0.92, 0.9]),
    )
    assert "it has 30 % of the parameters" in said(found)[0]


def test_a_simple_method_that_is_as_good_is_told() -> None:
    found = evidence(
        outcome("rnn", [0.5] * 5),
        outcome("gru", [0.6] * 5),
        baselines={"majority": {"accuracy": 0.7}, "nothing": {}},
    )
    assert "majority without any training reaches accuracy 70.0 %" in said(found)[2]
    assert "多数类不用训练，在测试数据上准确率就达到 70.0 %" in said(found, "zh")[2]


def test_the_doubts_name_what_was_not_tried() -> None:
    found = evidence(
        outcome("rnn", [0.5, 0.6, 0.5], learning_rate=0.01, unfinished=2),
        outcome("gru", [0.7, 0.8, 0.7], learning_rate=0.001),
    )
    doubts = said(found)[2]
    assert "The budget ended after 3 of 5 seeds." in doubts
    assert "The best learning rate of rnn is the largest one tried (0.01)" in doubts
    assert "The best learning rate of gru is the smallest one tried (0.001)" in doubts
    assert "In 2 of 3 trainings of rnn the last epoch was the best one" in doubts


def test_test_data_that_contradict_the_choice_are_a_doubt() -> None:
    good = outcome("gru", [0.9, 0.91, 0.92, 0.9, 0.93])
    bad = outcome("rnn", [0.8, 0.81, 0.82, 0.8, 0.83])
    found = evidence(
        Outcome(**{**vars(good), "figures": bad.figures}),
        Outcome(**{**vars(bad), "figures": good.figures}),
    )
    recommendation, reasons, doubts = said(found)
    assert recommendation.startswith("Recommended: gru.")
    assert "But on the test data rnn is better than gru from each of the 5 seeds" in doubts
    assert "rnn" not in reasons


@pytest.mark.parametrize("found", [MEMORY_NEEDED, NOT_NEEDED, ALL_EQUAL, ONE_DIVERGES])
def test_the_chinese_sentences_say_the_same(found: Evidence) -> None:
    english, chinese = (advise(found, choose(found), language) for language in ("en", "zh"))
    assert len(english.reasons) == len(chinese.reasons)
    assert len(english.doubts) == len(chinese.doubts)
    numbers = re.compile(r"\d+(?:\.\d+)?")
    pairs = [(english.recommendation, chinese.recommendation)]
    pairs += zip(english.reasons + english.doubts, chinese.reasons + chinese.doubts, strict=True)
    for one, other in pairs:
        assert sorted(numbers.findall(one)) == sorted(numbers.findall(other))
        assert not re.search(r"[a-z]{3,} [a-z]{3,}", other), other


def test_every_sentence_is_there_in_both_languages_with_the_same_places() -> None:
    for key, languages in [*WORDS.texts["sentences"].items(), *WORDS.texts["headings"].items()]:
        assert languages.keys() == {"en", "zh"}
        places = [
            sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)
            for text in languages.values()
        ]
        assert places[0] == places[1], key
