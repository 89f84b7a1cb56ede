"""Forecasts: reading series, windows, networks, what a person gets."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import torch
from sklearn.base import clone
from test_classify_train import StopAt, same_run

from anyrnn.errors import DataError, OptionError, RunError, StoppedError
from anyrnn.tasks import Forecaster, columns, contents
from anyrnn.tasks.experiment import train
from anyrnn.tasks.forecast import Options
from anyrnn.tasks.forecast.columns import frame_table
from anyrnn.tasks.forecast.data import data_of
from anyrnn.tasks.forecast.frequency import Frequency
from anyrnn.tasks.forecast.heads import GaussianHead, PointHead, QuantileHead
from anyrnn.tasks.forecast.scores import MethodScore, _compared, chance
from anyrnn.tasks.forecast.task import Forecast
from anyrnn.tasks.options import from_flat
from anyrnn.tasks.trained import evaluate, load


def days(count: int, value: Callable[[int], float], start: str = "2020-01-01") -> pandas.DataFrame:
    return pandas.DataFrame(
        {
            "day": pandas.date_range(start, periods=count, freq="D").strftime("%Y-%m-%d"),
            "y": [value(i) for i in range(count)],
        }
    )


def wave(i: int) -> float:
    return 10 + 3 * numpy.sin(2 * numpy.pi * i / 7) + 0.01 * i + 0.3 * ((i * 7919) % 11 - 5) / 5


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Options]:
    """Options for a table, written as a file."""

    def make(frame: pandas.DataFrame | str, **values: Any) -> Options:
        path = tmp_path / "series.csv"
        if isinstance(frame, str):
            path.write_text(frame)
        else:
            frame.to_csv(path, index=False)
        small: dict[str, Any] = {
            "time": "day",
            "target": ("y",),
            "horizon": 4,
            "look_back": 8,
            "hidden_size": 8,
            "epochs": 2,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "backtest": 0,
            "device": "cpu",
        }
        return from_flat(Options, {"data": path, **small, **values})

    return make


# The numbers that a network reads and is compared with.


def test_windows_are_cut_at_the_right_steps(made: Callable[..., Options]) -> None:
    options = made(days(60, float), scaling="none", calendar=False)
    data = Forecast.read(options)
    task = Forecast.prepare(options, data.training, print)
    for part in (data.training, data.validation, data.test):
        for batch in task.batches(part, 5, None):
            first = batch["read"][:, :1]
            numbers = torch.arange(12.0)[None, :, None]
            found = torch.cat([batch["read"], batch["target"]], 1)
            assert torch.equal(found, first + numbers)
    # Training ends before validation begins, and that before the test: no target is in two parts.
    ends = [int(part.origins.max()) + 4 for part in (data.training, data.validation)]
    begins = [int(part.origins.min()) for part in (data.validation, data.test)]
    assert ends[0] <= begins[0]
    assert ends[1] <= begins[1]
    assert int(data.test.origins.max()) + 4 == 60


def test_scales_are_those_of_the_training_part_alone(made: Callable[..., Options]) -> None:
    def later_larger(i: int) -> float:
        return wave(i) if i < 42 else 1000 * wave(i)

    scales = []
    for value in (wave, later_larger):
        options = made(days(60, value))
        data = Forecast.read(options)
        scales.append(Forecast.prepare(options, data.training, print).scales.state())
    assert data.training.borders.tolist() == [42]
    assert scales[0] == scales[1]
    known = numpy.array([wave(i) for i in range(42)])
    assert scales[0]["centre"] == [[pytest.approx(known.mean())]]
    assert scales[0]["spread"] == [[pytest.approx(known.std())]]


def test_the_published_borders_of_etth1(made: Callable[..., Options]) -> None:
    hours = pandas.date_range("2016-07-01", periods=17420, freq="h")
    frame = pandas.DataFrame({"day": hours, "y": numpy.arange(17420) % 24})
    options = made(
        frame, horizon=96, look_back=96, until="2018-02-20 23:00", validation_size=2880.0,
        test_size=2880.0,
    )  # fmt: skip
    data = Forecast.read(options)
    assert data.training.borders.tolist() == [8640]
    assert [len(part) for part in (data.training, data.validation, data.test)] == [8449, 2785, 2785]
    shares = made(frame, horizon=96, look_back=96)
    parts = Forecast.read(shares)
    assert parts.training.borders.tolist() == [int(17420 * 0.7)]
    assert len(parts.test) == int(17420 * 0.2) - 95


def test_missing_values_are_read_as_the_last_one_and_never_measured(
    made: Callable[..., Options],
) -> None:
    frame = days(60, float)
    frame.loc[20:22, "y"] = numpy.nan
    frame = frame.drop(index=30)
    options = made(frame, scaling="none", calendar=False)
    data = Forecast.read(options)
    assert any("4 of 60 target values are missing" in note for note in data.notes)
    task = Forecast.prepare(options, data.training, print)
    assert task.gaps
    missing = {20, 21, 22, 30}
    for batch in task.batches(data.training, 1, None):
        origin = int(data.training.origins[int(batch.rows[0])])
        steps = range(origin - 8, origin + 4)
        seen = torch.cat([batch["seen"], batch["observed"]], 1).flatten().tolist()
        assert seen == [step not in missing for step in steps]
        read = torch.cat([batch["read"], batch["target"]], 1).flatten().tolist()
        carried = {20: 19, 21: 19, 22: 19, 30: 29}
        assert read == [carried.get(step, step) for step in steps]
    network = task.network("gru").eval()
    batch = next(iter(task.batches(data.training, 50, None)))
    before = task.step(network, batch).loss
    batch.values["target"] = torch.where(batch["observed"], batch["target"], 1e6)
    assert task.step(network, batch).loss == before


def test_a_long_frame_of_series_of_different_lengths(made: Callable[..., Options]) -> None:
    frames = []
    for name, count in (("b", 80), ("a", 40)):
        frame = days(count, lambda i, name=name: i + (1000 if name == "a" else 0))
        frames.append(frame.assign(unique_id=name).rename(columns={"day": "ds"}))
    options = made(pandas.concat(frames).sample(frac=1, random_state=0), time=None, target=())
    data = Forecast.read(options)
    panel = data.training.panel
    assert sorted(panel.names) == ["a", "b"]
    lengths = dict(zip(panel.names, (panel.ends - panel.starts[:-1]).tolist(), strict=True))
    assert lengths == {"a": 40, "b": 80}
    task = Forecast.prepare(options, data.training, print)
    for batch in task.batches(data.training, 7, seed=0):
        rows = torch.tensor(task.scales.spread, dtype=torch.float32)
        steps = batch["read"].diff(dim=1) * rows[batch["series"]][:, None]
        torch.testing.assert_close(steps, torch.ones_like(steps), atol=1e-3, rtol=0)


# Times.


@pytest.mark.parametrize(
    ("frequency", "start", "count"),
    [
        ("10min", "2020-02-28 23:00", "10min"),
        ("h", "2020-01-01", "h"),
        ("D", "2020-02-27", "D"),
        ("W", "2020-01-05", "W"),
        ("MS", "2019-11-01", "MS"),
        ("ME", "2019-11-30", "ME"),
        ("QS", "2019-10-01", "QS"),
        ("YS", "1999-01-01", "YS"),
        ("B", "2020-01-02", "B"),
    ],
)
def test_the_step_of_times_is_found_and_goes_on(
    made: Callable[..., Options], frequency: str, start: str, count: str
) -> None:
    times = pandas.date_range(start, periods=64, freq=count)
    frame = pandas.DataFrame({"day": times[:60].astype(str), "y": numpy.arange(60.0) % 7})
    options = made(frame)
    data = Forecast.read(options)
    assert str(data.training.panel.frequency) == frequency
    task = Forecast.prepare(options, data.training, print)
    forecast = task.predict(task.network("gru"), None)
    assert list(forecast["day"]) == list(times[60:])
    again = made(frame, frequency=frequency)
    assert Forecast.read(again).training.panel.frequency == data.training.panel.frequency


@pytest.mark.parametrize("written", ["%d.%m.%Y", "%m/%d/%Y %H:%M", "%Y%m%d", "%Y-%m-%dT%H:%M:%SZ"])
def test_dates_as_people_write_them(made: Callable[..., Options], written: str) -> None:
    times = pandas.date_range("2020-01-25", periods=60, freq="D")
    frame = pandas.DataFrame({"day": times.strftime(written), "y": numpy.arange(60.0) % 7})
    panel = Forecast.read(made(frame)).training.panel
    assert panel.times.tolist() == times.as_unit("ns").astype(numpy.int64).tolist()


def test_a_step_of_months_counts_from_any_day() -> None:
    times = pandas.date_range("2020-01-15 06:00", periods=5, freq="31D").as_unit("ns")
    months = pandas.DatetimeIndex(
        [pandas.Timestamp(2020, month, 15, 6) for month in (1, 2, 4)]
    ).as_unit("ns")
    frequency = Frequency("date", "month")
    positions, off = frequency.positions(months.astype(numpy.int64).to_numpy())
    assert (positions.tolist(), off) == ([0, 1, 3], None)
    assert frequency.positions(times.astype(numpy.int64).to_numpy())[1] == 2


@pytest.mark.parametrize("written", ["%Y-%m-%d", "%d.%m.%Y", "%Y%m%d", None])
def test_a_large_table_gives_the_series_of_a_small_one(
    made: Callable[..., Options],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: str | None,
) -> None:
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    times = pandas.date_range("2020-01-10", periods=60)
    text = times.strftime(written) if written else numpy.arange(60).astype(str)
    frame = pandas.concat(
        pandas.DataFrame({"unique_id": name, "day": text, "y": [wave(i) for i in range(60)]})
        for name in "bac"
    ).sample(frac=1, random_state=1)
    frame.iloc[5, 2] = None
    options = made(frame)
    monkeypatch.setattr(columns, "_OF_SERIES", 7)
    data = []
    for large in (0, 1 << 40):
        monkeypatch.setattr(contents, "LARGE", large)
        data.append(Forecast.read(options))
    ours, theirs = (each.training.panel for each in data)
    assert ours.names == theirs.names
    assert ours.frequency == theirs.frequency
    numpy.testing.assert_array_equal(ours.times, theirs.times)
    numpy.testing.assert_array_equal(ours.targets, theirs.targets)
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 2  # names, values


# What is refused, and how that is told.

_ROWS = [f"2020-01-{day:02d},{day % 7}" for day in range(1, 32)]


def _with(place: int, *rows: str) -> str:
    return "\n".join(["day,y", *_ROWS[:place], *rows, *_ROWS[place + 1 :], ""])


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        (_with(9, "2020-01-10,abc"), {}, "record 10 has 'abc' in the column 'y'"),
        (_with(9, '2020-01-10,"1,5"'), {}, "decimal"),
        (_with(9, "2020-01-10,inf"), {}, "record 10 has 'inf'"),
        (_with(9, "2020-01-10,1e300"), {}, "largest"),
        (_with(9, "10th of May,3"), {}, "record 10 has the time '10th of May'"),
        (_with(9, ",3"), {}, "record 10 has no 'day'.*skip_bad"),
        (_with(9, "2920-01-10,3"), {}, "record 10 has the time '2920"),
        (_with(30, "2220-01-10,3"), {}, "keep to no step.*most of its times are missing"),
        (_with(9, _ROWS[8]), {}, "record 9 and record 10 have the same time 2020-01-09.*group"),
        (_with(9, "2020-01-10 07:13,3"), {}, "keep to no step.*frequency=row"),
        (_with(9, _ROWS[9]), {"look_back": 30}, "the series has 31 steps, but 44 are needed"),
        ("day,y\n", {}, "no row"),
        ("day,y\n" + "".join(f"{row[:11]}5\n" for row in _ROWS), {}, "always 5.*nothing to learn"),
        (_with(9, "2020-01-10,NA"), {"missing": "refuse"}, "no value at 2020-01-10"),
        (_with(9, _ROWS[9]), {"target": ("z",)}, "no column 'z'"),
        (_with(9, _ROWS[9]), {"time_format": "%d/%m/%Y"}, "cannot be read as '%d/%m/%Y'"),
        (_with(9, _ROWS[9]), {"frequency": "W"}, "2020-01-02 is not a number of steps of W"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_in_one_line(
    made: Callable[..., Options],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    values: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(columns, "_OF_SERIES", 4)
    options = made(text, **values)

    def prepared() -> None:
        Forecast.prepare(options, Forecast.read(options).training, print)

    with pytest.raises(DataError, match=message) as refused:
        prepared()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": ("day",)}, "'day' is given two roles"),
        ({"validation_size": 0.5, "test_size": 0.5}, "nothing is left to train on"),
        ({"test_size": 4.5}, "test_size is 4.5"),
        ({"intervals": (100,)}, "intervals has 100"),
        ({"form": "segments", "segment_length": 3}, "1, 2, 4, 8"),
        ({"channels": "joint"}, "channels has no effect on a single target; leave channels out"),
        ({"time": None, "time_format": "%d"}, "time_format has no effect on rows without times"),
        ({"time": "n", "calendar": False}, "calendar has no effect on times that are numbers"),
        ({"frequency": "fortnight"}, "frequency is 'fortnight'"),
        ({"until": "soon"}, "until is 'soon'"),
    ],
)
def test_options_that_do_not_fit_each_other(
    made: Callable[..., Options], values: dict[str, Any], message: str
) -> None:
    frame = days(60, wave).assign(n=range(60))
    with pytest.raises(OptionError, match=message):
        train(made(frame, **values), "never")


def test_bad_rows_and_short_series_are_left_out_when_asked(made: Callable[..., Options]) -> None:
    long = days(60, wave).assign(unique_id="long")
    short = days(9, wave).assign(unique_id="short")
    again = long.iloc[5:6].assign(y=99.0)
    frame = pandas.concat([long, short, again, long.iloc[:1].assign(day="")])
    with pytest.raises(DataError):
        Forecast.read(made(frame))
    data = Forecast.read(made(frame, skip_bad=True))
    assert data.facts["series"] == 1
    assert data.facts["series that are too short"] == 1
    assert data.facts["second rows of a time"] == 1
    assert not (data.training.panel.targets == 99).any()


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
    made: Callable[..., Options], tmp_path: Path, values: dict[str, Any]
) -> None:
    past = () if values.get("decoding") == "recursive" else ("rain",)
    frame = _two_targets()
    options = made(
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
    made: Callable[..., Options], values: dict[str, Any]
) -> None:
    options = made(_two_targets(), target=("y", "z"), future_covariates=("holiday",), **values)
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
    made: Callable[..., Options], tmp_path: Path, head: str
) -> None:
    series = [days(60, lambda i, n=n: wave(i + n)).assign(unique_id=f"s{n}") for n in range(3)]
    options = made(pandas.concat(series), decoding="recursive", head=head, epochs=1)
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
    made: Callable[..., Options], tmp_path: Path
) -> None:
    """A slip of one step, as neuralforecast's issue 1285 has it, would show as an error of 1."""
    for decoding in ("direct", "recursive"):
        options = made(
            days(120, float), head="point", decoding=decoding, epochs=30, calendar=False,
            hidden_size=16, dropout=0.0, horizon=3,
        )  # fmt: skip
        train(options, tmp_path / decoding)
        forecast = load(tmp_path / decoding).predict()
        assert forecast["y"].tolist() == pytest.approx([120, 121, 122], abs=0.5)


def test_an_untrained_network_repeats_the_last_value(made: Callable[..., Options]) -> None:
    options = made(days(60, wave), head="point", calendar=False)
    data = Forecast.read(options)
    task = Forecast.prepare(options, data.training, print)
    scores = task.score(task.network("gru").eval(), data.test)
    ours, theirs = scores.methods[:2]
    assert theirs.name == "repeat last"
    assert ours.figures["mae"] == pytest.approx(theirs.figures["mae"])
    assert "not better than repeat last" in scores.verdict()[0]


# Figures.


def test_figures_of_simple_methods_by_hand(made: Callable[..., Options]) -> None:
    frame = days(84, wave)
    options = made(frame, season=7, backtest=2)
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


# What a person gets.


@pytest.mark.usefixtures("pictures")
def test_a_run_is_measured_and_predicts_as_before(
    made: Callable[..., Options], tmp_path: Path
) -> None:
    frame = days(120, wave)
    options = made(frame, cells=("gru", "rnn"), backtest=2, epochs=3)
    result = train(options, tmp_path / "run")
    scores = result.best.scores
    page = (tmp_path / "run" / "report.html").read_text()
    for line in scores.verdict():
        assert line in page
    assert "interval" in page
    assert "exponential smoothing" in page
    forecast = load(tmp_path / "run").predict()
    assert list(forecast.columns) == ["day", "y", "y-lo-80", "y-hi-80", "y-lo-95", "y-hi-95"]
    assert forecast["day"].astype(str).tolist()[0] == "2020-04-30"
    # From the training table itself the forecast is that from its end.
    pandas.testing.assert_frame_equal(load(tmp_path / "run").predict(frame), forecast, rtol=1e-4)
    whole = evaluate(tmp_path / "run", {"data": options.data.data})
    assert whole.scores.count == 120 - 12 + 1
    days(11, wave).to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(DataError, match="11 steps, but 12 are needed"):
        evaluate(tmp_path / "run", {"data": tmp_path / "short.csv"})
    (tmp_path / "run" / "context.csv").unlink()
    with pytest.raises(RunError, match=r"context\.csv"):
        load(tmp_path / "run")


def test_a_future_covariate_that_ends_too_early(
    made: Callable[..., Options], tmp_path: Path
) -> None:
    frame = days(60, wave).assign(holiday=[float(i % 7 == 0) for i in range(60)])
    train(made(frame, future_covariates=("holiday",)), tmp_path / "run")
    model = load(tmp_path / "run")
    with pytest.raises(
        DataError, match=r"'holiday' .* until 2020-03-04, .* no value at 2020-03-01"
    ):
        model.predict()
    further = days(4, wave, "2020-03-01").assign(y=None, holiday=0.0)
    with pytest.raises(DataError, match="no value at 2020-03-04"):
        model.predict(pandas.concat([frame, further[:3]]))
    assert len(model.predict(pandas.concat([frame, further]))) == 4


def test_series_that_the_run_does_not_know(made: Callable[..., Options], tmp_path: Path) -> None:
    frames = [days(60, wave).assign(unique_id=name) for name in ("a", "b")]
    train(made(pandas.concat(frames)), tmp_path / "run")
    model = load(tmp_path / "run")
    stranger = days(30, lambda i: 1000 + 100 * wave(i)).assign(unique_id="c")
    forecast = model.predict(pandas.concat([frames[0], stranger]))
    assert forecast["unique_id"].tolist() == ["a"] * 4 + ["c"] * 4
    assert (forecast["y"][4:] > 1500).all()
    path = tmp_path / "stranger.csv"
    stranger.to_csv(path, index=False)
    with pytest.raises(DataError, match="'c', which the run does not know"):
        evaluate(tmp_path / "run", {"data": path})


def test_names_of_series_keep_their_type() -> None:
    frame = pandas.concat([days(40, wave).assign(shop=number) for number in (3, 1)])
    forecaster = Forecaster(time="day", group="shop", horizon=2, look_back=4, epochs=1)
    forecaster.set_params(cell="gru", hidden_size=4, device="cpu").fit(frame)
    for forecast in (forecaster.predict(), forecaster.predict(frame)):
        assert forecast["shop"].tolist() == [3, 3, 1, 1]


def test_a_season_that_repeats_itself_and_a_constant_series_have_figures(
    made: Callable[..., Options],
) -> None:
    frame = pandas.concat(
        [
            days(60, lambda i: i % 7).assign(unique_id="a"),
            days(60, lambda i: 5).assign(unique_id="b"),
        ]
    )
    options = made(frame)
    data = Forecast.read(options)
    assert any("'y' of the series 'b' is always 5" in note for note in data.notes)
    task = Forecast.prepare(options, data.training, print)
    assert data.test is not None
    scores = task.score(task.network("gru").eval(), data.test)
    assert numpy.isfinite(list(scores.figures.values())).all()
    y = numpy.arange(42) % 7
    assert task.scales.seasonal.tolist() == [[numpy.abs(numpy.diff(y)).mean()], [1.0]]


def test_targets_of_different_lengths(made: Callable[..., Options]) -> None:
    frame = days(60, wave).assign(z=[float(i % 5) if i < 40 else None for i in range(60)])
    options = made(frame, target=("y", "z"))
    data = Forecast.read(options)
    assert any("'z' of the series ends 20 steps before the others" in note for note in data.notes)
    task = Forecast.prepare(options, data.training, print)
    assert data.test is not None
    scores = task.score(task.network("gru").eval(), data.test)
    assert scores.targets["z"] == {"network": None, "repeat last": None, "seasonal naive": None}
    assert scores.targets["y"]["network"] is not None


def test_data_from_a_frame_train_like_a_file(made: Callable[..., Options], tmp_path: Path) -> None:
    frame = days(60, wave)
    options = made(frame)
    of_file = Forecast.read(options)
    typed = frame.assign(day=pandas.to_datetime(frame["day"]))
    of_frame = data_of(frame_table(typed), options, test=False)
    assert of_frame.test is None
    assert numpy.array_equal(of_frame.training.panel.times, of_file.training.panel.times)
    result = train(options, tmp_path / "run", data=of_frame)
    assert result.best.scores.count == len(of_frame.validation)


def test_without_times_each_row_is_a_step(made: Callable[..., Options], tmp_path: Path) -> None:
    train(made(days(60, wave)[["y"]], time=None), tmp_path / "run")
    forecast = load(tmp_path / "run").predict()
    assert forecast["step"].tolist() == [1, 2, 3, 4]


def test_windows_are_not_copied_out_of_the_series(made: Callable[..., Options]) -> None:
    """Of 200,000 steps, windows of 1,000 would be 800 MB."""
    frame = pandas.DataFrame({"y": numpy.arange(200_000) % 97})
    options = made(frame, time=None, look_back=900, horizon=100)
    data = Forecast.read(options)
    task = Forecast.prepare(options, data.training, print)
    tracemalloc.start()
    batches = task.batches(data.training, 16, seed=0)
    for _, batch in zip(range(5), batches, strict=False):
        assert batch["read"].shape == (16, 900, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6


# scikit-learn's verbs.


def test_an_estimator_from_frame_to_frame(tmp_path: Path) -> None:
    frame = pandas.concat(
        [days(60, wave).assign(unique_id=name).rename(columns={"day": "ds"}) for name in "ab"]
    )
    forecaster = Forecaster(horizon=3, look_back=6, cell="gru", hidden_size=8, epochs=2)
    again = clone(forecaster).fit(frame)
    assert again.get_params() == forecaster.get_params()
    forecast = again.predict()
    assert forecast["unique_id"].tolist() == ["a"] * 3 + ["b"] * 3
    assert str(forecast["ds"][0]) == "2020-03-01 00:00:00"
    assert -20 < again.score(frame) < 0
    again.save(tmp_path / "run")
    loaded = Forecaster.load(tmp_path / "run")
    pandas.testing.assert_frame_equal(loaded.predict(), forecast)
    pandas.testing.assert_frame_equal(loaded.predict(frame), forecast, rtol=1e-4)
    with pytest.raises(DataError, match="data frame"):
        forecaster.fit([1, 2, 3])


@pytest.mark.parametrize("decoding", ["direct", "recursive"])
def test_a_stop_within_an_epoch_changes_no_result(
    made: Callable[..., Options], tmp_path: Path, decoding: str
) -> None:
    options = made(days(90, wave), decoding=decoding, dropout=0.3, epochs=2, head="point")
    train(options, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(options, tmp_path / "stopped", listener=StopAt(2, 2))
    train(options, tmp_path / "stopped", resume=True)
    same_run(tmp_path / "whole", tmp_path / "stopped", ("gru",))


@pytest.mark.parametrize("form", [{"form": "segments", "segment_length": 1000}, {"form": "steps"}])
def test_a_look_back_of_100_000_steps(made: Callable[..., Options], form: dict[str, Any]) -> None:
    frame = pandas.DataFrame({"y": numpy.arange(100_200) % 7.0})
    options = made(
        frame, time=None, look_back=100_000, horizon=4, hidden_size=2, test_size=50.0,
        validation_size=50.0, **form,
    )  # fmt: skip
    data = Forecast.read(options)
    task = Forecast.prepare(options, data.training, print)
    batch = next(iter(task.batches(data.training, 1, 0)))
    network = task.network("gru")
    task.step(network, batch).loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    # Where the network is measured, few windows at once: memory does not grow with the look-back.
    assert {len(batch) for batch in task.batches(data.test, 256, None)} <= {1, 2}
    assert len(next(iter(task.batches(data.training, 256, 0)))) > 2
