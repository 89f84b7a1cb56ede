"""Options of a training from files, settings and flags."""

import csv
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from anyrnn.tasks.run_files import write_text
from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]

SMALL = """
data:
  data: {data}
  text: review
  label: sentiment
cells: [rnn]
model: {{embedding_size: 4, hidden_size: 4}}
training: {{epochs: 1, batch_size: 8, learning_rate: 1e-2, device: cpu}}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = random.Random(1)
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["review", "sentiment"])
        for number in range(60):
            words = generator.choices(["the", "film", "was", "plot"], k=4)
            table.writerow([" ".join([*words, ["good", "bad"][number % 2]]), number % 2])
    return path


@pytest.fixture
def file(tmp_path: Path, data: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(SMALL.format(data=data), encoding="utf-8")
    return path


def test_flags_before_settings_before_the_file(run: Run, file: Path, tmp_path: Path) -> None:
    code, _, error = run(
        *("train", "classify", "--config", str(file), "-o", str(tmp_path / "run")),
        *("--set", "model.hidden_size=5", "--set", "model={layers: 2, embedding_size: 6}"),
        *("--set", "cells=gru", "--hidden-size", "7", "--no-lowercase", "--seed", "3"),
    )
    assert code == 0, error
    config = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    found = config.get("options", config)
    assert config["cells"] == ["gru"]
    assert found["model"]["hidden_size"] == 7
    assert found["model"]["embedding_size"] == 6
    assert found["model"]["layers"] == 2
    assert found["vocabulary"]["lowercase"] is False
    assert found["training"]["learning_rate"] == 0.01
    assert found["training"]["seed"] == 3


def test_a_resumed_run_with_another_file_is_refused(run: Run, file: Path, tmp_path: Path) -> None:
    class Stop:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: None

        def batch_done(self, epoch: int, done: int, total: int) -> None:
            if done < total:
                signal.raise_signal(signal.SIGINT)

    command = ["train", "classify", "--config", str(file), "-o", str(tmp_path / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyrnn.cli.train._listener", lambda *_: Stop())
        code, _, error = run(*command)
    assert code == 130, error
    assert "with the same command and --resume" in error
    refused = mistake(run(*command, "--resume", "--set", "training.clip=2"))
    assert "training.clip was 1.0 and is 2.0 now" in refused
    assert run(*command, "--resume")[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {epochs: 0}", "training.epochs in {file} is 0, but has to be 1 or more"),
        ("training: {epochs: '3'}", "training.epochs in {file} is '3', but has to be a whole"),
        ("training: {epochs: true}", "training.epochs in {file} is true, but has to be a whole"),
        ("training: {epochs: null}", "training.epochs in {file} is null, but has to be a whole"),
        ("data: {text: [a, null]}", "data.text in {file} is ['a', null], but has to be text"),
        ("training: false", "{file}: training is false, but has to be a group of options"),
        ("training: {clip: .nan}", "training.clip in {file} is nan, but has to be a finite"),
        ("training: {learning_rat: 1}", "{file}: training.learning_rat is no option; did you me"),
        ("trainin: {epochs: 1}", "{file}: trainin is no option; did you mean training?"),
        ("training: 3", "{file}: training is 3, but has to be a group of options"),
        ("model: {pool: sum}", "model.pool in {file} is 'sum', but has to be one of last, mean"),
        ("data: {text: 3}", "data.text in {file} is 3, but has to be text"),
        ("data: {separator: ab}", "data.separator in {file} is 'ab', but has to be one ASCII"),
        ("cells: [grruu]", "no cell is called 'grruu'"),
        ("model: {layers: 1, layers: 2}", "{file} is not YAML: 'layers' occurs twice"),
        ("[", "{file} is not YAML"),
        ("", "{file} is empty"),
        ("- a", "{file} is a list"),
    ],
)
def test_mistakes_in_a_file(run: Run, data: Path, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    flags = ["--data", str(data), "--label", "sentiment", "-o", str(tmp_path / "run")]
    flags += [] if "text" in text else ["--text", "review"]
    error = mistake(run("train", "classify", "--config", str(file), *flags))
    assert message.format(file=file) in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.layers", "'model.layers' sets nothing; write NAME=VALUE"),
        ("=3", "'=3' sets nothing"),
        (".training=1", "'.training=1' sets nothing"),
        ("training..epochs=1", "'training..epochs=1' sets nothing"),
        ("model.layers=[", "the value of 'model.layers=[' is not YAML"),
        ("model.layers=two", "model.layers in --set is 'two', but has to be a whole number"),
        ("model.layer=2", "--set model.layer=2: model.layer is no option; did you mean model.lay"),
        ("layers=2", "layers is no option; did you mean model.layers?"),
        ("modle.layers=2", "modle is no option; did you mean model?"),
        ("model.layers.x=2", "model.layers in --set is {'x': 2}, but has to be a whole number"),
    ],
)
def test_mistakes_in_a_setting(run: Run, file: Path, setting: str, message: str) -> None:
    command = ["train", "classify", "--config", str(file), "--set", setting]
    assert message in mistake(run(*command))


def test_the_flag_is_named_where_it_gave_the_value(run: Run, file: Path) -> None:
    command = ["train", "classify", "--config", str(file), "--epochs", "0"]
    assert "error: --epochs is 0, but" in mistake(run(*command))
    assert "--max-length is 0" in mistake(run(*command[:4], "--maximum-length", "0"))
    assert "error: --text is missing" in mistake(run("train", "classify", "--data", "a.csv"))


def test_init_config_can_be_filled_in(run: Run, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    code, out, _ = run("init-config", "classify")
    assert code == 0
    assert run("init-config", "classify", "--output", str(file))[0] == 0
    text = file.read_text("utf-8")
    assert text == out
    assert "exists" in mistake(run("init-config", "classify", "--output", str(file)))
    text = text.replace("# data: FILE", f"data: {data}").replace("text: null", "text: review")
    text = text.replace("label: null", "label: sentiment").replace("epochs: 20", "epochs: 1")
    file.write_text(text.replace("size: 128", "size: 4"), encoding="utf-8")
    out = str(tmp_path / "run")
    code, _, error = run("train", "classify", "--config", str(file), "-o", out)
    assert code == 0, error


def test_init_config_writes_what_can_be_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run.toml", "run.json", "run", "."):
        error = mistake(run("init-config", "classify", "--output", name))
        assert f"--output is {name}, but has to end in .yaml" in error
    error = mistake(run("init-config", "classify", "--schema", "--output", "."))
    assert "cannot write .: Is a directory" in error
    assert not any(tmp_path.iterdir())


def test_a_link_stays_one(run: Run, tmp_path: Path) -> None:
    link, there = tmp_path / "link.yaml", tmp_path / "there.yaml"
    link.symlink_to(there)
    assert run("init-config", "classify", "--output", str(link))[0] == 0
    assert there.read_text().startswith("#")
    assert "exists" in mistake(run("init-config", "classify", "--output", str(link)))
    write_text(link, "new")
    assert link.is_symlink()
    assert there.read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [link, there]


def test_init_config_gives_a_schema(run: Run) -> None:
    code, out, _ = run("init-config", "classify", "--schema")
    assert code == 0
    assert "training" in json.loads(out)["properties"]


@pytest.mark.parametrize("command", ["train", "init-config"])
def test_an_unknown_task(run: Run, command: str) -> None:
    assert "no task is called 'clasify'; nearest: classify" in mistake(run(command, "clasify"))


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_help_of_what_depends_on_the_run(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--encoding" in out
    assert "Missing argument 'RUN'" in mistake(run(command))
    assert "there is no run folder nowhere" in mistake(run(command, "nowhere", "--help"))
