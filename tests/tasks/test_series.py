"""Files of labelled sequences of numbers, sound ones and others."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from anyrnn.errors import DataError
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.classify.series_files import read_series

HEADER = "# comment\n@problemName Toy\n@timeStamps false\n"
TWO = f"{HEADER}@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true a b\n@data\n"


def chosen(**options: Any) -> DataOptions:
    return DataOptions(Path("which is not read"), **options)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_ts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts", f"{TWO}1,2,?:4,5,6:a\n\n# comment\n-1e-3:?:b\r\n")
    series = read_series(path, "ts", chosen())["training"]
    assert series.labels == ["a", "b"]
    assert series.rows == ["line 9", "line 12"]
    numpy.testing.assert_array_equal(series.values[0], [[1, 4], [2, 5], [numpy.nan, 6]])
    numpy.testing.assert_array_equal(series.values[1], numpy.float32([[-1e-3, numpy.nan]]))
    tabs = write(tmp_path / "c.ts", "@univariate\ttrue\n@classLabel\ttrue a\n@data\n1,2:a\n")
    assert read_series(tabs, "ts", chosen())["training"].labels == ["a"]
    unlabelled = write(tmp_path / "b.ts", f"{HEADER}@classLabel false\n@data\n1,2\n")
    options = chosen()
    assert read_series(unlabelled, "ts", options, False)["training"].values[0].shape == (2, 1)
    assert read_series(path, "ts", options, False)["training"].labels == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{TWO}1,2:3,4:a\n1,2:3,", r"line 10 breaks off or has the wrong label: it ends in '3,'"),
        (f"{TWO}1,2:a", r"line 9 has 1 dimension\(s\) instead of 2"),
        (f"{TWO}1,2:3,4,5:b", r"line 9 has dimensions of different lengths: 2, 3"),
        (f"{TWO}1,x:3,4:b", r"line 9 has 'x' in dimension 1, which is no number"),
        (f"{TWO}1,inf:3,4:b", r"line 9 has a value that is infinite"),
        (f"{TWO}1,1e39:3,4:b", r"line 9 has a value that is infinite"),
        (f"{TWO}", "has no sequence"),
        (f"{HEADER}@classLabel true a b\n", "breaks off: it has no @data"),
        (f"{HEADER}@data\n1,2\n", r"no labels"),
        ("1,2,3:a\n", "no .ts file: '1,2,3:a' stands before @data"),
        ("@timeStamps true\n@classLabel true a\n@data\n(0,1):a", "time stamps"),
        (
            f"{HEADER}@univariate true\n@equalLength true\n@seriesLength 3\n@classLabel true a\n"
            "@data\n1,2:a",
            "line 9 has 2 steps instead of 3",
        ),
    ],
)
def test_ts_files_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "a.ts", text)
    with pytest.raises(DataError, match=message) as caught:
        read_series(path, "ts", chosen())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_sequences_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts", f"{TWO}1:2:a\n1:2,3:b\n3:4:b\n5:6")
    series = read_series(path, "ts", chosen(skip_bad=True))["training"]
    assert series.labels == ["a", "b"]
    assert sum(series.skipped.values()) == 2


LONG = "id,t,x,y,kind\na,2,20,,up\nb,1,5,6,down\na,1,10,1,up\n"


def test_long_table(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", LONG)
    options = chosen(label="kind", sequence="id", time="t")
    series = read_series(path, "csv", options)["training"]
    assert series.channels == ["x", "y"]
    assert series.labels == ["up", "down"]
    numpy.testing.assert_array_equal(series.values[0], [[10, 1], [20, numpy.nan]])
    one = chosen(label="kind", sequence="id", features=("y",))
    series = read_series(path, "csv", one)["training"]
    numpy.testing.assert_array_equal(series.values[0], [[numpy.nan], [1]])
    path = write(tmp_path / "c.csv", LONG.replace("5,6", "True,-"))
    series = read_series(path, "csv", options)["training"]
    numpy.testing.assert_array_equal(series.values[1], [[1, numpy.nan]])
    dates = LONG.replace("a,2", "a,2024-01-10").replace("a,1", "a,2024-01-09")
    path = write(tmp_path / "b.csv", dates.replace("b,1", "b,2024-01-09 10:00"))
    series = read_series(path, "csv", options)["training"]
    assert series.values[0][:, 0].tolist() == [10, 20]


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (LONG, {"sequence": None}, "is a table: name the column"),
        (LONG, {"sequence": "ids"}, "no column 'ids'.*did you mean 'id'"),
        (LONG, {"features": ["z"]}, "no column 'z'"),
        (LONG.replace("5,6", "five,6"), {}, "record 2 has 'five' in the column 'x'"),
        (LONG.replace("b,1", ",1"), {}, "record 2 has no 'id'"),
        (LONG.replace("a,2", "a,1"), {}, r"sequence 'a' has the t '1' twice, in record 3"),
        (LONG.replace("b,1", "b,soon"), {}, "record 2 has 'soon' in the column 't'"),
        (LONG.replace("b,1", "b,"), {}, "record 2 has None in the column 't'"),
        (LONG.replace("1,up", "1,left"), {}, r"two labels, 'up' and, in record 3, 'left'"),
        (LONG.replace("down", ""), {}, r"sequence 'b' has no label in record 2"),
        ("id,t,kind\na,1,up\n", {}, "no column with numbers"),
    ],
)
def test_long_tables_that_cannot_be_used(
    tmp_path: Path, text: str, changes: dict[str, object], message: str
) -> None:
    options = {"label": "kind", "sequence": "id", "time": "t"} | changes
    with pytest.raises(DataError, match=message):
        read_series(write(tmp_path / "a.csv", text), "csv", chosen(**options))


def saved(path: Path, **arrays: object) -> Path:
    numpy.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("times", "changes"),
    [
        (["31.01.2024", "01.02.2024", "02.02.2024"], {}),
        (["31/01/2024 10:00", "01/02/2024 10:00", "02/02/2024 10:00"], {}),
        (["31.01.2024 10:00:00.5", "01.02.2024 10:00:00.25", "02.02.2024 09:00:00.0"], {}),
        (["05.01.2024", "04.02.2024", "03.03.2024"], {"time_format": "%d.%m.%Y"}),
        (["01-Feb-24", "02-Mar-24", "01-Apr-24"], {"time_format": "%d-%b-%y"}),
        (["09:59:00", "10:00:01", "10:00:02.5"], {}),
        (["Jan 31 2024", "Feb 1 2024", "Feb 2 2024"], {}),
        (["9,5", "10", "10,5"], {"decimal": ","}),
        (["1700000000000000000", "1700000000000000001", "1700000000000000003"], {}),
    ],
)
def test_rows_are_ordered_by_times_as_people_write_them(
    tmp_path: Path, times: list[str], changes: dict[str, object]
) -> None:
    rows = [f"a;{time};{place};up\n" for place, time in enumerate(times)]
    path = write(tmp_path / "a.csv", "id;t;x;kind\n" + rows[2] + rows[0] + rows[1])
    options = chosen(label="kind", sequence="id", time="t", separator=";", **changes)
    series = read_series(path, "csv", options)["training"]
    assert series.values[0][:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        # Which comes first depends on what is the month.
        (["01/02/2024", "02/01/2024", "03/04/2024"], "%m/%d/%Y and as %d/%m/%Y.*time_format"),
        (["1/2/24", "2/1/24", "3/4/24"], "record 1 has '1/2/24' .*time_format"),
        (["1", "2", "inf"], "record 3 has 'inf' in the column 't'"),
    ],
)
def test_times_that_cannot_be_ordered(tmp_path: Path, times: list[str], message: str) -> None:
    rows = [f"a,{time},{place},up\n" for place, time in enumerate(times)]
    path = write(tmp_path / "a.csv", "id,t,x,kind\n" + "".join(rows))
    with pytest.raises(DataError, match=message):
        read_series(path, "csv", chosen(label="kind", sequence="id", time="t"))


def test_numbers_with_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id;x;kind\na;1,5;up\na;-2;up\n")
    options = chosen(label="kind", sequence="id", separator=";", decimal=",")
    assert read_series(path, "csv", options)["training"].values[0][:, 0].tolist() == [1.5, -2]
    for number, changes, message in (
        ("1,5", {}, "record 1 has '1,5'.*decimal=,"),
        ("1.500", {"decimal": ","}, "record 1 has '1.500'.*mark of thousands"),
        ("1.500,5", {"decimal": ","}, "mark of thousands"),
        ("1_500", {}, "record 1 has '1_500'.*no number"),
    ):
        write(path, f"id;x;kind\na;{number};up\n")
        options = chosen(label="kind", sequence="id", separator=";", **changes)
        with pytest.raises(DataError, match=message):
            read_series(path, "csv", options)


@pytest.mark.parametrize(
    "labels",
    [
        numpy.array([1, numpy.nan]),
        numpy.array(["2020-01-01", "NaT"], "M8[D]"),
        numpy.array([b"1", b""]),
    ],
)
def test_a_label_of_an_npz_that_is_missing(tmp_path: Path, labels: numpy.ndarray) -> None:
    numpy.savez(tmp_path / "a.npz", x=numpy.zeros((2, 3)), y=labels)
    with pytest.raises(DataError, match="sequence 1 has no label"):
        read_series(tmp_path / "a.npz", "npz", chosen())


def test_bytes_of_an_npz_are_labels(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "a.npz", x=numpy.zeros((2, 3)), y=numpy.array(["ä".encode(), b"b"]))
    assert read_series(tmp_path / "a.npz", "npz", chosen())["training"].labels == ["ä", "b"]


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    images = numpy.arange(24, dtype=numpy.uint8).reshape(2, 3, 4)
    found = read_series(
        saved(path, x_train=images, y_train=[1, 0], x_test=images[:1], y_test=[1]),
        "npz",
        chosen(),
    )
    assert set(found) == {"training", "test"}
    assert found["training"].labels == ["1", "0"]
    assert found["test"].values[0].tolist() == images[0].tolist()
    # Frames one after another, 2 x 2 numbers each.
    frames = numpy.arange(20, dtype=numpy.float32).reshape(5, 2, 2)
    options = chosen(features=("frames",), lengths="length", label="action")
    saved(path, frames=frames, length=[2, 3], action=["x", "y"])
    series = read_series(path, "npz", options)["training"]
    assert [each.shape for each in series.values] == [(2, 4), (3, 4)]
    assert series.values[1][0].tolist() == [8, 9, 10, 11]
    # Padded, and without channels.
    saved(path, X=numpy.ones((2, 4)), lengths=[4, 1], labels=[0, 1])
    series = read_series(path, "npz", chosen())["training"]
    assert [each.shape for each in series.values] == [(4, 1), (1, 1)]
    saved(path, X=numpy.ones(3), lengths=[1, 2])
    series = read_series(path, "npz", chosen(), False)["training"]
    assert [each.shape for each in series.values] == [(1, 1), (2, 1)]


def test_several_arrays_of_an_npz_are_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    one, two = numpy.arange(10.0).reshape(2, 5), numpy.arange(20.0).reshape(2, 5, 2)
    saved(path, one=one, two=two, lengths=[5, 3], y=[0, 1])
    series = read_series(path, "npz", chosen(features=("one", "two")))["training"]
    expected = numpy.concatenate([one[..., None], two], 2)
    assert [each.tolist() for each in series.values] == [
        expected[0].tolist(),
        expected[1, :3].tolist(),
    ]
    saved(path, one=one, short=one[:, :4], few=one[:1], y=[0, 1])
    for names, message in [
        (("one", "three"), "no array 'three'"),
        (("one", "few"), "has arrays of different numbers of sequences: 2 in 'one', 1 in 'few'"),
        (("one", "short"), "sequence 0 has arrays of different lengths: 5, 4"),
    ]:
        with pytest.raises(DataError, match=message):
            read_series(path, "npz", chosen(features=names))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": numpy.array([[1], [2, 3]], object), "y": [0, 1]}, "Python objects"),
        ({"X": numpy.ones((2, 3)), "y": [0, 1, 2]}, r"2 sequences but labels of the shape \(3,\)"),
        ({"X": numpy.ones((2, 3))}, "no array 'y' "),
        ({"Z": numpy.ones((2, 3)), "y": [0, 1]}, r"no array 'x' \(it has 'Z', 'y'\)"),
        ({"X": numpy.ones(3), "y": [0, 1]}, "without a time"),
        ({"X": numpy.ones((2, 3)), "y": [0, 1], "lengths": [3, 4]}, "lengths up to 4, but 3"),
        ({"X": numpy.ones((9, 3)), "y": [0, 1], "lengths": [3, 4]}, "lengths sum up to 7"),
        ({"X": numpy.ones((2, 3)), "y": [0, 1], "lengths": [0, 1]}, "sequence 0 has no step"),
        ({"X": numpy.ones((2, 3)), "y": [0, 1], "lengths": [0.5, 1]}, "whole numbers"),
        (
            {
                "X": numpy.ones((2, 3)),
                "y": [0, 1],
                "lengths": numpy.array([2**64 - 1, 1], numpy.uint64),
            },
            "whole numbers",
        ),
        ({"X": numpy.ones((2, 3, 0)), "y": [0, 1]}, "sequence 0 has no channel"),
        ({"X": numpy.array([["a"], ["b"]]), "y": [0, 1]}, "have the type <U1"),
    ],
)
def test_npz_files_that_cannot_be_used(
    tmp_path: Path, arrays: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_series(saved(tmp_path / "a.npz", **arrays), "npz", chosen())


def test_damaged_npz(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", X=numpy.ones((2, 3)), y=[0, 1])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"not a sound \.npz file"):
        read_series(path, "npz", chosen())
