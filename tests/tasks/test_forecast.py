"""Forecasts: what a person gets, from a table to a run and from a frame to a frame."""

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pyarrow
import pytest
from sklearn.base import clone
from test_classify_train import StopAt, same_run
from toy_series import days, wave

from anyrnn.errors import DataError, RunError, StoppedError
from anyrnn.tasks import Forecaster
from anyrnn.tasks.experiment import train
from anyrnn.tasks.forecast import Options
from anyrnn.tasks.forecast.columns import frame_table
from anyrnn.tasks.forecast.data import data_of
from anyrnn.tasks.forecast.options import PredictOptions
from anyrnn.tasks.forecast.panel import Panel
from anyrnn.tasks.forecast.task import Forecast
from anyrnn.tasks.report import Line, line_chart
from anyrnn.tasks.trained import evaluate, load

# What a person gets.


@pytest.mark.usefixtures("pictures")
def test_a_run_is_measured_and_predicts_as_before(
    series_options: Callable[..., Options], tmp_path: Path
) -> None:
    frame = days(120, wave)
    options = series_options(frame, cells=("gru", "rnn"), backtest=2, epochs=3)
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


@pytest.mark.usefixtures("pictures")
def test_a_chart_of_a_single_epoch_counts_in_whole_numbers() -> None:
    drawn = line_chart([Line("gru", [0.5], 0)], "loss")
    horizontal = drawn.partition('id="matplotlib.axis_2"')[0]
    along = re.findall(r"<text[^>]*>([^<]*)</text>", horizontal)
    assert along == ["1", "epoch"]


def test_a_future_covariate_that_ends_too_early(
    series_options: Callable[..., Options], tmp_path: Path
) -> None:
    frame = days(60, wave).assign(holiday=[float(i % 7 == 0) for i in range(60)])
    train(series_options(frame, future_covariates=("holiday",)), tmp_path / "run")
    model = load(tmp_path / "run")
    with pytest.raises(
        DataError, match=r"'holiday' .* until 2020-03-04, .* no value at 2020-03-01"
    ):
        model.predict()
    further = days(4, wave, "2020-03-01").assign(y=None, holiday=0.0)
    with pytest.raises(DataError, match="no value at 2020-03-04"):
        model.predict(pandas.concat([frame, further[:3]]))
    assert len(model.predict(pandas.concat([frame, further]))) == 4


def test_series_that_the_run_does_not_know(
    series_options: Callable[..., Options], tmp_path: Path
) -> None:
    frames = [days(60, wave).assign(unique_id=name) for name in ("a", "b")]
    train(series_options(pandas.concat(frames)), tmp_path / "run")
    model = load(tmp_path / "run")
    stranger = days(30, lambda i: 1000 + 100 * wave(i)).assign(unique_id="c")
    forecast = model.predict(pandas.concat([frames[0], stranger]))
    assert forecast["unique_id"].tolist() == ["a"] * 4 + ["c"] * 4
    assert (forecast["y"][4:] > 1500).all()
    path = tmp_path / "stranger.csv"
    stranger.to_csv(path, index=False)
    with pytest.raises(DataError, match="'c', which the run does not know"):
        evaluate(tmp_path / "run", {"data": path})


TINY = {"horizon": 2, "look_back": 4, "epochs": 1, "cell": "gru", "hidden_size": 2}
TINY |= {"device": "cpu"}


def read(frame: pandas.DataFrame, **values: Any) -> Panel:
    """Series as a forecaster reads them."""
    options = Forecaster(**TINY | values).options()
    return data_of(frame_table(frame), options, test=False).training.panel


@pytest.mark.parametrize(
    "names",
    [[True, False], pandas.Categorical(["b", "a"]), pandas.Series([2, 1], dtype=object)],
)
def test_names_of_series_keep_their_type(names: Any) -> None:
    names = pandas.Series(names)
    frame = pandas.concat(
        [days(20, wave).assign(shop=names.iloc[[number] * 20].array) for number in (0, 1)]
    )
    forecaster = Forecaster(time="day", group="shop", **TINY).fit(frame)
    for forecast in (forecaster.predict(), forecaster.predict(frame)):
        assert forecast["shop"].tolist() == [*names[[0, 0, 1, 1]]]
        assert forecast["shop"].dtype == names.dtype


@pytest.mark.parametrize(
    ("frequency", "start", "following"),
    [
        ("h", "2024-03-30 04:00", "2024-03-31 05:00"),  # the clock jumps from 2 to 3 that night
        ("D", "2024-03-20", "2024-04-13"),
        ("B", "2024-03-20", ""),
        ("MS", "2022-03-01", ""),
    ],
)
def test_times_of_a_zone_are_given_back_in_it(frequency: str, start: str, following: str) -> None:
    times = pandas.date_range(start, periods=24, freq=frequency, tz="Europe/Berlin")
    frame = pandas.DataFrame({"y": [wave(i) for i in range(24)]}, index=times)
    panel = read(frame)
    if following:
        forecaster = Forecaster(**TINY).fit(frame)
        wanted = pandas.date_range(start, periods=26, freq=frequency, tz="Europe/Berlin")[24:]
        assert wanted[0] == pandas.Timestamp(following, tz="Europe/Berlin")
        for forecast in (forecaster.predict(), forecaster.predict(frame)):
            assert forecast["ds"].tolist() == wanted.tolist()
    assert panel.found["missing times"] == 0
    shown = (times.tz_convert("UTC") if frequency == "h" else times).tz_localize(None)
    assert panel.time(1) == str(shown[1]).removesuffix(" 00:00:00")
    written = frame.rename_axis("ds").reset_index()
    written["ds"] = [time.isoformat() for time in times]
    assert read(written).times.tolist() == panel.times.tolist()


def test_frames_as_other_programs_make_them() -> None:
    frame = days(24, wave)
    frame["day"] = pandas.to_datetime(frame["day"])
    wanted = read(frame, time="day").times.tolist()
    paired = frame.set_index("day")
    paired.columns = pandas.MultiIndex.from_tuples([("Close", "A")])
    numbered = frame.set_axis([0, 1], axis=1)
    for given, time, target in (
        (numbered, "0", "1"),
        (numbered.set_index(0), "0", "1"),
        (paired, "day", "('Close', 'A')"),
        (frame.assign(day=frame["day"].dt.date.astype("date32[pyarrow]")), "day", "y"),
        (frame.assign(day=frame["day"].astype("timestamp[us][pyarrow]")), "day", "y"),
        (frame.assign(day=frame["day"].dt.to_period("D")), "day", "y"),
    ):
        assert read(given, time=time, target=target).times.tolist() == wanted
    assert paired.columns.tolist() == [("Close", "A")]
    with pytest.raises(DataError, match=r"'1,000\.5' .* without a mark of thousands"):
        read(frame.assign(y="1,000.5"), time="day")
    commas = frame.assign(y=[f"{value:.3f}".replace(".", ",") for value in frame["y"]])
    with pytest.raises(DataError, match="if its comma is a decimal sign, say decimal=,"):
        read(commas, time="day")
    arrow = pyarrow.Table.from_pandas(commas.set_index("day"))
    found = Forecaster(time="day", decimal=",", **TINY).fit(arrow)
    assert found.predict(arrow).columns[:2].tolist() == ["day", "y"]


def test_a_season_that_repeats_itself_and_a_constant_series_have_figures(
    series_options: Callable[..., Options],
) -> None:
    frame = pandas.concat(
        [
            days(60, lambda i: i % 7).assign(unique_id="a"),
            days(60, lambda i: 5).assign(unique_id="b"),
        ]
    )
    options = series_options(frame)
    data = Forecast.read(options)
    assert any("'y' of the series 'b' is always 5" in note for note in data.notes)
    task = Forecast.prepare(options, data.training, print)
    assert data.test is not None
    scores = task.score(task.network("gru").eval(), data.test)
    assert numpy.isfinite(list(scores.figures.values())).all()
    y = numpy.arange(42) % 7
    assert task.scales.seasonal.tolist() == [[numpy.abs(numpy.diff(y)).mean()], [1.0]]


def test_targets_of_different_lengths(series_options: Callable[..., Options]) -> None:
    frame = days(60, wave).assign(z=[float(i % 5) if i < 40 else None for i in range(60)])
    options = series_options(frame, target=("y", "z"))
    data = Forecast.read(options)
    assert any("'z' of the series ends 20 steps before the others" in note for note in data.notes)
    task = Forecast.prepare(options, data.training, print)
    assert data.test is not None
    scores = task.score(task.network("gru").eval(), data.test)
    assert scores.targets["z"] == {"network": None, "repeat last": None, "seasonal naive": None}
    assert scores.targets["y"]["network"] is not None


def test_data_from_a_frame_train_like_a_file(
    series_options: Callable[..., Options], tmp_path: Path
) -> None:
    frame = days(60, wave)
    options = series_options(frame)
    of_file = Forecast.read(options)
    typed = frame.assign(day=pandas.to_datetime(frame["day"]))
    of_frame = data_of(frame_table(typed), options, test=False)
    assert of_frame.test is None
    assert numpy.array_equal(of_frame.training.panel.times, of_file.training.panel.times)
    result = train(options, tmp_path / "run", data=of_frame)
    assert result.best.scores.count == len(of_frame.validation)


def test_without_times_each_row_is_a_step(
    series_options: Callable[..., Options], tmp_path: Path
) -> None:
    train(series_options(days(60, wave)[["y"]], time=None), tmp_path / "run")
    forecast = load(tmp_path / "run").predict()
    assert forecast["step"].tolist() == [1, 2, 3, 4]


def test_windows_are_not_copied_out_of_the_series(series_options: Callable[..., Options]) -> None:
    """Of 200,000 steps, windows of 1,000 would be 800 MB."""
    frame = pandas.DataFrame({"y": numpy.arange(200_000) % 97})
    options = series_options(frame, time=None, look_back=900, horizon=100)
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
    # Whatever lies in the index, is as if it were in columns.
    frame["ds"] = pandas.to_datetime(frame["ds"])
    for names in (["unique_id", "ds"], ["ds"]):
        found = loaded.predict(frame.set_index(names))
        pandas.testing.assert_frame_equal(found, forecast, rtol=1e-4)
    single = frame[frame["unique_id"] == "a"].set_index("ds").rename_axis(None)
    assert len(loaded.predict(single)) == 3
    for wrong, message in (([1, 2, 3], "data frame"), (frame.assign(y=1j), "complex numbers")):
        with pytest.raises(DataError, match=message):
            forecaster.fit(wrong)


def test_printed_numbers_have_their_digits(series_options: Callable[..., Options]) -> None:
    frame = days(40, wave)
    for unit in (1e-13, 1.0, 1e9):
        options = series_options(frame.assign(y=unit * frame["y"]))
        task = Forecast.prepare(options, Forecast.read(options).training, print)
        network = task.network("gru")
        rows = list(task.answers(network, PredictOptions()))
        wanted = task.predict(network)["y"].tolist()
        assert [row["y"] for row in rows] == pytest.approx(wanted, rel=1e-9)
        assert rows[0]["day"] == "2020-02-10"


@pytest.mark.parametrize("decoding", ["direct", "recursive"])
def test_a_stop_within_an_epoch_changes_no_result(
    series_options: Callable[..., Options], tmp_path: Path, decoding: str
) -> None:
    options = series_options(days(90, wave), decoding=decoding, dropout=0.3, epochs=2, head="point")
    train(options, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(options, tmp_path / "stopped", listener=StopAt(2, 2))
    train(options, tmp_path / "stopped", resume=True)
    same_run(tmp_path / "whole", tmp_path / "stopped", ("gru",))


@pytest.mark.parametrize("form", [{"form": "segments", "segment_length": 1000}, {"form": "steps"}])
def test_a_look_back_of_100_000_steps(
    series_options: Callable[..., Options], form: dict[str, Any]
) -> None:
    frame = pandas.DataFrame({"y": numpy.arange(100_200) % 7.0})
    options = series_options(
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
