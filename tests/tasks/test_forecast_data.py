"""Series of numbers from tables: windows, scales, times, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import torch
from toy_series import days, wave

from anyrnn.errors import DataError, OptionError
from anyrnn.tasks.data import columns, contents
from anyrnn.tasks.data.frequency import Frequency
from anyrnn.tasks.data.times import read_times
from anyrnn.tasks.experiment import train
from anyrnn.tasks.forecast import Options
from anyrnn.tasks.forecast.task import Forecast

# The numbers that a network reads and is compared with.


def test_windows_are_cut_at_the_right_steps(series_options: Callable[..., Options]) -> None:
    options = series_options(days(60, float), scaling="none", calendar=False)
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


def test_scales_are_those_of_the_training_part_alone(
    series_options: Callable[..., Options],
) -> None:
    def later_larger(i: int) -> float:
        return wave(i) if i < 42 else 1000 * wave(i)

    scales = []
    for value in (wave, later_larger):
        options = series_options(days(60, value))
        data = Forecast.read(options)
        scales.append(Forecast.prepare(options, data.training, print).scales.state())
    assert data.training.borders.tolist() == [42]
    assert scales[0] == scales[1]
    known = numpy.array([wave(i) for i in range(42)])
    assert scales[0]["centre"] == [[pytest.approx(known.mean())]]
    assert scales[0]["spread"] == [[pytest.approx(known.std())]]


def test_the_published_borders_of_etth1(series_options: Callable[..., Options]) -> None:
    hours = pandas.date_range("2016-07-01", periods=17420, freq="h")
    frame = pandas.DataFrame({"day": hours, "y": numpy.arange(17420) % 24})
    options = series_options(
        frame, horizon=96, look_back=96, until="2018-02-20 23:00", validation_size=2880.0,
        test_size=2880.0,
    )  # fmt: skip
    data = Forecast.read(options)
    assert data.training.borders.tolist() == [8640]
    assert [len(part) for part in (data.training, data.validation, data.test)] == [8449, 2785, 2785]
    shares = series_options(frame, horizon=96, look_back=96)
    parts = Forecast.read(shares)
    assert parts.training.borders.tolist() == [int(17420 * 0.7)]
    assert len(parts.test) == int(17420 * 0.2) - 95


def test_missing_values_are_read_as_the_last_one_and_never_measured(
    series_options: Callable[..., Options],
) -> None:
    frame = days(60, float)
    frame.loc[20:22, "y"] = numpy.nan
    frame = frame.drop(index=30)
    options = series_options(frame, scaling="none", calendar=False)
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


def test_a_long_frame_of_series_of_different_lengths(
    series_options: Callable[..., Options],
) -> None:
    frames = []
    for name, count in (("b", 80), ("a", 40)):
        frame = days(count, lambda i, name=name: i + (1000 if name == "a" else 0))
        frames.append(frame.assign(unique_id=name).rename(columns={"day": "ds"}))
    options = series_options(
        pandas.concat(frames).sample(frac=1, random_state=0), time=None, target=()
    )
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
    series_options: Callable[..., Options], frequency: str, start: str, count: str
) -> None:
    times = pandas.date_range(start, periods=64, freq=count)
    frame = pandas.DataFrame({"day": times[:60].astype(str), "y": numpy.arange(60.0) % 7})
    options = series_options(frame)
    data = Forecast.read(options)
    assert str(data.training.panel.frequency) == frequency
    task = Forecast.prepare(options, data.training, print)
    forecast = task.predict(task.network("gru"), None)
    assert list(forecast["day"]) == list(times[60:])
    again = series_options(frame, frequency=frequency)
    assert Forecast.read(again).training.panel.frequency == data.training.panel.frequency


@pytest.mark.parametrize("written", ["%d.%m.%Y", "%m/%d/%Y %H:%M", "%Y%m%d", "%Y-%m-%dT%H:%M:%SZ"])
def test_dates_as_people_write_them(series_options: Callable[..., Options], written: str) -> None:
    times = pandas.date_range("2020-01-25", periods=60, freq="D")
    frame = pandas.DataFrame({"day": times.strftime(written), "y": numpy.arange(60.0) % 7})
    panel = Forecast.read(series_options(frame)).training.panel
    assert panel.times.tolist() == times.as_unit("ns").astype(numpy.int64).tolist()


@pytest.mark.parametrize("written", ["%d/%m/%Y", "%m/%d/%Y"])
def test_days_and_months_that_could_be_exchanged(
    series_options: Callable[..., Options], written: str
) -> None:
    times = pandas.date_range("2018-03-01", periods=64, freq="MS")
    frame = pandas.DataFrame({"day": times[:60].strftime(written), "y": numpy.arange(60.0) % 7})
    data = Forecast.read(options := series_options(frame))
    assert str(data.training.panel.frequency) == "MS"
    # A newer table is read by the step of the training, though these could be days of January.
    task = Forecast.prepare(options, data.training, print)
    assert list(task.predict(task.network("gru"), frame[46:58])["day"]) == list(times[58:62])
    with pytest.raises(DataError, match=r"csv: the times can be read as %m/%d/%Y and as %d/%m/%Y"):
        Forecast.read(series_options(frame[46:58]))
    with pytest.raises(OptionError, match="until is '01/02/2020': the times can be read as"):
        Forecast.read(series_options(frame, until="01/02/2020"))


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
    series_options: Callable[..., Options],
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
    options = series_options(frame)
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


def test_times_that_are_numbers_keep_all_their_digits() -> None:
    times = numpy.arange(4) * 1_000_001 + 1_704_067_200_000_000_001
    assert read_times(pandas.Series(times), None)[0].tolist() == times.tolist()
    for wrong in (numpy.inf, 1e300, 2.5, -(2.0**80)):
        assert read_times(pandas.Series([1.0, wrong]), None)[2] == 1
    assert read_times(pandas.Series([1, 2**64 - 1], dtype="uint64"), None)[2] == 1


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        (_with(9, "2020-01-10,abc"), {}, "record 10 has 'abc' in the column 'y'"),
        (_with(9, '2020-01-10,"1,5"'), {}, "decimal=,"),
        (_with(9, "2020-01-10,1.500"), {"decimal": ","}, "record 10 has '1.500'.*thousands"),
        (_with(9, '2020-01-10,"1.500,5"'), {"decimal": ","}, "thousands"),
        (_with(9, "2020-01-10,1_500"), {}, "record 10 has '1_500'"),
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
    series_options: Callable[..., Options],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    values: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(columns, "_OF_SERIES", 4)
    options = series_options(text, **values)

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
    series_options: Callable[..., Options], values: dict[str, Any], message: str
) -> None:
    frame = days(60, wave).assign(n=range(60))
    with pytest.raises(OptionError, match=message):
        train(series_options(frame, **values), "never")


def test_bad_rows_and_short_series_are_left_out_when_asked(
    series_options: Callable[..., Options],
) -> None:
    long = days(60, wave).assign(unique_id="long")
    short = days(9, wave).assign(unique_id="short")
    again = long.iloc[5:6].assign(y=99.0)
    frame = pandas.concat([long, short, again, long.iloc[:1].assign(day="")])
    with pytest.raises(DataError):
        Forecast.read(series_options(frame))
    data = Forecast.read(series_options(frame, skip_bad=True))
    assert data.facts["series"] == 1
    assert data.facts["series that are too short"] == 1
    assert data.facts["second rows of a time"] == 1
    assert not (data.training.panel.targets == 99).any()
