"""The catalogue: what it says of each cell is true, and nothing is imported before it is needed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import anyrnn
from anyrnn.cells import catalogue
from anyrnn.cells.catalogue import CATALOGUE, Catalogue, Recurrence
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph
from anyrnn.graph.roles import Role, matrices
from checks import make_case

FAMILIES = dict.fromkeys(record.family for record in CATALOGUE.records.values())


def test_every_cell_of_a_family_has_a_record() -> None:
    for family in FAMILIES:
        module = importlib.import_module(f"anyrnn.cells.{family}")
        made = [value for value in vars(module).values() if isinstance(value, Cell)]
        names = [name for name, record in CATALOGUE.records.items() if record.family == family]
        assert [cell.name for cell in made] == names
    files = {path.stem for path in Path(catalogue.__file__).parent.glob("*.py")}
    assert files == {"__init__", "catalogue", *FAMILIES}


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_docstring_has_the_same_source(name: str) -> None:
    record, text = CATALOGUE.records[name], " ".join(CATALOGUE[name].documentation.split())
    assert record.summary
    if record.source.year:
        assert record.source.authors.split(",")[0].split(" ")[0] in text
        assert str(record.source.year) in text
    if record.source.reference.startswith("arXiv"):
        assert record.source.reference.split(", CIFG")[0] in text


def is_linear(cell: Cell) -> bool:
    """Whether new states are affine in the old ones; a state that only keeps what follows from the
    input is an input of the next step.
    """
    outputs = cell.graph.outputs
    kept = {name for name in cell.states if not Graph({"": outputs[name]}).leaves("state")}
    case = make_case(cell, 5, time=1, batch=2)

    def after(*states: np.ndarray) -> np.ndarray:
        last = anyrnn.interpret(cell, case.x, states, parameters=case.parameters).states
        return np.concatenate(last, axis=-1)

    def some(factor: float) -> list[np.ndarray]:
        named = zip(cell.states, case.states, strict=True)
        return [state if name in kept else factor * state for name, state in named]

    middle = (after(*some(0.0)) + after(*some(2.0))) / 2
    return np.allclose(after(*some(1.0)), middle)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_class_of_recurrence_follows_from_the_equations(name: str) -> None:
    cell = CATALOGUE[name]
    dense = bool(matrices(cell, Role.RECURRENT, Role.PROJECTION))
    other = Recurrence.LINEAR if is_linear(cell) else Recurrence.DIAGONAL
    assert CATALOGUE.records[name].recurrence == (Recurrence.DENSE if dense else other)


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def test_importing_traces_no_cell() -> None:
    listed = "print(*sorted(m for m in sys.modules if m.startswith('anyrnn.cells.')))"
    assert run(f"import sys, anyrnn; {listed}") == "anyrnn.cells.catalogue"
    code = f"import sys, anyrnn; 'gru' in anyrnn.CATALOGUE; anyrnn.get('gru'); {listed}"
    assert run(code) == "anyrnn.cells.catalogue anyrnn.cells.gru"


def test_families_are_modules_of_the_package() -> None:
    assert run("import anyrnn; print(anyrnn.cells.lstm.lstm.name)") == "lstm"
    with pytest.raises(AttributeError, match=r"module 'anyrnn\.cells' has no attribute 'nosuch'"):
        _ = anyrnn.cells.nosuch


def test_of_a_hundred_cells_one_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "hundred"
    package.mkdir()
    (package / "__init__.py").write_text("", "utf-8")
    lines = []
    for number in range(100):
        row = {"summary": f"cell {number}", "recurrence": "dense", "authors": "A", "year": 2000}
        lines.append(f"[family{number}.cell{number}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in row.items()]
        lines.append('reference = "B"')
        source = (
            "import anyrnn\n\n@anyrnn.cell\n"
            f"def cell{number}(x, h, *, W, U):\n    return anyrnn.tanh(W @ x + U @ h)\n"
        )
        (package / f"family{number}.py").write_text(source, "utf-8")
    (tmp_path / "hundred.toml").write_text("\n".join(lines), "utf-8")
    many = Catalogue(tmp_path / "hundred.toml", "hundred")
    assert len(many) == 100
    assert many.records["cell7"].summary == "cell 7"
    assert "cell99" in many
    assert many.get("cell100") is None
    assert not [name for name in sys.modules if name.startswith("hundred")]
    assert many["cell57"].name == "cell57"
    assert [name for name in sys.modules if name.startswith("hundred.")] == ["hundred.family57"]
    assert many["cell57"] is many["cell57"]
