"""`anyrnn cells` and `anyrnn show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import anyrnn
from anyrnn.cli import show
from anyrnn.derivative.reverse import derivative
from anyrnn.graph.show import equations, latex, listing
from anyrnn.schedule.show import describe
from outcomes import mistake

OWN = '''
import anyrnn


@anyrnn.cell
def mine(x, h, *, W, rate=0.5):
    """A cell of [my] own."""
    return rate * h + W @ x


@anyrnn.cell
def other(x, h):
    return x + h
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_cells_lists_the_catalogue(run) -> None:
    code, out, _ = run("cells")
    assert code == 0
    for name, cell in anyrnn.CATALOGUE.items():
        (row,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        for stored in cell.parameters:
            assert stored.name in row or len(cell.parameters) > 4
    assert out.splitlines()[0].split()[:3] == ["cell", "states", "parameters"]


def test_cells_of_one_family(run) -> None:
    _, out, _ = run("cells", "--family", "linear")
    assert [line.split()[0] for line in out.splitlines() if line[0] != " "] == [
        *("cell", "mingru", "minlstm", "sru", "qrnn")
    ]
    assert "Lei et al. 2018" in " ".join(out.split())
    err = mistake(run("cells", "--family", "lst"))
    assert "no family is called 'lst'; known: elman, lstm, gru, linear, articles" in err


def test_cells_as_json(run) -> None:
    code, out, _ = run("cells", "--json")
    assert code == 0
    found = {row["name"]: row for row in json.loads(out)}
    assert [*found] == [*anyrnn.CATALOGUE]
    assert found["sru"]["recurrence"] == "diagonal"
    assert found["gru"]["source"] == {
        "authors": "Cho et al.",
        "year": 2014,
        "reference": "arXiv 1406.1078v1",
    }
    assert found["lstm"]["parameters"]["b"] == ["b.i", "b.f", "b.g", "b.o"]


def test_cells_on_a_narrow_terminal(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    code, out, _ = run("cells", "--family", "gru")
    assert code == 0
    assert out.splitlines()[:4] == [
        "cell gru",
        "states h",
        "parameters W, U, b, ",
        "d",
    ]


def test_show_prints_equations_parameters_and_source(run) -> None:
    code, out, _ = run("show", "gru")
    assert code == 0
    assert equations(anyrnn.get("gru").graph) in out
    assert "Cho et al. 2014" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["W", "3", "hidden", "x", "input", "W.r,", "W.z,", "W.n"] in rows
    assert ["d", "hidden", "d.n"] in rows


def test_show_prints_what_each_pass_makes(run) -> None:
    code, out, _ = run("show", "gru_reset_before", "--stage", "passes")
    assert code == 0
    parts = [block.splitlines()[0] for block in out.split("\n\n")]
    assert parts == ["rewritten step", "placement", "levels", "stages"]
    stages = [line.split(",")[0].strip() for line in out.split("stages\n")[1].splitlines()]
    assert stages == ["level 0", "level 1"]  # the candidate waits for the reset gate


def test_show_tells_what_is_left_out(run) -> None:
    _, out, _ = run("show", "article1_gru")
    assert "without influence, left out: W.hz, W.xz, b.z" in out


@pytest.mark.parametrize("name", anyrnn.CATALOGUE)
def test_forms_of_every_cell(name: str, run) -> None:
    """Two of the forms of each cell, and the plain one; neighbours have the others."""
    graph, place = anyrnn.get(name).graph, [*anyrnn.CATALOGUE].index(name)
    wanted = {
        ("--stage", "graph"): listing(graph),
        ("--stage", "derivative"): equations(derivative(graph)),
        ("--stage", "schedule"): describe(anyrnn.get(name)),
        ("--stage", "schedule", "--memory", "low"): describe(anyrnn.get(name), "low"),
        ("--format", "latex"): latex(graph),
        ("--format", "latex", "--stage", "derivative"): latex(derivative(graph)),
    }
    for options, text in [*wanted.items()][place % 3 :: 3]:
        assert run("show", name, *options) == (0, text + "\n", "")
    code, out, _ = run("show", name)
    assert code == 0
    assert equations(graph) in out


def test_a_cell_of_a_file(run, own: Path) -> None:
    for path in ("own.py", str(own)):
        code, out, _ = run("show", f"{path}:mine")
        assert code == 0
        assert "h' = rate * h + W @ x" in out
        assert "A cell of [my] own." in out
        assert "hyperparameters: rate = 0.5" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lstn"], "no cell is called 'lstn'; nearest: lstm"),
        (["own.py:mien"], "'own.py' has no cell 'mien'; its cells: mine, other"),
        (["own.py:OWN"], "'own.py' has no cell 'OWN'"),
        (["nosuch.py:mine"], "no file 'nosuch.py'"),
        (["gru", "--stage", "graph", "--format", "latex"], "a graph is listed as text only"),
        (["gru", "--stage", "schedule", "--format", "latex"], "a schedule is listed as text only"),
        (["gru", "--memory", "low"], "--memory low changes a schedule only; add --stage schedule"),
    ],
)
def test_mistakes(run, own: Path, arguments: list[str], message: str) -> None:
    outcome = run("show", *arguments)
    assert message in mistake(outcome)
    assert outcome[1] == ""


@pytest.mark.parametrize("arguments", [["gru", "--stage", "nosuch"], ["gru", "--format", "html"]])
def test_unknown_options(run, arguments: list[str]) -> None:
    code, _, error = run("show", *arguments)
    assert code == 2
    assert "is not one of" in error


@pytest.mark.parametrize("subcommand", ["cells", "show"])
def test_help(run, subcommand: str) -> None:
    code, out, _ = run(subcommand, "--help")
    assert code == 0
    assert subcommand in out


def test_find_is_what_other_commands_use(own: Path) -> None:
    assert show.find("gru") is anyrnn.get("gru")
    found = show.find("own.py:mine")
    assert found.with_hyperparameters(rate=0.25).hyperparameters == {"rate": 0.25}


def test_kernels_of_a_gpu_that_is_not_there(run) -> None:
    given = "show", "mingru", "--stage", "schedule", "--target", "gpu"
    code, out, _ = run(*given, "--size", "hidden=40", "--type", "bfloat16")
    assert code == 0
    assert "kernels, forward, for input = 256, hidden = 40 in bfloat16" in out
    assert "  a scan over time: a program for each sequence and tile of units" in out
    assert "  mingru_backward: tiles of 32 units x 64 steps" in out
    assert "tl.associative_scan((scale" in out
    _, out, _ = run("show", "gru", "--stage", "schedule", "--target", "gpu", "--memory", "low")
    assert "one program for each tile of 16 sequences goes over all steps" in out
    assert "def gru_forward(" in out
    _, out, _ = run("show", "gru", "--stage", "schedule", "--target", "gpu", "--size", "hidden=900")
    assert "each stage of each step is a launch over tiles of 32 sequences and of units" in out
    assert "gru_backward_stage_1" in out
    _, plain, _ = run("show", "gru", "--stage", "schedule")
    assert run("show", "gru", "--stage", "schedule", "--target", "cpu")[1] == plain


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "gpu"), "--target gpu changes a schedule only; add --stage schedule"),
        (("--size", "hidden=5"), "--size hidden=5 changes what a GPU runs only; add --stage sched"),
        (("--type", "float16"), "--type float16 changes what a GPU runs only"),
    ],
)
def test_options_of_a_gpu_elsewhere(run, options: tuple[str, ...], said: str) -> None:
    assert said in mistake(run("show", "gru", *options))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("depth=5", "--size depth=5: the sizes of 'gru' are input, hidden"),
        ("hidden=many", "--size hidden=many: expected a whole number of at least 1"),
        ("hidden=0", "--size hidden=0: expected a whole number of at least 1, as hidden=512"),
        ("hidden", "--size hidden: expected a whole number of at least 1"),
    ],
)
def test_sizes_that_are_none(run, size: str, said: str) -> None:
    given = "show", "gru", "--stage", "schedule", "--target", "gpu", "--size", size
    assert said in mistake(run(*given))
