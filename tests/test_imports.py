"""What importing loads, and what a missing library says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "keras", "pandas", "lightning", "tokenizers", "pyarrow", "matplotlib", "jinja2")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import anyrnn",
        "import anyrnn; anyrnn.get('lstm'); anyrnn.gradients",
        "import anyrnn.cli.main",
        "import anyrnn.cli.show, anyrnn.cli.cells",
    ],
)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    loaded = run(f"{statement}\nimport sys\nprint(*(m for m in {HEAVY} if m in sys.modules))")
    assert loaded == ""


def test_prediction_loads_nothing_that_only_training_needs(tmp_path: Path) -> None:
    names = ("caption", "classify", "command", "forecast", "generate", "tag")
    names += ("transcribe", "translate")
    tasks = ", ".join(f"anyrnn.tasks.{name}.task" for name in names)
    libraries = ("lightning", "torchmetrics", "matplotlib", "statsmodels", "scipy", "torch._dynamo")
    libraries += ("timm", "torchvision", "PIL")
    loaded = run(
        f"import anyrnn.tasks.trained, {tasks}, pathlib, sys\n"
        "from anyrnn.tasks.run_files import load_network, write_weights\n"
        "from anyrnn.tasks.tag.model import TagNetwork\n"
        "make = lambda: TagNetwork('gru', [1, 2], 5, 3)\n"
        f"path = pathlib.Path({str(tmp_path / 'weights')!r})\n"
        "write_weights(path, make())\n"
        "load_network(path, make)\n"
        f"print(*(m for m in {libraries} if m in sys.modules))"
    )
    assert loaded == ""


def test_a_torchvision_without_its_operators_is_imported(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "import torch\n"
        "for name in ('nms', 'qnms'):\n"
        "    if not hasattr(torch.ops.torchvision, name):\n"
        "        raise RuntimeError(f'operator torchvision::{name} does not exist')\n"
    )
    found = run(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)\n"
        "import anyrnn.tasks, torchvision\nprint(torchvision.__file__)"
    )
    file = tmp_path / "torchvision" / "__init__.py"
    assert found.splitlines() == ["operator torchvision::nms does not exist", str(file)]


def test_filters_of_warnings_import_no_lightning_in_other_processes() -> None:
    found = run(
        "import anyrnn.tasks.experiment, sys, warnings\n"
        "print('lightning' in sys.modules, *(each[2].__module__ for each in warnings.filters))"
    )
    there, *modules = found.split()
    assert there == "True"
    assert not any(module.startswith("lightning") for module in modules)


def test_the_core_needs_numpy_only() -> None:
    libraries = ("typer", "rich", "llvmlite", "scipy")
    loaded = run(f"import anyrnn, sys\nprint(*(m for m in {libraries} if m in sys.modules))")
    assert loaded == ""


@pytest.mark.parametrize(
    "statement",
    [
        "import anyrnn.torch",
        "import anyrnn; anyrnn.torch",
        "from anyrnn.torch import LSTM",
        "from anyrnn import torch",
    ],
)
def test_without_torch(statement: str) -> None:
    message = run(
        "import sys\nsys.modules['torch'] = None\nfrom anyrnn.errors import MissingExtraError\n"
        f"try:\n    {statement}\nexcept MissingExtraError as error:\n    print(error)"
    )
    assert message == (
        "anyrnn.torch needs 'torch', which is not installed; pip install 'anyrnn[torch]'"
    )


def test_the_package_lists_what_it_has() -> None:
    import anyrnn
    import anyrnn.torch

    for name in anyrnn.__all__:
        assert getattr(anyrnn, name) is not None
    for name in anyrnn.torch.__all__:
        assert getattr(anyrnn.torch, name) is not None
    with pytest.raises(AttributeError, match="module 'anyrnn' has no attribute 'nosuch'"):
        _ = anyrnn.nosuch
