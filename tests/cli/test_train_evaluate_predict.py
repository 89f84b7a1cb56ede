import gzip
import io
import json
import lzma
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas
import pytest
import torch
from safetensors.torch import load_file, save_file

from anyrnn.cli.main import main
from anyrnn.errors import SizeError
from anyrnn.tasks.classify import DataOptions, ModelOptions, Options, TrainingOptions
from outcomes import mistake

SMALL = [
    "--hidden-size",
    "8",
    "--embedding-size",
    "8",
    "--learning-rate",
    "0.02",
    "--device",
    "cpu",
]
COLUMNS = ["--text", "review", "--label", "sentiment"]


class Outcome(NamedTuple):
    """What a run of the program gave: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that tells the mistake."""
        return mistake(self)


@pytest.fixture
def anyrnn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["anyrnn", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        code = exit_info.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


def reviews(count: int = 60) -> list[dict[str, str]]:
    generator = random.Random(1)
    rows = []
    for number in range(count):
        words = generator.choices(["the", "film", "was", "and", "plot", "scene"], k=6)
        words.insert(3, ["good", "bad"][number % 2])
        rows.append({"review": " ".join(words), "sentiment": ["pos", "neg"][number % 2]})
    return rows


def csv_text(rows: list[dict[str, str]], separator: str = ",") -> str:
    return pandas.DataFrame(rows).to_csv(index=False, sep=separator)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(csv_text(reviews()), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """So small a network gains nothing from threads, and test workers would fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the tests only read."""
    from anyrnn.tasks.experiment import train

    folder = tmp_path_factory.mktemp("trained")
    path = folder / "reviews.csv"
    path.write_text(csv_text(reviews(200)), encoding="utf-8")
    options = Options(
        DataOptions(path, "review", "sentiment"),
        cells=("rnn", "gru"),
        model=ModelOptions(embedding_size=8, hidden_size=8, dropout=0.1),
        training=TrainingOptions(
            epochs=20, patience=20, batch_size=16, learning_rate=0.02, device="cpu"
        ),
    )
    train(options, folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


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


GOOD_LINES = csv_text(reviews(40))
BAD_DATA: dict[str, tuple[str, bytes, list[str], str]] = {
    "empty file": ("a.csv", b"", [], "is empty"),
    "only a header": ("a.csv", b"review,sentiment\n", [], "no row"),
    "only blanks": ("a.csv", b"\n \n", [], "is empty"),
    "suffix": ("a.xlsx", b"x", [], r"supported: \.csv"),
    "no suffix": ("reviews", b"x", [], "supported"),
    "one class": (
        "a.csv",
        b"review,sentiment\na b,pos\nc d,pos\ne f,pos\n",
        [],
        "only the label 'pos'",
    ),
    "no class": (
        "a.csv",
        b"review,sentiment\na b,x\nc d,y\n",
        ["--skip-bad"],
        "no label with enough",
    ),
    "rare class": ("a.csv", GOOD_LINES.encode() + b"odd,other\n", [], r"'other' has 1 .*record 41"),
    "empty text": (
        "a.csv",
        GOOD_LINES.encode() + b",pos\nx,\n",
        [],
        r"record 41.*'review'.*2 rows",
    ),
    "blank label": (
        "a.csv",
        GOOD_LINES.encode() + b"x, \n",
        [],
        r"record 41.*'sentiment'.*--skip-bad",
    ),
    "all empty": ("a.csv", b"review,sentiment\n,pos\nx,\n", ["--skip-bad"], "no row in which"),
    "ragged": (
        "a.csv",
        GOOD_LINES.encode() + b"a,b,c\n",
        [],
        r"Expected 2 fields in line 42, saw 3",
    ),
    "too wide": ("a.csv", b"review,sentiment\na,b,c\nd,e,f\n", [], "cannot be read as a table"),
    "open quote": ("a.csv", GOOD_LINES.encode() + b'"a,b\n', [], "EOF inside string"),
    "missing column": ("a.csv", b"reviews,sentiment\na,b\n", [], "did you mean 'reviews'"),
    "separator": ("a.csv", b"review;sentiment\na;b\n", [], r"--separator ';'"),
    "encoding": (
        "a.csv",
        "review,sentiment\nok,pos\nschön,pos\n".encode("cp1252"),
        [],
        r"not utf-8: byte 0xf6 at position 27, line 3; .*--encoding cp1252",
    ),
    "chinese encoding": (
        "a.csv",
        "review,sentiment\n房间很大,服务也好\n".encode("gb18030"),
        [],
        "--encoding gb18030",
    ),
    "utf-16": ("a.csv", "review,sentiment\na,b\n".encode("utf-16"), [], "--encoding utf-16"),
    "unknown encoding": ("a.csv", GOOD_LINES.encode(), ["--encoding", "klingon"], "klingon"),
    "not json": (
        "a.jsonl",
        b'{"review": "a", "sentiment": "b"}\n{"review": \n',
        [],
        "line 2 is not JSON",
    ),
    "not an object": ("a.jsonl", b"[1, 2]\n", [], "line 1 is not a JSON object"),
    "json without text": (
        "a.jsonl",
        b'\n{"review": "a", "sentiment": 1}\n{"sentiment": 2}\n',
        [],
        "line 3, has no 'review'",
    ),
    "damaged gzip": ("a.csv.gz", gzip.compress(GOOD_LINES.encode())[:50], [], r"not a sound \.gz"),
    "no xz": ("a.csv.xz", b"nothing of the kind", [], r"not a sound \.xz"),
    "damaged xz": ("a.csv.xz", lzma.compress(GOOD_LINES.encode())[:60], [], r"not a sound \.xz"),
    "no parquet": ("a.parquet", b"PAR1 nothing of the kind", [], "not a sound parquet"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(anyrnn: Callable[..., Outcome], tmp_path: Path, name: str) -> None:
    file, content, arguments, message = BAD_DATA[name]
    path = tmp_path / file
    path.write_bytes(content)
    out = tmp_path / "runs" / "one"
    outcome = anyrnn("train", "classify", "--data", path, *COLUMNS, "-o", out, *arguments)
    assert re.search(message, outcome.error)
    assert str(path) in outcome.error or "--encoding" in outcome.error
    assert not out.parent.exists()


def test_missing_files(anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.csv"
    for arguments in (
        ["--data", missing],
        ["--data", data, "--test-data", missing],
        ["--data", data, "--validation-data", missing],
    ):
        assert str(missing) in anyrnn("train", "classify", *COLUMNS, *arguments).error
    assert "folder" in anyrnn("train", "classify", *COLUMNS, "--data", tmp_path).error
    assert "supported" in anyrnn("train", "classify", *COLUMNS, "--data", tmp_path / "x.doc").error


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
        (["--hidden-size", "100000000"], "cannot be made"),
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
    anyrnn: Callable[..., Outcome], data: Path, trained: Path, run: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "none.csv"
    command = ["train", "classify", *COLUMNS, *SMALL, "--epochs", 1]
    # The folder is checked before anything else is looked at.
    assert "--overwrite" in anyrnn(*command, "--data", missing, "-o", run).error
    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").touch()
    assert "no run of anyrnn" in anyrnn(*command, "--data", data, "-o", other, "--overwrite").error
    assert (other / "holiday.jpg").exists()
    assert anyrnn(*command, "--data", data, "-o", run, "--overwrite").code == 0
    assert json.loads((run / "config.json").read_text())["cells"] == ["lstm"]
    assert not (run / "gru.safetensors").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "reviews.csv", "run"]


def test_skip_bad_counts(anyrnn: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(GOOD_LINES + ",pos\nNA,pos\nx,\nrare,odd\n")
    run = tmp_path / "run"
    outcome = anyrnn(
        *("train", "classify", "--data", path, *COLUMNS, *SMALL),
        *("--epochs", 1, "-o", run, "--skip-bad"),
    )
    assert outcome.code == 0, outcome.err
    skipped = json.loads((run / "config.json").read_text())["facts"]["skipped"][str(path)]
    assert skipped == {
        "without review": 1,
        "without sentiment": 1,
        "with a label that is too rare": 1,
    }
    assert "1 without review, 1 without sentiment" in outcome.out


def test_labels_unknown_to_the_run(
    anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test.csv"
    path.write_text("review,sentiment\ngood,pos\nmeh,mixed\n")
    error = anyrnn("evaluate", trained, "--data", path).error
    assert "record 2" in error
    assert "'mixed'" in error
    assert "'neg', 'pos'" in error


def damage_json(**changes: object) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | changes))

    return damage


def damage_model(**changes: object) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        config = json.loads((run / "config.json").read_text())
        config["options"]["model"] |= changes
        (run / "config.json").write_text(json.dumps(config))

    return damage


def damage_tokenizer(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        tokenizer = json.loads((run / "tokenizer.json").read_text())
        change(tokenizer)
        (run / "tokenizer.json").write_text(json.dumps(tokenizer))

    return damage


def fill_weights(name: str, value: float) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        weights = load_file(run / "gru.safetensors")
        for other, tensor in weights.items():
            if other == name:
                tensor.fill_(value)
        save_file(weights, run / "gru.safetensors")

    return damage


def too_large_weights(run: Path) -> None:
    """Finite ones, of which one class's sum is infinite less infinite."""
    weights = load_file(run / "gru.safetensors")
    for name, tensor in weights.items():
        if name.startswith("dense"):
            tensor.fill_(3e38)
        elif "b_" in name or "d_" in name or name.startswith("embedding"):
            tensor.copy_(torch.linspace(-9, 9, tensor.numel()).reshape(tensor.shape))
    save_file(weights, run / "gru.safetensors")


def in_its_place(name: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).unlink()
        change(run / name)

    return damage


def damage_weights(run: Path) -> None:
    weights = load_file(run / "gru.safetensors")
    weights["dense.weight"] = torch.zeros(3, 8)
    save_file(weights, run / "gru.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda run: (run / "config.json").unlink(), r"no config\.json"),
    "empty config": (lambda run: (run / "config.json").write_text(""), r"config\.json is not JSON"),
    "list": (lambda run: (run / "config.json").write_text("[]"), "JSON object"),
    "binary config": (lambda run: (run / "config.json").write_bytes(b"\xff\x00"), "not JSON"),
    "foreign": (
        lambda run: (run / "config.json").write_text('{"model": "bert"}'),
        "no run of anyrnn",
    ),
    "version": (damage_json(version=99), "version 99"),
    "task": (damage_json(task="dance"), "task 'dance'"),
    "labels": (damage_json(state={"labels": 3}), "'labels'"),
    "label types": (damage_json(state={"labels": [1, 2]}), "'labels'"),
    "more labels": (damage_json(state={"labels": ["a", "b", "c"]}), "'dense"),
    "model": (damage_model(embedding_size="wide"), "embedding_size is 'wide'"),
    "sizes": (damage_model(embedding_size=-1), "embedding_size is -1"),
    "pooling": (damage_model(pool="median"), "median"),
    "best cell": (damage_json(best_cell="lstm"), "no cell 'lstm'"),
    "unknown cell": (damage_json(best_cell="lstn", cells=["lstn"]), "describes no network"),
    "no tokenizer": (lambda run: (run / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "tokenizer": (lambda run: (run / "tokenizer.json").write_text("{}"), "no tokenizer"),
    "no weights": (lambda run: (run / "gru.safetensors").unlink(), r"gru\.safetensors is missing"),
    "weights": (lambda run: (run / "gru.safetensors").write_bytes(b"12345678"), "holds no weights"),
    "shapes": (damage_weights, r"'dense.weight' has the shape \(3, 8\)"),
    "more layers": (damage_model(layers=900), "too few for the 900 layers"),
    "more layers than numbers": (
        damage_model(layers=10**30),
        "model.layers is 1000.* 1000 or less",
    ),
    "one layer more": (damage_model(layers=2), "'recurrent.U_l1' has the shape none"),
    "larger layers": (damage_model(hidden_size=10**8), "asks for"),
    "largest layers": (damage_model(hidden_size=10**30), "model.hidden_size is 1000.* or less"),
    "larger vectors": (damage_model(embedding_size=2**31 - 1), "asks for"),
    "more classes": (damage_json(state={"labels": [str(n) for n in range(10**5)]}), "asks for"),
    "one label twice": (damage_json(state={"labels": ["a", "a"]}), "twice under 'labels'"),
    "path as cell": (damage_json(best_cell="../a", cells=["../a"]), "describes no network"),
    "deep config": (lambda run: (run / "config.json").write_text("[" * 10**6), "not JSON"),
    "deep tokenizer": (lambda run: (run / "tokenizer.json").write_text("[" * 10**6), "tokenizer"),
    "token outside": (
        damage_tokenizer(lambda found: found["model"]["vocab"].update(good=10**6)),
        "does not number its",
    ),
    "token twice": (
        damage_tokenizer(lambda found: found["model"]["vocab"].update(good=5, bad=5)),
        "does not number its",
    ),
    "NaN": (fill_weights("dense.bias", float("nan")), "'dense.bias' holds what is no number"),
    "infinity": (fill_weights("dense.bias", float("inf")), "'dense.bias' holds what is no number"),
    "NaN in the end": (too_large_weights, "results that are no number"),
    "escapes": (damage_json(task="\x1b[2J"), r"\\x1b\[2J"),
    "folder as config": (in_its_place("config.json", Path.mkdir), "Is a directory"),
    "folder as tokenizer": (in_its_place("tokenizer.json", Path.mkdir), "Is a directory"),
    "folder as weights": (in_its_place("gru.safetensors", Path.mkdir), "Is a directory"),
    "link to itself": (
        in_its_place("gru.safetensors", lambda path: path.symlink_to(path)),
        "symbolic links",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_run(anyrnn: Callable[..., Outcome], run: Path, data: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"best_cell": "gru"}))
    damage(run)
    for outcome in (anyrnn("predict", run, "good"), anyrnn("evaluate", run, "--data", data)):
        assert re.search(message, outcome.error), outcome.error
        assert str(run) in outcome.error or "no number" in message


def test_no_run(anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path) -> None:
    assert "no run folder" in anyrnn("predict", tmp_path / "none", "x").error
    assert "is a file" in anyrnn("predict", data, "x").error
    (tmp_path / "half.partial").mkdir()
    assert "--resume" in anyrnn("predict", tmp_path / "half", "x").error


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


def test_labels_cannot_steer_the_terminal(
    anyrnn: Callable[..., Outcome], run: Path, tmp_path: Path
) -> None:
    escape = "\x1b[2J\x9b\u202e"
    damage_json(state={"labels": [escape, "pos"]}, best_cell="gru")(run)
    path = tmp_path / "odd.jsonl"
    rows = [{"review": "good", "sentiment": escape}, {"review": "bad", "sentiment": "pos"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    for more in ([], ["--json"]):
        outcome = anyrnn("evaluate", run, "--data", path, *more)
        assert outcome.code == 0, outcome.err
        assert not {"\x1b", "\x9b", "\u202e"} & set(outcome.out)
        assert "u202e" in outcome.out
    outcome = anyrnn("predict", run, f"good {escape}", "--probabilities")
    assert not {"\x1b", "\x9b", "\u202e"} & set(outcome.out)
    answer = json.loads(outcome.out)
    assert answer["text"] == f"good {escape}"
    assert list(answer["probabilities"]) == [escape, "pos"]


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


def test_a_table_of_tabs_that_is_called_txt(
    anyrnn: Callable[..., Outcome], trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.txt"
    path.write_text(csv_text(reviews(), "\t"))
    assert "--separator" in anyrnn("evaluate", trained, "--data", path).error
    outcome = anyrnn("evaluate", trained, "--data", path, "--separator", "\t", "--json")
    assert json.loads(outcome.out)["texts"] == 60


def test_a_file_that_can_be_read_once(
    anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    thread = threading.Thread(target=lambda: pipe.write_bytes(data.read_bytes()))
    thread.start()
    options = ["--data", pipe, *COLUMNS, *SMALL, "--epochs", 1, "-o", tmp_path / "run"]
    assert anyrnn("train", "classify", *options).code == 0
    thread.join()


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
