"""Bad series and books on the command line: exit code 2, one line, and nothing half-written."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
import torch

from anyrnn.cli.main import main
from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]

_SMALL = ["--epochs", "1", "--hidden-size", "4", "--device", "cpu"]
_FORECAST = ["train", "forecast", "--horizon", "4", "--look-back", "8", "--backtest", "0", *_SMALL]
_GENERATE = ["train", "generate", "--steps", "10", "--batch-size", "4", *_SMALL]
_NUMBERS = ["--intervals", "50", "--intervals", "90", "--missing-value", "-9999"]
_BOOK = "to be, or not to be: that is the question.\n" * 20


def _series(count: int = 60) -> pandas.DataFrame:
    days = pandas.date_range("2020-01-01", periods=count).strftime("%Y-%m-%d")
    values = [math.sin(i) + i % 5 for i in range(count)]
    return pandas.DataFrame(
        {"ds": days, "y": values, "holiday": [i % 7 == 0 for i in range(count)]}
    )


def _changed(row: int, column: str, value: object, last: int | None = None) -> str:
    frame = _series().astype(object)
    frame.loc[row:last, column] = value
    return frame.to_csv(index=False)


SERIES = {
    "a date is missing": (_changed(5, "ds", "", 5), [], "record 6 has no 'ds'.*--skip-bad"),
    "a date is there twice": (_changed(5, "ds", "2020-01-05", 5), [], "the same time 2020-01-05"),
    "a word for a number": (_changed(5, "y", "much", 5), [], "record 6 has 'much'"),
    "no value at all": (_changed(0, "y", None), [], "'y' has no value|needed"),
    "a constant": (_changed(0, "y", 5.0), [], "always 5 in the training part.*nothing to learn"),
    "too short": (_series(19).to_csv(index=False), [], "has 19 steps, but .* are needed"),
    "one row": (_series(1).to_csv(index=False), [], "has 1 steps, but .* are needed"),
    "no row": ("ds,y\n", [], "no row"),
    "empty": ("", [], "is empty"),
    "gaps to be refused": (
        _series().drop(index=[20]).to_csv(index=False),
        ["--missing", "refuse"],
        "no value at 2020-01-21",
    ),
    "times of no step": (_changed(30, "ds", "2020-01-31 07:13", 30), [], "--frequency row"),
    "a year that nanoseconds do not reach": (
        _changed(0, "ds", "1400-01-01", 0),
        [],
        "the time '1400-01-01' .* years from 1678",
    ),
    "no format of times": (
        _series().to_csv(index=False),
        ["--time-format", "%Q"],
        "--time-format is '%Q'",
    ),
    "the future of the target": (
        _series().to_csv(index=False),
        ["--future", "y"],
        "'y' is given two roles: --target and --future",
    ),
    "no share": (
        _series().to_csv(index=False),
        ["--test-size", "5%"],
        "'5%', but has to be a numb",
    ),
    "no such column": (_series().to_csv(index=False), ["--target", "Y"], "did you mean 'y'"),
}


@pytest.mark.parametrize("name", SERIES)
def test_bad_series(run: Run, tmp_path: Path, name: str) -> None:
    text, arguments, message = SERIES[name]
    (tmp_path / "series.csv").write_text(text)
    refused(run, tmp_path, message, *_FORECAST, "--data", "series.csv", *arguments)


BOOKS = {
    "empty": ("", [], "book.txt is empty"),
    "blank": (" \n\n \n", [], "book.txt is empty"),
    "one character": ("a", [], "has 1 character.*--lines"),
    "one line": ("one\n", ["--lines"], "1 different text"),
    "no word twice": ("one two three four five six", ["--tokens", "word"], "--min-frequency 1"),
    "utf-16 without its mark": ("b\0o\0o\0k\0" * 9, [], "zero bytes.*--encoding utf-16-le"),
    "another encoding": ("é" * 50, ["--encoding", "ascii"], "--encoding utf-8"),
}


@pytest.mark.parametrize("name", BOOKS)
def test_bad_books(run: Run, tmp_path: Path, name: str) -> None:
    text, arguments, message = BOOKS[name]
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    refused(run, tmp_path, message, *_GENERATE, "--data", "book.txt", *arguments)


CONFIGS = [
    (_FORECAST, "forecast:\n  horizn: 3\n", r"forecast\.horizn.*did you mean forecast\.horizon"),
    (_FORECAST, "forecast:\n  season: seven\n", r"season in .*'seven'.*a whole number"),
    (_GENERATE, "vocabulary:\n  tokenz: word\n", r"tokenz.*did you mean vocabulary\.tokens"),
    (_GENERATE, "model:\n  tied: maybe\n", r"tied in .*'maybe'.*true or false"),
]


@pytest.mark.parametrize(("command", "text", "message"), CONFIGS)
def test_bad_configs(run: Run, tmp_path: Path, command: list[str], text: str, message: str) -> None:
    (tmp_path / "data.csv").write_text(_series().to_csv(index=False))
    (tmp_path / "run.yaml").write_text(text)
    refused(run, tmp_path, message, *command, "--data", "data.csv", "--config", "run.yaml")


def refused(run: Run, folder: Path, message: str, *command: str) -> None:
    """A command ends with one line that says why, and nothing in the folder has changed."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert re.search(message, mistake(run(*command)))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of both tasks, and files that they cannot be asked about."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    frame = _series()
    files = {
        "series.csv": frame,
        "short.csv": frame.iloc[:5],
        "unknown.csv": frame.assign(y=None),
        "early.csv": frame.iloc[:-2],
        "numbers.csv": frame.assign(ds=range(1900, 1960)),
    }
    for name, each in files.items():
        each.to_csv(folder / name, index=False)
    for name, text in {"book.txt": _BOOK, "empty.txt": "", "one.txt": "€"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (
            [
                *_FORECAST,
                "--data",
                "series.csv",
                "--future",
                "holiday",
                *_NUMBERS,
                "-o",
                "forecast",
            ],
            [*_GENERATE, "--data", "book.txt", "-o", "generate"],
        ):
            patch.setattr("sys.argv", ["anyrnn", *command])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
    return folder


QUESTIONS = [
    ("predict forecast --output series.csv", "series.csv exists; replace it with --overwrite"),
    ("predict forecast", "'holiday' of the series has to be known until 2020-03-04"),
    ("predict forecast --data early.csv", "'holiday' of the series has to be known until"),
    ("predict forecast --data short.csv", "has 5 steps, but the network reads 8"),
    ("predict forecast --data unknown.csv", "has 0 steps, but the network reads 8"),
    ("predict forecast --data numbers.csv", "numbers.csv has whole numbers .* trained on dates"),
    ("evaluate forecast --data numbers.csv", "numbers.csv has whole numbers .* trained on dates"),
    ("evaluate forecast --data short.csv", "has 5 steps, but 12 are needed"),
    ("evaluate generate --data empty.txt", "empty.txt is empty"),
    ("generate generate --prompt 5", "the prompt has '5'"),
    ("generate generate --prompt €", "the prompt has '€'"),
    (" ".join([*_GENERATE, "--data book.txt -o generate"]), "--overwrite"),
    (" ".join([*_FORECAST, "--data series.csv -o forecast"]), "--overwrite"),
]


@pytest.mark.parametrize(("command", "message"), QUESTIONS)
def test_bad_questions(run: Run, trained: Path, command: str, message: str) -> None:
    refused(run, trained, message, *command.split())


def test_lists_of_numbers(trained: Path) -> None:
    options = json.loads((trained / "forecast" / "config.json").read_text())["options"]
    assert options["forecast"]["intervals"] == [50, 90]
    assert options["data"]["missing_value"] == [-9999.0]


def test_what_the_training_never_had_is_measured(
    run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    code, out, error = run("evaluate", "generate", "--data", "one.txt", "--json")
    assert code == 0, error
    assert '"unknown": 1' in out


DAMAGES = [
    (("frequency", "count"), -1, "a step of -1"),
    (("columns", "targets"), {}, "columns.targets|describes no series"),
    (("columns", "targets"), [], "nothing is forecast"),
    (("cycles",), ["moon"], "'day'"),
    (("scales", "names"), [["a"]], "a name that is no text"),
    (("scales", "centre"), [[0.0]], "reshape"),
    (("season",), 0, "greater than 0"),
]


@pytest.mark.parametrize(("place", "value", "message"), DAMAGES)
def test_damaged_runs_of_series(
    run: Run, trained: Path, tmp_path: Path, place: tuple[str, ...], value: object, message: str
) -> None:
    shutil.copytree(trained / "forecast", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    state = config["state"]
    for name in place[:-1]:
        state = state[name]
    state[place[-1]] = value
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    data = ["--data", str(trained / "series.csv")]
    assert re.search(message, mistake(run("evaluate", str(tmp_path / "run"), *data)))


def test_a_run_without_the_end_of_its_data(run: Run, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "forecast", tmp_path / "run")
    (tmp_path / "run" / "context.csv").write_text("")
    assert "the run is damaged" in mistake(run("predict", str(tmp_path / "run")))
