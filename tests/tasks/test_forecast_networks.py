"""Networks that forecast, and the figures of forecasts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import torch
from toy_series import days, wave

from anyrnn.tasks.experiment import train
from anyrnn.tasks.forecast import Options
from anyrnn.tasks.forecast.heads import GaussianHead, PointHead, QuantileHead
from anyrnn.tasks.forecast.scores import MethodScore, _compared, chance
from anyrnn.tasks.forecast.task import Forecast
from anyrnn.tasks.trained import load

# Networks.

_KINDS = [
    {},
    {"cells": ("lstm",), "layers": 2, "level": "mean"},
    {"head": "gaussian", "level": "none"},
    {"head": "point", "channels": "joint"},
    {"form": "segments", "head": "point", "point_loss": "mae"},
    {"form": "segments", "channels": "joint", "cells": ("lstm",), "segment_length": 4},
    {"decoding": "recursive", "head": "gaussian"},
    {"decoding": "recursive"},
    {"decoding": "recursive", "head": "point", "channels": "joint", "cells": ("lstm",)},
]


def _two_targets() -> pandas.DataFrame:
    frame = days(90, wave)
    frame["z"] = [150 - 5 * wave(i + 3) for i in range(90)]
    frame["rain"] = [(i * 31) % 5 for i in range(90)]
    frame["holiday"] = [float(i % 7 == 6) for i in range(90)]
    frame.loc[10, "y"] = None
    return frame


@pytest.mark.parametrize(
    "values", _KINDS[2::2], ids=lambda values: "-".join(map(str, values.values()))
)
def test_from_training_to_forecast(
    series_options: Callable[..., Options], tmp_path: Path, values: dict[str, Any]
) -> None:
    past = () if values.get("decoding") == "recursive" else ("rain",)
    frame = _two_targets()
    options = series_options(
        frame, target=("y", "z"), past_covariates=past, future_covariates=("holiday",), **values
    )
    result = train(options, tmp_path / "run")
    assert numpy.isfinite(list(result.best.scores.figures.values())).all()
    model = load(tmp_path / "run")
    newer = frame.iloc[40:].copy()
    newer.loc[newer.index[-4:], ["y", "z", "rain"]] = None
    forecast = model.predict(newer)
    assert list(forecast["day"].astype(str)) == list(newer["day"][-4:])
    assert (forecast["z"] > 60).all()
    assert (forecast["y-lo-95"] <= forecast["y-lo-80"]).all()
    assert (forecast["y-lo-80"] < forecast["y-hi-80"]).all()
    # The forecast is the same for a file, and follows from no value after the origin.
    newer.to_csv(tmp_path / "newer.csv", index=False)
    pandas.testing.assert_frame_equal(model.predict(tmp_path / "newer.csv"), forecast, rtol=1e-4)


@pytest.mark.parametrize("values", _KINDS, ids=lambda values: "-".join(map(str, values.values())))
def test_outputs_follow_from_what_is_known_at_the_origin_alone(
    series_options: Callable[..., Options], values: dict[str, Any]
) -> None:
    options = series_options(
        _two_targets(), target=("y", "z"), future_covariates=("holiday",), **values
    )
    data = Forecast.read(options)
    task = Forecast.prepare(options, data.training, print)
    network = task.network(options.cells[0]).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    batch = next(iter(task.batches(data.test, 6, None)))
    before = task.step(network, batch).output
    assert before.shape[:3] == (len(batch), 4, 2)
    batch.values["target"] = batch["target"] + 100
    torch.testing.assert_close(task.step(network, batch).output, before)
    changed = dict(batch.values)
    for name in ("read", "known"):
        batch.values = dict(changed)
        batch.values[name] = changed[name] + torch.randn_like(changed[name])
        assert not torch.allclose(task.step(network, batch).output, before)


@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_what_is_drawn_for_a_series_does_not_depend_on_the_others(
    series_options: Callable[..., Options], tmp_path: Path, head: str
) -> None:
    series = [days(60, lambda i, n=n: wave(i + n)).assign(unique_id=f"s{n}") for n in range(3)]
    options = series_options(pandas.concat(series), decoding="recursive", head=head, epochs=1)
    train(options, tmp_path / "run")
    model = load(tmp_path / "run")
    every = model.predict(pandas.concat(series))
    for number in (2, 0):
        alone = every[every["unique_id"] == f"s{number}"].reset_index(drop=True)
        pandas.testing.assert_frame_equal(model.predict(series[number]), alone, rtol=1e-5)
    # Twins of other names draw other numbers.
    twin = model.predict(series[0].assign(unique_id="s1"))
    assert not numpy.allclose(twin["y-lo-80"], every["y-lo-80"][:4])


def test_the_first_forecast_of_a_line_is_its_next_point(
    series_options: Callable[..., Options], tmp_path: Path
) -> None:
    """A slip of one step, as neuralforecast's issue 1285 has it, would show as an error of 1."""
    for decoding in ("direct", "recursive"):
        options = series_options(
            days(120, float), head="point", decoding=decoding, epochs=30, calendar=False,
            hidden_size=16, dropout=0.0, horizon=3,
        )  # fmt: skip
        train(options, tmp_path / decoding)
        forecast = load(tmp_path / decoding).predict()
        assert forecast["y"].tolist() == pytest.approx([120, 121, 122], abs=0.5)


def test_an_untrained_network_repeats_the_last_value(
    series_options: Callable[..., Options],
) -> None:
    options = series_options(days(60, wave), head="point", calendar=False)
    data = Forecast.read(options)
    task = Forecast.prepare(options, data.training, print)
    scores = task.score(task.network("gru").eval(), data.test)
    ours, theirs = scores.methods[:2]
    assert theirs.name == "repeat last"
    assert ours.figures["mae"] == pytest.approx(theirs.figures["mae"])
    assert "not better than repeat last" in scores.verdict()[0]


# Figures.


def test_figures_of_simple_methods_by_hand(series_options: Callable[..., Options]) -> None:
    frame = days(84, wave)
    options = series_options(frame, season=7, backtest=2)
    data = Forecast.read(options)
    task = Forecast.prepare(options, data.training, print)
    scores = task.score(task.network("gru").eval(), data.test)
    y, border = frame["y"].to_numpy(), int(data.training.borders[0])
    unit = numpy.abs(y[7:border] - y[: border - 7]).mean()
    last, season = [], []
    for origin in data.test.origins:
        truth = y[origin : origin + 4]
        last.append(truth - y[origin - 1])
        season.append(truth - y[origin - 7 : origin - 3])
    figures = {method.name: method.figures for method in scores.methods}
    for name, errors in (("repeat last", last), ("seasonal naive", season)):
        absolute = numpy.abs(errors)
        assert figures[name]["mae"] == pytest.approx(absolute.mean(), rel=1e-4)
        assert figures[name]["crps"] == pytest.approx(absolute.mean(), rel=1e-4)
        assert figures[name]["mse"] == pytest.approx((absolute**2).mean(), rel=1e-4)
        assert figures[name]["rmse"] == pytest.approx((absolute**2).mean() ** 0.5, rel=1e-4)
        assert figures[name]["mase"] == pytest.approx(absolute.mean() / unit, rel=1e-4)
    names = [method.name for method in scores.backtest]
    assert names[-1].startswith("exponential smoothing")
    assert scores.backtest[-1].figures["mae"] < scores.backtest[1].figures["mae"]


def test_a_difference_within_chance_is_told_as_one() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, generator=generator, dtype=torch.double)
    # Windows of ten steps overlap: their means are not independent.
    overlapping = noise.unfold(0, 10, 1).mean(1)[:1000]
    p_values = [chance(overlapping + shift, 10) for shift in (0.0, 0.5)]
    assert p_values[0] > 0.05 > p_values[1]
    assert p_values[1] < 1e-6
    figures = {"mae": 1.0}, {"mae": 1.01}
    words = [
        _compared(MethodScore("network", figures[0]), MethodScore("last", figures[1], p), "9")
        for p in (0.3, 0.001)
    ]
    assert words[0].startswith("not better than last beyond chance: MAE 1 against 1.01")
    assert words[1].startswith("better than last by 1 %")


def test_intervals_of_a_normal_distribution_and_its_score() -> None:
    head, quantiles = GaussianHead(), QuantileHead([80, 95])
    output = torch.tensor([[[[3.0, 2.0]]]])
    target = torch.tensor([[[4.0]]])
    lower, upper = head.interval(output, 95)
    assert (float(lower), float(upper)) == pytest.approx((3 - 1.96 * 2, 3 + 1.96 * 2), abs=1e-2)
    generator = torch.Generator().manual_seed(0)
    draws = 3 + 2 * torch.randn(2, 200_000, generator=generator)
    by_draws = (draws[0] - 4).abs().mean() - 0.5 * (draws[0] - draws[1]).abs().mean()
    assert float(head.crps(output, target)) == pytest.approx(float(by_draws), abs=0.02)
    same = 3 + 2 * torch.special.ndtri(quantiles._levels)
    score = quantiles.crps(same[None, None, None], target)
    assert float(score) == pytest.approx(float(by_draws), abs=0.05)


def test_intervals_of_a_point_hold_their_share_of_new_errors() -> None:
    head = PointHead(intervals=(80, 95))
    generator = torch.Generator().manual_seed(0)
    errors = torch.randn(2, 4000, 3, 2, generator=generator).abs() * torch.arange(1, 4)[:, None]
    errors[0, ::5, 1] = torch.nan
    widths = head.widths(errors[0])
    inside = (errors[1][..., None] <= widths).float().mean((0, 2))
    expected = torch.tensor([0.8, 0.95]).expand(3, 2)
    torch.testing.assert_close(inside, expected, atol=0.02, rtol=0)
    # Of few errors the largest, where nothing is known the largest of all.
    few = torch.tensor([[[1.0, torch.nan]], [[2.0, torch.nan]]])
    assert head.widths(few).tolist() == [[[2, 2], [2, 2]]]


def test_a_mixture_of_quantiles_has_the_quantiles_of_its_values() -> None:
    head = QuantileHead([80, 95])
    one = 3 + 2 * torch.special.ndtri(head._levels)
    torch.testing.assert_close(head.mixed(one.expand(20, 5, 1, -1))[0, 0], one, atol=0.15, rtol=0)
    generator = torch.Generator().manual_seed(0)
    parts = torch.stack([one, one + 6])[:, None, None]
    shares = torch.rand(2, 20_000, 1, generator=generator)
    draws = head.drawn(parts.expand(2, 20_000, 1, -1), shares).flatten()
    found = head.mixed(parts)[0, 0]
    torch.testing.assert_close(found, draws.quantile(head._levels), atol=0.15, rtol=0)
