"""Options of a training that are out of their bounds or do not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_classifier import COLUMNS, SMALL, Outcome

from anyrnn.errors import SizeError
from anyrnn.tasks.classify import DataOptions, Options, TrainingOptions


@pytest.mark.parametrize(
    "option",
    [
        *("hidden-size", "embedding-size", "layers", "epochs", "batch-size", "patience"),
        *("vocabulary-size", "min-frequency", "max-length", "learning-rate"),
    ],
)
@pytest.mark.parametrize("value", [0, -3])
def test_sizes(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path, option: str, value: int
) -> None:
    arguments = ["--data", data, "-o", tmp_path / "run", f"--{option}={value}"]
    error = anyrnn("train", "classify", *COLUMNS, *arguments).error
    assert f"--{option} is {value}" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [10**20, 10**30])
@pytest.mark.parametrize(
    ("option", "largest"),
    [
        *((option, 2**31 - 1) for option in ("hidden-size", "embedding-size", "epochs")),
        *((option, 2**31 - 1) for option in ("batch-size", "patience", "max-length")),
        *((option, 2**31 - 1) for option in ("vocabulary-size", "min-frequency")),
        ("layers", 1000),
        ("seed", 2**63 - 1),
    ],
)
def test_largest_numbers(
    anyrnn: Callable[..., Outcome],
    data: Path,
    tmp_path: Path,
    option: str,
    largest: int,
    value: int,
) -> None:
    arguments = ["--data", data, "-o", tmp_path / "run", f"--{option}={value}"]
    error = anyrnn("train", "classify", *COLUMNS, *arguments).error
    assert f"--{option} is {value}, but has to be {largest} or less" in error
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize("option", ["learning-rate", "weight-decay", "clip"])
@pytest.mark.parametrize("value", ["inf", "1e39", "nan"])
def test_largest_steps(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path, option: str, value: str
) -> None:
    arguments = ["--data", data, "-o", tmp_path / "run", f"--{option}={value}"]
    assert f"--{option} is " in anyrnn("train", "classify", *COLUMNS, *arguments).error
    assert list(tmp_path.iterdir()) == [data]


def test_the_largest_numbers_work(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path
) -> None:
    counts = ("batch-size", "patience", "max-length", "vocabulary-size")
    arguments = [f"--{option}={2**31 - 1}" for option in counts]
    arguments += [f"--seed={2**63 - 1}", "--epochs=1", "--clip=1e38", "--data", data]
    assert (
        anyrnn("train", "classify", *COLUMNS, *SMALL, *arguments, "-o", tmp_path / "run").code == 0
    )


@pytest.mark.parametrize("value", [2.0, "2", True, None])
def test_a_number_of_another_type(value: object) -> None:
    with pytest.raises(SizeError, match=r"^epochs is .* but has to be a whole number"):
        Options(
            DataOptions(Path("a.csv"), "t", "l"),
            training=TrainingOptions(epochs=value),  # pyright: ignore[reportArgumentType]
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dropout", "1"], "--dropout is 1.0"),
        (["--dropout=-0.1"], "--dropout"),
        (["--dropout", "nan"], "--dropout"),
        (["--clip=-1"], "--clip"),
        (["--seed=-1"], "--seed"),
        (["--weight-decay=-1"], "--weight-decay"),
        (["--tokens", "bpe", "--vocabulary-size", "100"], "at least 258"),
        (["--cell", "lstn"], "lstm"),
        (["--hidden-size", "100000000"], "do not fit into memory"),
        (["--hidden-size", "2147483647"], "more than can be addressed"),
        (["--hidden-size", "99999999999999999999"], "has to be 2147483647 or less"),
        (["--resume"], "--resume"),
        (["-o", "/dev/null/run"], "/dev/null"),
        (["-o", "/dev/null"], "is a file"),
    ],
)
def test_other_mistakes(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = ["-o", tmp_path / "runs" / "run"]
    error = anyrnn("train", "classify", "--data", data, *COLUMNS, *out, *arguments).error
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_divergence(anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path) -> None:
    arguments = ["--data", data, "-o", tmp_path / "run", "--learning-rate", "1e38"]
    assert "diverged" in anyrnn("train", "classify", *COLUMNS, *arguments).error
    assert list(tmp_path.iterdir()) == [data]


def test_choices_are_usage_errors(anyrnn: Callable[..., Outcome], data: Path) -> None:
    outcome = anyrnn("train", "classify", "--data", data, *COLUMNS, "--pool", "median")
    assert outcome.code == 2
    assert "median" in outcome.err


def test_existing_folders(
    anyrnn: Callable[..., Outcome], data: Path, trained: Path, copied: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "none.csv"
    command = ["train", "classify", *COLUMNS, *SMALL, "--epochs", 1]
    # The folder is checked before anything else is looked at.
    assert "--overwrite" in anyrnn(*command, "--data", missing, "-o", copied).error
    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").touch()
    assert "no run of anyrnn" in anyrnn(*command, "--data", data, "-o", other, "--overwrite").error
    assert (other / "holiday.jpg").exists()
    assert anyrnn(*command, "--data", data, "-o", copied, "--overwrite").code == 0
    assert json.loads((copied / "config.json").read_text())["cells"] == ["lstm"]
    assert not (copied / "gru.safetensors").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "reviews.csv", "run"]
