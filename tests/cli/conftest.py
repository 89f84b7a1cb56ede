"""Running the program in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_classifier import Outcome, csv_text, reviews

from anyrnn.cli.main import main
from pictures import _no_pictures, pictures  # noqa: F401


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the program: exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["anyrnn", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def anyrnn(run) -> Callable[..., Outcome]:
    """The same with names for what is given back, and arguments of any type."""
    return lambda *arguments: Outcome(*run(*map(str, arguments)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(csv_text(reviews()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the tests only read."""
    from anyrnn.tasks.classify import DataOptions, ModelOptions, Options, TrainingOptions
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
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
