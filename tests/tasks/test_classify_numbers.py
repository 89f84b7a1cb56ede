"""Classification of sequences of numbers, with one label or several; weights of labels."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from toy_reviews import reviews, write_csv

from anyrnn.errors import DataError, OptionError, RunError
from anyrnn.tasks.classify import DataOptions, ModelOptions, NumberOptions, Options
from anyrnn.tasks.classify.inputs import Numbers
from anyrnn.tasks.classify.options import PredictOptions
from anyrnn.tasks.classify.scores import ClassificationScores
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.trained import evaluate, load


def waves(count: int, seed: int = 0) -> list[tuple[numpy.ndarray, str]]:
    """Two channels, 5 to 12 steps; whether the first one rises or falls decides."""
    generator = numpy.random.default_rng(seed)
    rows = []
    for number in range(count):
        steps = generator.integers(5, 13)
        slope = 1.0 if number % 2 else -1.0
        rising = slope * numpy.arange(steps) + generator.normal(0, 0.5, steps) + 100
        values = numpy.stack([rising, generator.normal(0, 1000, steps)], 1)
        rows.append((values, "up" if number % 2 else "down"))
    return rows


def write_ts(path: Path, rows: list[tuple[numpy.ndarray, str]]) -> Path:
    lines = ["@univariate false", "@dimensions 2", "@equalLength false"]
    lines += ["@classLabel true up down", "@data"]
    for values, label in rows:
        channels = (",".join("?" if v != v else f"{v:.4f}" for v in each) for each in values.T)
        lines.append(":".join([*channels, label]))
    path.write_text("\n".join(lines))
    return path


def options(path: Path, **choices: Any) -> Options:
    model = ModelOptions(hidden_size=12, dropout=0.1, **choices.pop("model", {}))
    training = {"epochs": 8, "batch_size": 16, "learning_rate": 2e-2, "device": "cpu"}
    training |= choices.pop("training", {})
    return Options(
        DataOptions(path, **choices.pop("data", {})),
        ("gru",),
        numbers=NumberOptions(**choices),
        model=model,
        training=TrainingOptions(**training),
    )


@pytest.mark.parametrize(
    "model",
    [{"pool": "last", "bidirectional": True}, {"pool": "mean", "segment_length": 4}],
    ids=["steps", "segments"],
)
def test_learns_and_is_read(tmp_path: Path, model: dict[str, Any]) -> None:
    path = write_ts(tmp_path / "a.ts", waves(160))
    chosen = options(path, model=model)
    result = train(chosen, tmp_path / "run")
    assert result.best.scores.figures["accuracy"] > 0.9
    other = write_ts(tmp_path / "b.ts", waves(60, seed=1))
    evaluation = evaluate(tmp_path / "run", {"data": other})
    assert evaluation.scores.count == 60
    assert evaluation.scores.figures["accuracy"] > 0.9
    model = load(tmp_path / "run")
    rows = waves(10, seed=2)
    found = model.predict([values for values, _ in rows])
    assert [one.label for one in found] == [label for _, label in rows]
    # What one is given does not depend on those beside it.
    assert model.predict([rows[3][0]])[0].probability == pytest.approx(found[3].probability)
    answers = list(model.task.answers(model.network, PredictOptions(file=other)))
    assert answers[0]["row"] == "line 6"
    assert {one["label"] for one in answers} == {"up", "down"}
    report = (tmp_path / "run" / "report.html").read_text()
    assert "The mean of each label in training" in report
    # Only what has an effect on numbers is listed.
    assert "<td>numbers: scaling</td>" in report
    assert "<td>vocabulary: " not in report
    assert "<td>model: embedding size</td>" not in report
    with pytest.raises(OptionError, match="encoding has no effect on sequences; leave encoding"):
        list(model.task.answers(model.network, PredictOptions(file=other, encoding="cp1252")))


def test_tables_and_arrays_give_the_same(tmp_path: Path) -> None:
    rows = waves(40)
    table = "id,t,a,b,way\n" + "".join(
        f"{number},{step},{a},{b},{label}\n"
        for number, (values, label) in enumerate(rows)
        for step, (a, b) in reversed(list(enumerate(values)))
    )
    (tmp_path / "a.csv").write_text(table)
    numpy.savez(
        tmp_path / "a.npz",
        frames=numpy.concatenate([values for values, _ in rows]),
        lengths=[len(values) for values, _ in rows],
        labels=[label for _, label in rows],
    )
    long = {"sequence": "id", "time": "t", "label": "way"}
    arrays = {"x": numpy.stack([values[:5] for values, _ in rows]), "y": [way for _, way in rows]}
    figures = []
    for path, data in ((tmp_path / "a.csv", long), (tmp_path / "a.npz", {})):
        chosen = options(path, data=data, training={"epochs": 1})
        run = tmp_path / path.suffix[1:]
        figures.append(train(chosen, run).best.scores.figures)
        again = evaluate(run, {"data": path}).scores
        assert again.count == 40
    assert figures[0] == pytest.approx(figures[1])
    config = json.loads((tmp_path / "csv" / "config.json").read_text())
    assert config["state"]["channels"] == ["a", "b"]
    parts = {f"{name}_{part}": found for part in ("train", "val") for name, found in arrays.items()}
    numpy.savez(tmp_path / "parts.npz", **parts)
    chosen = options(tmp_path / "parts.npz", data={"validation_share": 0.2})
    with pytest.raises(OptionError, match="no effect on a file with a validation part of its own"):
        train(chosen, tmp_path / "parts")


def test_scaling_is_that_of_the_training_part(tmp_path: Path) -> None:
    path = write_ts(tmp_path / "a.ts", waves(60))
    train(options(path, training={"epochs": 1}), tmp_path / "run")
    inputs = load(tmp_path / "run").task.inputs
    assert isinstance(inputs, Numbers)
    assert inputs.means[0] == pytest.approx(100, abs=2)
    assert inputs.deviations[1] == pytest.approx(1000, rel=0.2)
    train(options(path, scaling="none", training={"epochs": 1}), tmp_path / "plain")
    plain = load(tmp_path / "plain").task.inputs
    assert isinstance(plain, Numbers)
    assert (plain.means, plain.deviations) == ([0, 0], [1, 1])


def test_missing_values_are_those_of_the_step_before(tmp_path: Path) -> None:
    inputs = Numbers(["a", "b"], [10, 0], [2, 1])
    nan = numpy.nan
    values = numpy.array([[nan, 1], [12, nan], [nan, nan], [14, 3]], numpy.float32)
    assert inputs.scaled(values).tolist() == [[0, 1], [1, 1], [1, 1], [2, 3]]
    rows = waves(60)
    for values, _ in rows[::3]:
        values[1:3, 0] = nan
    rows[0][0][:, 1] = nan
    path = write_ts(tmp_path / "a.ts", rows)
    result = train(options(path, training={"epochs": 1}), tmp_path / "run")
    assert numpy.isfinite(result.best.scores.figures["loss"])
    for values, _ in rows:
        values[:, 1] = nan
    with pytest.raises(DataError, match="channel '2' has no value in any training sequence"):
        train(options(write_ts(path, rows)), tmp_path / "other")
    assert not (tmp_path / "other.partial").exists()


def test_a_constant_channel_does_no_harm(tmp_path: Path) -> None:
    rows = waves(60)
    for values, _ in rows:
        values[:, 1] = 1e6 + 0.1
    result = train(
        options(write_ts(tmp_path / "a.ts", rows), training={"epochs": 1}), tmp_path / "run"
    )
    assert numpy.isfinite(result.best.scores.figures["loss"])


def test_what_cannot_be_used(tmp_path: Path) -> None:
    path = write_ts(tmp_path / "a.ts", waves(30))
    train(options(path, training={"epochs": 1}), tmp_path / "run")
    other = tmp_path / "b.ts"
    other.write_text(path.read_text().replace("up down", "up left").replace(":down", ":left"))
    with pytest.raises(DataError, match=r"line \d+ has the label 'left', which no training seq"):
        evaluate(tmp_path / "run", {"data": other})
    with pytest.raises(DataError, match="'left', which no training"):
        train(options(path, data={"test_data": other}), tmp_path / "other")
    with pytest.raises(OptionError, match="sequence has no effect with format=ts; use format=csv"):
        evaluate(tmp_path / "run", {"data": path, "sequence": "id"})
    other.write_text("@classLabel true up\n@data\n1,2:up\n")
    with pytest.raises(DataError, match=r"has 1 channel\(s\), but the training had 2"):
        evaluate(tmp_path / "run", {"data": other})
    model = load(tmp_path / "run")
    with pytest.raises(DataError, match=r"shape \(3, 1\), but has to be \(time, 2\)"):
        model.predict([numpy.zeros((3, 1))])
    with pytest.raises(DataError, match="reads sequences of numbers: give a file"):
        list(model.task.answers(model.network, PredictOptions(texts=("a",))))
    table = tmp_path / "a.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(OptionError, match="text is missing"):
        train(options(table), tmp_path / "other")
    with pytest.raises(OptionError, match="label is missing"):
        train(options(table, data={"text": "a"}), tmp_path / "other")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"deviations": [', '"deviations": [null,'))
    with pytest.raises(RunError, match="needs 2 numbers as a scale"):
        load(tmp_path / "run")


def test_one_sequence_of_a_hundred_thousand_steps(tmp_path: Path) -> None:
    rows = waves(24)
    steps = numpy.random.default_rng(0).normal(0, 1, (100_000, 2))
    path = write_ts(tmp_path / "a.ts", [*rows, (steps, "up")])
    chosen = options(path, training={"epochs": 1, "batch_size": 4})
    result = train(replace(chosen, model=replace(chosen.model, hidden_size=4)), tmp_path / "run")
    assert numpy.isfinite(result.best.scores.figures["loss"])


def several(path: Path) -> Path:
    """Texts with the label "pos" or "neg" and, if they have the word "film", "film"."""
    rows = [
        (text, ";".join([label] + ["film"] * ("film" in text)) if "plot" not in text else "")
        for text, label in reviews(300)
    ]
    return write_csv(path, rows)


@pytest.mark.usefixtures("pictures")
def test_several_labels(tmp_path: Path) -> None:
    data = {"text": "review", "label": "sentiment", "label_separator": ";"}
    path = several(tmp_path / "a.csv")
    result = train(options(path, data=data, training={"epochs": 15}), tmp_path / "run")
    figures = result.best.scores.figures
    assert set(figures) == {"micro_f1", "macro_f1", "accuracy", "loss"}
    assert figures["micro_f1"] > 0.9
    assert figures["accuracy"] > 0.8
    assert result.task.labels == ["film", "neg", "pos"]
    model = load(tmp_path / "run")
    found = model.predict(["a lovely film", "a lovely scene", "the plot was awful"])
    assert [one.label for one in found] == ["film;pos", "pos", ""]
    assert all(0 <= one.probability <= 1 for one in found)
    assert evaluate(tmp_path / "run", {"data": path}).scores.count == 300


def test_weights_help_rare_labels(tmp_path: Path) -> None:
    rows = [row for row in waves(400) if row[1] == "up"]
    rows += [row for row in waves(40, seed=1) if row[1] == "down"]
    # Half of the rare ones cannot be told from the others.
    rows += [(values, "down") for values, label in waves(40, seed=2) if label == "up"]
    path = write_ts(tmp_path / "a.ts", rows)
    recall = {}
    for weights in ("none", "balanced"):
        chosen = options(path, class_weights=weights, training={"epochs": 4})
        train(chosen, tmp_path / weights)
        scores = evaluate(tmp_path / weights, {"data": path}).scores
        assert isinstance(scores, ClassificationScores)
        recall[weights] = scores.classes[0].recall
    assert load(tmp_path / "balanced").task.weights == pytest.approx([3, 0.6], rel=0.1)
    assert recall["balanced"] > recall["none"]
