"""The articles' claims: what is said follows from the results, whichever way they fall."""

from __future__ import annotations

from dataclasses import replace

import pytest
from invented_results import costs, flows, made, of_cell, study

from anyrnn.studies.cells.claims import Claim, claims, compared
from anyrnn.studies.cells.results import FlowResults, StudyResults

FADES = {"rnn": 0.5, "lstm": 0.5, "gru": 0.52}
KEPT = {"rnn": 0.6, "lstm": 0.98, "gru": 0.97}


def claim(number: int, results: StudyResults, language: str = "en") -> Claim:
    return claims(results, "zh" if language == "zh" else "en")[number - 1]


@pytest.mark.parametrize(
    ("found", "verdict", "said"),
    [
        (flows(KEPT, KEPT), "holds", "Gates help before any training"),
        (flows(FADES, KEPT), "in part", "Gates alone do not help"),
        (flows(FADES, FADES), "not here", "in any problem"),
        (flows(FADES, {**KEPT, "gru": 0.6}), "not here", "in any problem"),
    ],
    ids=["always", "after training", "never", "one of them"],
)
def test_gradients(found: FlowResults, verdict: str, said: str) -> None:
    result = claim(1, replace(study(), flows={"adding-100": found}))
    assert result.verdict == verdict
    assert any(said in sentence for sentence in result.sentences)


def test_steps_are_told() -> None:
    first, *_ = claim(1, replace(study(), flows={"adding-100": flows(FADES, KEPT)})).sentences
    assert "before training rnn 7, lstm 7, gru 8" in first
    assert "after training rnn 10, lstm more than 99, gru more than 99" in first


def with_epochs(gru: int, lstm: int) -> StudyResults:
    """Adding is learned by each cell from an epoch on."""
    settings = made(lambda name, cell, seed: 0.1)
    for name, setting in settings.items():
        if setting.problem == "adding":
            cells = {
                cell: of_cell(1, [0.001] * 3, [epoch] * 3)
                for cell, epoch in (("gru", gru), ("lstm", lstm), ("rnn", 9))
            }
            settings[name] = replace(setting, cells=cells)
    return replace(study(), settings=settings)


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        (replace(with_epochs(2, 4), costs=costs(2e-3, 1.5e-3)), "holds"),
        (replace(with_epochs(4, 2), costs=costs(2e-3, 1.5e-3)), "in part"),
        (replace(with_epochs(2, 4), costs=costs(2e-3, 2.1e-3)), "in part"),
    ],
    ids=["faster", "learns later", "slower steps"],
)
def test_fewer_parameters_and_faster(results: StudyResults, verdict: str) -> None:
    found = claim(2, results)
    assert found.verdict == verdict
    assert "50,000" in found.sentences[0]
    assert "75 %" in found.sentences[0]


def test_when_it_has_learned() -> None:
    sentence = claim(2, with_epochs(2, 9)).sentences[2]
    assert "GRU in epoch 2, LSTM not within 15 epochs" in sentence


def test_times_are_told_where_nothing_else_ran() -> None:
    results = with_epochs(2, 9)
    settings = {
        name: replace(
            setting,
            timed=True,
            cells={
                cell: replace(each, trials=[replace(t, seconds=1.25) for t in each.trials])
                for cell, each in setting.cells.items()
            },
        )
        for name, setting in results.settings.items()
    }
    sentence = claim(2, replace(results, settings=settings)).sentences[2]
    assert "GRU in epoch 2, after 2.5 s, LSTM not within" in sentence


LONG = {"adding-100", "copying-30", "digits-pixels"}


def ordered(*order: str) -> StudyResults:
    """In each setting, cells that come first are better by more than seeds vary."""

    def value(name: str, cell: str, seed: int) -> float:
        place = order.index(cell) if cell in order else len(order)
        better = name.startswith(("copying", "digits", "surnames", "sounds"))
        return (0.9 - 0.1 * place if better else 0.1 + 0.1 * place) + 0.001 * seed

    return study(value)


@pytest.mark.parametrize(
    ("order", "verdict", "against_gru"),
    [
        (("lstm", "gru", "rnn"), "holds", "better in 3 of these 3"),
        (("gru", "lstm", "rnn"), "in part", "worse in 3"),
        (("gru", "rnn", "lstm"), "not here", "worse in 3"),
    ],
)
def test_long(order: tuple[str, ...], verdict: str, against_gru: str) -> None:
    found = claim(3, ordered(*order))
    assert found.verdict == verdict
    assert against_gru in found.sentences[-1]
    assert len(found.sentences) == len(LONG) + 2


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        (ordered("rnn", "lstm", "gru"), "holds"),
        (study(), "holds"),  # the cells differ by less than the seeds
        (ordered("lstm", "rnn", "gru"), "not here"),
    ],
    ids=["best", "equal", "worse"],
)
def test_short(results: StudyResults, verdict: str) -> None:
    if verdict == "holds":
        results = replace(results, settings=made(lambda n, c, s: 0.3 + 0.01 * ((s * len(c)) % 5)))
    assert claim(4, results).verdict == verdict


def test_nothing_is_said_of_one_seed() -> None:
    found = claims(study(seeds=1), "en")
    assert [each.verdict for each in found[2:]] == ["unknown", "unknown"]


def test_what_was_not_measured_is_not_claimed() -> None:
    only = replace(study(), settings={}, costs=None, flows={})
    assert {each.verdict for each in claims(only, "en")} == {"unknown"}


def test_differences_are_paired_by_seed() -> None:
    setting = made(lambda name, cell, seed: 0.1)["adding-10"]
    cells = {"lstm": of_cell(0, [0.1, 0.2, 0.3]), "gru": of_cell(1, [0.2, 0.3])}
    found = compared(replace(setting, cells=cells), "lstm", "gru")
    assert found is not None
    assert found.differences == pytest.approx((0.1, 0.1))  # a smaller loss is better


def test_chinese_says_the_same() -> None:
    results = replace(study(), flows={"adding-100": flows(FADES, KEPT)})
    for english, chinese in zip(claims(results, "en"), claims(results, "zh"), strict=True):
        assert english.verdict == chinese.verdict
        assert len(english.sentences) == len(chinese.sentences)
        assert all("，" in each or "。" in each for each in chinese.sentences)
