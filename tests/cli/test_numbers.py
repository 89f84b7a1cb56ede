"""Classification of sequences of numbers from the command line, on sound and on bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest

from outcomes import mistake

SMALL = ["--hidden-size", "8", "--epochs", "4", "--batch-size", "8", "--learning-rate", "0.03"]
SMALL += ["--cell", "gru", "--device", "cpu"]
HEADER = "@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true down up\n@data\n"
LONG = ["--sequence", "id", "--time", "t", "--label", "way"]


def waves(count: int = 60) -> list[tuple[numpy.ndarray, str]]:
    """Two channels, 4 to 8 steps: the first one rises or falls, the second one is constant."""
    generator = numpy.random.default_rng(0)
    rows = []
    for number in range(count):
        steps = generator.integers(4, 9)
        slope = numpy.arange(steps) * (1 if number % 2 else -1)
        values = numpy.stack([slope + generator.normal(0, 0.3, steps), numpy.full(steps, 7.0)], 1)
        rows.append((values, ("down", "up")[number % 2]))
    rows[3][0][1, 0] = numpy.nan
    return rows


def written(path: Path, rows: list[tuple[numpy.ndarray, str]]) -> Path:
    """The sequences in the format that the suffix says."""
    if path.suffix == ".npz":
        labels = [label for _, label in rows]
        frames = numpy.concatenate([values for values, _ in rows])
        numpy.savez(path, frames=frames, lengths=[len(each) for each, _ in rows], labels=labels)
    elif path.suffix == ".csv":
        lines = [
            f"{number},{step},{'' if a != a else a},{b},{label}"
            for number, (values, label) in enumerate(rows)
            for step, (a, b) in enumerate(values.tolist())
        ]
        path.write_text("\n".join(["id,t,a,b,way", *reversed(lines)]) + "\n")
    else:
        cases = [
            ":".join([*(",".join("?" if v != v else str(v) for v in each) for each in x.T), label])
            for x, label in rows
        ]
        path.write_text(HEADER + "\n".join(cases) + "\n")
    return path


@pytest.mark.parametrize(("name", "options"), [("a.ts", []), ("a.npz", []), ("a.csv", LONG)])
def test_train_evaluate_predict(run, tmp_path: Path, name: str, options: list[str]) -> None:
    data, folder = written(tmp_path / name, waves()), str(tmp_path / "run")
    code, out, error = run(
        *("train", "classify", "--data", str(data), *options, *SMALL, "--output", folder)
    )
    assert code == 0, error
    assert "48 to train, 6 to validate, 6 to test; 2 labels" in out
    assert "each is taken to be that of the step before" in out
    assert "constant in training: " in out
    scores = json.loads(run("evaluate", folder, "--data", str(data), "--json")[1])
    assert scores["sequences"] == 60
    assert scores["accuracy"] > 0.9
    code, out, error = run("predict", folder, "--file", str(data))
    assert code == 0, error
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == 60
    assert answers[0].keys() == {"row", "label", "probability"}
    again = run("train", "classify", "--data", str(data), *options, *SMALL, "--output", folder)
    assert mistake(again).startswith(f"anyrnn: error: {folder} exists; choose another --output")


EMPTY = "".join(f"?,?:3,{number}:up\n?:{number}:down\n" for number in range(9))
BAD = {
    "breaks off in a sequence": ("1,2:3,4:up\n1,2:3", [], "line 7 breaks off or has the wrong lab"),
    "breaks off in a label": ("1,2:3,4:up\n1,2:3,4:dow", [], "it ends in 'dow', but the labels"),
    "different lengths": ("1,2:3,4,5:up\n", [], "line 6 has dimensions of different lengths: 2, 3"),
    "a channel less": ("1,2:3,4:up\n1,2:up\n", [], "line 7 has 1 dimension(s) instead of 2"),
    "no number": ("1,two:3,4:up\n", [], "line 6 has 'two' in dimension 1, which is no number"),
    "infinite": ("1,inf:3,4:up\n", [], "line 6 has a value that is infinite"),
    "nothing known": (EMPTY, [], "the channel '1' has no value in any training sequence"),
    "too few": ("1:2:up\n3:4:down\n", [], "the label 'up' has 1 different sequence(s)"),
    "one label": ("1:2:up\n2:2:up\n3:2:up\n4:2:up\n", [], "only the label 'up'"),
    "a column": ("1:2:up\n", ["--sequence", "id"], "--sequence has no effect with --format ts"),
    "texts": ("1:2:up\n", ["--no-lowercase"], "use --format text, or leave --lowercase out"),
    "no array": ("1:2:up\n", ["--format", "npz"], "is not a sound .npz file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(run, tmp_path: Path, name: str) -> None:
    cases, options, message = BAD[name]
    path = tmp_path / "a.ts"
    path.write_text(HEADER + cases)
    command = ["train", "classify", "--data", str(path), *options]
    error = mistake(run(*command, *SMALL, "--output", str(tmp_path / "run")))
    assert message in error
    assert [each.name for each in tmp_path.iterdir()] == ["a.ts"]


def test_what_does_not_fit_the_training(run, tmp_path: Path) -> None:
    data = written(tmp_path / "a.ts", waves())
    test = tmp_path / "b.ts"
    test.write_text(HEADER.replace("down up", "left up") + "1,2:3,4:up\n1,2:3,4:left\n")
    train = ["train", "classify", "--data", str(data), *SMALL, "--output", str(tmp_path / "run")]
    error = mistake(run(*train, "--test-data", str(test)))
    assert "b.ts: line 7 has the label 'left', which no training sequence has" in error
    test.write_text("@classLabel true up\n@data\n1,2:up\n")
    error = mistake(run(*train, "--test-data", str(test)))
    assert "b.ts has 1 channel(s), but the training had 2: '1', '2'" in error
    config = tmp_path / "run.yaml"
    config.write_text("numbers: {scalling: none}\n")
    error = mistake(run(*train, "--config", str(config)))
    assert "numbers.scalling is no option; did you mean numbers.scaling?" in error


def test_without_a_validation_part(run, tmp_path: Path) -> None:
    data, folder = written(tmp_path / "a.ts", waves()), tmp_path / "run"
    command = ["train", "classify", "--data", str(data), *SMALL, "--output", str(folder)]
    code, out, error = run(*command, "--epochs", "1", "--validation-share", "0")
    assert code == 0, error
    assert "54 to train, 0 to validate, 6 to test" in out
    assert "the training part decides on the best epoch" in out
    config = json.loads((folder / "config.json").read_text())
    assert (config["decided_on"], config["measured_on"]) == ("training", "test")
    assert "those on the training sequences" in (folder / "report.html").read_text()
    shares = ["--validation-share", "0.6", "--test-share", "0.4", "--overwrite"]
    error = mistake(run(*command, *shares))
    assert "--validation-share and --test-share leave nothing to train on" in error
