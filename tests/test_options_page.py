"""The reference page of options is what the declarations say, in both languages."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from anyrnn.cli.main import app
from anyrnn.cli.options import LazyCommand

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("options_page", DOCS / "options_page.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(generator: ModuleType) -> None:
    for name, text in generator.pages().items():
        found = (DOCS / name).read_text(encoding="utf-8")
        assert found == text, f"{name}: run python docs/options_page.py"


def test_every_text_has_its_chinese(generator: ModuleType) -> None:
    words = yaml.safe_load(generator.CHINESE.read_text(encoding="utf-8"))["words"]
    assert words.keys() == generator.words()


def test_every_command_on_a_run_is_there(generator: ModuleType) -> None:
    commands = {each.name for each in app.registered_commands if each.cls is LazyCommand}
    headings = [line for line in generator.pages()["options.md"].split("\n") if line[:3] == "## "]
    for command in commands - {"evaluate"}:  # its options are among those of the training
        assert any(f"anyrnn {command}" in heading for heading in headings), command
