"""Training, evaluating and predicting on texts and labels."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from toy_classifier import COLUMNS, SMALL, Outcome, csv_text, reviews


def test_train_evaluate_predict(anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    outcome = anyrnn(
        *("train", "classify", "--data", data, *COLUMNS, *SMALL),
        *("--cell", "gru", "--cell", "rnn", "--epochs", 12, "--batch-size", 8, "-o", run),
    )
    assert outcome.code == 0, outcome.err
    assert re.search(r"gru epoch 1: training loss \d", outcome.out)
    assert "tokens: word" in outcome.out
    assert str(run / "report.html") in outcome.out
    evaluation = anyrnn("evaluate", run, "--data", data)
    assert evaluation.code == 0
    assert "macro F1 %" in evaluation.out
    scores = json.loads(anyrnn("evaluate", run, "--data", data, "--json").out)
    assert scores["texts"] == 60
    assert scores["accuracy"] > 0.9
    in_int8 = anyrnn("evaluate", run, "--data", data, "--json", "--weights", "int8")
    assert json.loads(in_int8.out)["accuracy"] == pytest.approx(scores["accuracy"], abs=0.1)
    assert json.loads(in_int8.out)["loss"] != scores["loss"]
    refused = anyrnn("evaluate", run, "--data", data, "--weights", "int4")
    assert (refused.code, "int8" in refused.err) == (2, True)
    prediction = json.loads(anyrnn("predict", run, "the film was good").out)
    assert prediction.keys() == {"text", "label", "probability"}
    assert prediction["label"] == "pos"


def test_help_is_light() -> None:
    commands = [[], ["train"], ["train", "classify"], ["train", "forecast"], ["evaluate"]]
    program = f"""if True:
    import sys
    from anyrnn.cli.main import main
    for command in {[*commands, ["predict"]]!r}:
        sys.argv = ["anyrnn", *command, "--help"]
        try:
            main()
        except SystemExit as end:
            assert not end.code
        heavy = {{"torch", "pandas", "lightning", "tokenizers", "matplotlib"}} & {{*sys.modules}}
        assert not heavy, (command, heavy)
    """
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Usage") == 6


def test_version(anyrnn: Callable[..., Outcome]) -> None:
    outcome = anyrnn("--version")
    assert outcome.code == 0
    assert re.fullmatch(r"anyrnn \d+\.\d+\.\d+\S*\n", outcome.out)


def test_usage_error(anyrnn: Callable[..., Outcome]) -> None:
    outcome = anyrnn("train", "classify", "--data", "x.csv")
    assert outcome.code == 2
    assert "--text" in outcome.err


@pytest.mark.parametrize(
    "kind", ["csv", "tsv", "jsonl", "csv.gz", "tsv.xz", "jsonl.bz2", "parquet"]
)
def test_formats(anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path, kind: str) -> None:
    frame = pandas.DataFrame(reviews())
    path = tmp_path / f"reviews.{kind}"
    if kind.startswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    elif kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind.startswith("tsv") else ",")
    scores = json.loads(anyrnn("evaluate", trained, "--data", path, "--json").out)
    assert scores["texts"] == 60


def test_separator_and_no_header(
    anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(csv_text(reviews(), ";").split("\n", 1)[1])
    columns = ["--no-header", "--separator", ";", "--text", "1", "--label", "2"]
    outcome = anyrnn("evaluate", trained, "--data", path, *columns, "--json")
    assert json.loads(outcome.out)["texts"] == 60
    void = anyrnn("evaluate", trained, "--data", "a.jsonl", "--separator", ";").error
    assert "--separator has no effect on JSON lines; leave --separator out" in void


def test_predict_sources(
    anyrnn: Callable[..., Outcome],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = "the film was good and the plot\r\n\nthe plot was bad and the scene"
    file = tmp_path / "texts.txt"
    file.write_bytes(lines.encode())
    from_file = anyrnn("predict", trained, "--file", file)
    answers = [json.loads(line) for line in from_file.out.splitlines()]
    assert [answer["label"] for answer in answers] == ["pos", None, "neg"]
    assert answers[0]["text"] == "the film was good and the plot"
    for arguments in ([], ["--file", "-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        assert anyrnn("predict", trained, *arguments).out == from_file.out
    several = anyrnn(
        "predict", trained, "a good film", "坏 film", "--probabilities", "--cell", "rnn"
    )
    answers = [json.loads(line) for line in several.out.splitlines()]
    assert answers[1]["text"] == "坏 film"
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1)


def test_predict_mistakes(anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path) -> None:
    assert "no file" in anyrnn("predict", trained, "--file", tmp_path / "none.txt").error
    file = tmp_path / "texts.txt"
    file.write_bytes("schön\n".encode("latin-1"))
    assert "line 1" in anyrnn("predict", trained, "--file", file).error
    latin = anyrnn("predict", trained, "--file", file, "--encoding", "latin-1")
    assert json.loads(latin.out)["text"] == "schön"
    assert "klingon" in anyrnn("predict", trained, "--file", file, "--encoding", "klingon").error
    assert "rnn, gru" in anyrnn("predict", trained, "x", "--cell", "lstm").error
    void = anyrnn("predict", trained, "x", "--encoding", "latin-1").error
    assert "--encoding has no effect on texts of the command line; leave --encoding out" in void


@pytest.mark.usefixtures("pictures")
def test_chinese_and_odd_labels(anyrnn: Callable[..., Outcome], tmp_path: Path) -> None:
    labels = ['<b>好</b> & "co"', "坏/糟, ok"]
    rows = [
        {
            "文本": f"酒店的房间{'很大' if n % 2 else '太小'}，{word}<script>alert({n})</script>",
            "标签": labels[n % 2],
        }
        for n, word in enumerate("服务早餐位置价格前台卫生隔音空调电视床单" * 4)
    ]
    path = tmp_path / "评论.jsonl"
    path.write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    run = tmp_path / "run"
    outcome = anyrnn(
        *("train", "classify", "--data", path, "--text", "文本", "--label", "标签"),
        *(*SMALL, "--epochs", 1, "-o", run),
    )
    assert outcome.code == 0, outcome.err
    assert "tokens: character" in outcome.out
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in report
    assert "&lt;script&gt;alert" in report
    assert "&lt;b&gt;好&lt;/b&gt; &amp;" in report
    assert "<b>" not in report
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", report)
    assert not re.search(r"url\((?!#)", report)
    prediction = json.loads(anyrnn("predict", run, "房间很大").out)
    assert prediction["label"] in labels
    assert anyrnn("evaluate", run, "--data", path).code == 0


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_interrupt_and_resume(anyrnn: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(csv_text(reviews(200)))
    run = tmp_path / "run"
    command = ["train", "classify", "--data", str(path), *COLUMNS, *SMALL]
    command += ["--cell", "lstm", "--cell", "rnn"]
    command += ["--epochs", "2", "--patience", "2", "--batch-size", "8", "-o", str(run)]
    with subprocess.Popen(
        [sys.executable, "-m", "anyrnn", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        while "epoch 1:" not in process.stdout.readline():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("anyrnn: stopped")
    assert errors.count("\n") == 1
    assert "--resume" in errors
    assert not run.exists()
    resumed = anyrnn(*command, "--resume")
    assert (resumed.code, resumed.err) == (0, "")
    assert "lstm epoch 1:" not in resumed.out
    assert (run / "report.html").exists()


def test_names_that_are_no_text(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"caf\xe9")
    data.rename(tmp_path / f"{odd}.csv")
    options = ["--data", f"{odd}.csv", *COLUMNS, *SMALL, "--epochs", 1]
    outcome = anyrnn("train", "classify", *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert r"run folder: runs/caf\xe9" in outcome.out
    assert anyrnn("evaluate", f"runs/{odd}", "--data", f"{odd}.csv").code == 0
    assert anyrnn("predict", f"runs/{odd}", f"good {odd}").code == 0
    config = json.loads((tmp_path / "runs" / odd / "config.json").read_text(encoding="utf-8"))
    assert config["options"]["data"]["data"] == f"{odd}.csv"
    assert r"caf\xe9" in anyrnn("predict", odd, "x").error
    assert anyrnn("train", "classify", *options, "-o", tmp_path / "run").code == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "gb18030"])
def test_predict_on_streams_in_any_encoding(
    anyrnn: Callable[..., Outcome],
    trained: Path,
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = ["good 好", "", "bad \u0a0a"]
    content = "\r\n".join(lines).encode(encoding)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    outcome = anyrnn("predict", trained, "--encoding", encoding)
    assert [json.loads(line)["text"] for line in outcome.out.splitlines()] == lines


def test_predict_without_a_standard_input(
    anyrnn: Callable[..., Outcome], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "no text" in anyrnn("predict", trained).error
    assert "closed" in anyrnn("predict", trained, "--file", "-").error


@pytest.mark.parametrize("name", ["a" * 250, "a" * 300])
def test_names_that_are_too_long(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path, name: str
) -> None:
    options = ["--data", data, *COLUMNS, *SMALL, "--epochs", 1]
    for command in (
        ["train", "classify", *options, "-o", tmp_path / name],
        ["train", "classify", *COLUMNS, "--data", tmp_path / f"{name}.csv"],
        ["predict", tmp_path / name / "a", "x"],
        ["predict", tmp_path, "x", "--file", tmp_path / name],
    ):
        assert anyrnn(*command).code == 2
    assert "too long" in anyrnn("train", "classify", *options, "-o", tmp_path / name).error
    assert list(tmp_path.iterdir()) == [data]
