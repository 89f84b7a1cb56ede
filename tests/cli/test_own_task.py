"""A task of one's own, in a package of its own: the one of `examples/own_task`."""

from __future__ import annotations

import json
import random
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Self

import pandas
import pytest
from toy_classifier import Outcome

from anyrnn.errors import OptionError, SizeError
from anyrnn.tasks import evaluate, load
from anyrnn.tasks.classify import DataOptions, Options
from anyrnn.tasks.estimator import Estimator, FromList
from anyrnn.tasks.registry import TASKS, entry_named, entry_of

OWN = Path(__file__).parents[2] / "examples" / "own_task"
SMALL = ["--hidden-size", 8, "--embedding-size", 8, "--learning-rate", 0.02, "--epochs", 12]
SMALL += ["--batch-size", 16, "--min-frequency", 1, "--device", "cpu"]
STARS = {"awful": 1, "poor": 2, "usual": 3, "good": 4, "superb": 5}


def table(path: Path, count: int = 120) -> Path:
    """Texts of a few words, one of which tells the number."""
    drawn = random.Random(0)
    rows = []
    for number in range(count):
        telling = list(STARS)[number % len(STARS)]
        words = [*drawn.choices(["the", "film", "plot", "cast", "a"], k=4), telling]
        rows.append({"review": f"{' '.join(words)} {number}", "stars": STARS[telling]})
    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


def installed(folder: Path, points: dict[str, str]) -> None:
    """What an installer writes of a package with such entry points of the group `anyrnn.tasks`."""
    described = folder / "ratings-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: ratings\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    (described / "entry_points.txt").write_text(f"[anyrnn.tasks]\n{''.join(lines)}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that Python finds."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [each for each in sys.modules if each.split(".")[0] in ("ratings", "broken")]:
        del sys.modules[name]


@pytest.fixture
def package(site: Path) -> Path:
    """The package of the example, installed."""
    project = tomllib.loads((OWN / "pyproject.toml").read_text())["project"]
    installed(site, project["entry-points"]["anyrnn.tasks"])
    return Path(shutil.copytree(OWN / "ratings", site / "ratings"))


@pytest.mark.usefixtures("package")
def test_it_is_trained_measured_and_asked_like_any_other(
    anyrnn: Callable[..., Outcome], tmp_path: Path
) -> None:
    data, run = table(tmp_path / "films.csv"), tmp_path / "run"
    assert "rate" in anyrnn("train", "--help").out
    assert "--number" in anyrnn("train", "rate", "--help").out
    assert "The column of the numbers." in anyrnn("init-config", "rate").out
    columns = ["--data", data, "--text", "review", "--number", "stars"]
    done = anyrnn("train", "rate", *columns, *SMALL, "--cell", "gru", "--cell", "rnn", "-o", run)
    assert done.code == 0, done.err
    assert "texts: 96 to train, 12 to validate, 12 to test" in done.out
    results = json.loads((run / "results.json").read_text())
    assert set(results["cells"]) == {"gru", "rnn"}
    assert evaluate(run, {"data": data}).scores.figures["error"] < 0.5  # the mean of all: 1.2
    report = (run / "report.html").read_text()
    assert "the texts with the largest errors" in report
    assert "superb" in report

    asked = anyrnn("predict", run, "the film superb", "", "the film awful")
    best, nothing, worst = (json.loads(line)["number"] for line in asked.out.splitlines())
    assert nothing is None
    assert best > 4 > 2 > worst
    assert load(run).predict(["the film superb"]) == [pytest.approx(best)]
    measured = anyrnn("evaluate", run, "--data", data)
    assert "mean absolute error" in measured.out
    assert "largest errors" in measured.out
    assert "rate" in anyrnn("runs", run).out
    assert "cannot be inspected" in anyrnn("inspect", run, "--input", "a film").error


@pytest.mark.usefixtures("package")
def test_it_has_the_verbs_of_scikit_learn(tmp_path: Path) -> None:
    from ratings.task import Part, Rate  # pyright: ignore[reportMissingImports]

    class Rater(FromList, task=Rate, data=("validation_share",)):
        files: ClassVar = {**Estimator.files, "text": "text", "number": "number"}

        def fit(self, X: list[str], y: list[float]) -> Self:
            return self._fit(self._divided(Part(self.place, X, y)))

        def predict(self, X: list[str]) -> list[float]:
            return self._fitted.predict(X)

    frame = pandas.read_csv(table(tmp_path / "films.csv"))
    small = {"cell": "rnn", "hidden_size": 8, "epochs": 1, "minimum_frequency": 1}
    rater = Rater(**small).fit(frame["review"].tolist(), frame["stars"].tolist())
    found = rater.predict(["a film", "a superb film"])
    rater.save(tmp_path / "run")
    assert Rater.load(tmp_path / "run").predict(["a film", "a superb film"]) == found
    with pytest.raises(SizeError, match="hidden_size is 0"):
        Rater(hidden_size=0).fit(["a"], [1.0])


@pytest.mark.usefixtures("package")
def test_its_mistakes_are_told_in_one_line(anyrnn: Callable[..., Outcome], tmp_path: Path) -> None:
    data = tmp_path / "films.csv"
    data.write_text("review,stars\na film,3\nanother film,many\nfilms,2\nno film,1\n")
    columns = ["--data", data, "--text", "review", "--number", "stars", "-o", tmp_path / "run"]
    told = anyrnn("train", "rate", *columns, *SMALL).error
    assert "record 2 has 'many', which is no number" in told
    assert "--skip-bad" in told
    assert "anyrnn: error: --number is missing" in anyrnn("train", "rate", *columns[:4]).err
    assert "--epochs is 0" in anyrnn("train", "rate", *columns, "--epochs", 0).error
    skipped = anyrnn("train", "rate", *columns, *SMALL, "--skip-bad", "--epochs", 1)
    assert skipped.code == 0, skipped.err
    assert "1 rows that cannot be used" in skipped.out


def test_a_run_of_a_task_that_is_not_installed(
    package: Path, anyrnn: Callable[..., Outcome], tmp_path: Path
) -> None:
    run, data = tmp_path / "run", table(tmp_path / "films.csv", 40)
    columns = ["--data", data, "--text", "review", "--number", "stars"]
    anyrnn("train", "rate", *columns, *SMALL, "--epochs", 1, "-o", run)
    shutil.rmtree(package.parent / "ratings-1.0.dist-info")
    assert "the task 'rate', which this anyrnn does not know" in anyrnn("predict", run, "a").error
    assert "no task is called 'rate'; nearest: " in anyrnn("train", "rate").error


@pytest.mark.filterwarnings("default:the task 'other':UserWarning")
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("broken:ENTRY", "ZeroDivisionError: division by zero"),
        ("nowhere:ENTRY", "ModuleNotFoundError: No module named 'nowhere'"),
        ("anyrnn.errors:DataError", "anyrnn.errors:DataError is no Entry of anyrnn.tasks.registry"),
        ("broken.tag:ENTRY", "anyrnn itself has a task 'tag'"),
    ],
)
def test_a_task_that_cannot_be_used_is_left_out(
    site: Path, anyrnn: Callable[..., Outcome], value: str, why: str
) -> None:
    installed(site, {"other": value})
    (site / "broken").mkdir()
    (site / "broken" / "__init__.py").write_text("1 / 0\n" if value == "broken:ENTRY" else "")
    (site / "broken" / "tag.py").write_text(
        "from anyrnn.tasks.registry import Entry\n"
        "ENTRY = Entry('tag', 'Other tags.', '', 'broken', 'Tag')\n"
    )
    listed = anyrnn("train", "--help")
    assert listed.code == 0
    assert f"anyrnn: warning: the task 'other' is left out: {why}" in listed.err
    assert entry_named("tag") is TASKS["tag"]
    with pytest.warns(UserWarning, match="is left out"), pytest.raises(OptionError):
        entry_named("other")


def test_no_package_is_asked_about_our_own_tasks(site: Path) -> None:
    """A warning would be an error here."""
    installed(site, {"other": "nowhere:ENTRY"})
    for name, entry in TASKS.items():
        assert entry_named(name) is entry
    options = Options(DataOptions("a.csv", text="text", label="label"))
    assert entry_of(options) is TASKS["classify"]
