"""Run the examples of the documents and of the docstrings as tests.

In a Markdown file a `python` block is executed, and an `output` block after it must be what it
printed. A `console` block must be what its commands print, line by line as typed after `$`. `...`
stands for anything. The blocks of a file share their names and are one test, because each builds on
those before it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from sybil import Document, Example, Sybil
from sybil.document import PythonDocStringDocument
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.rest import DocTestParser

ROOT = Path(__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WIDTH = "88"  # of the terminal that commands print to

run_python = PythonEvaluator()


def _differences(wanted: str, printed: str) -> str:
    """Nothing where they agree, else both; spaces count only where there are some."""
    if doctest.OutputChecker().check_output(wanted, printed, FLAGS):
        return ""
    return f"Expected:\n{wanted}\nPrinted:\n{printed}"


def _python(example: Example) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_python(example)
    example.namespace["_printed"] = printed.getvalue()


def _output(example: Example) -> str:
    return _differences(example.parsed, example.namespace.get("_printed", ""))


def _console(example: Example) -> str:
    environment = {**os.environ, "COLUMNS": WIDTH, "NO_COLOR": "1", "TERM": "dumb"}
    programs = Path(sys.executable).parent
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    for part in ("\n" + example.parsed).split("\n$ ")[1:]:
        command, _, wanted = part.partition("\n")
        done = subprocess.run(
            shlex.split(command),
            capture_output=True,
            encoding="utf-8",
            env=environment,
            check=False,
        )
        different = _differences(wanted, done.stdout + done.stderr)
        if different:
            return f"$ {command}\n{different}"
    return ""


MARKDOWN = Sybil(
    [
        CodeBlockParser("python", _python),
        CodeBlockParser("output", _output),
        CodeBlockParser("console", _console),
    ],
    document_types={".md": Document},
)
DOCSTRINGS = Sybil(
    [DocTestParser(optionflags=FLAGS)], document_types={".py": PythonDocStringDocument}
)


class Examples(pytest.Item):
    """The examples of one file, in their order, in a folder of their own."""

    def __init__(self, *, document: Document, **options: object) -> None:
        super().__init__(**options)
        self.document = document

    def runtest(self) -> None:
        """Run every example; the first that fails ends the test."""
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            Path("examples").symlink_to(ROOT / "examples")
            for example in self.document.examples():
                example.evaluate()


class ExampleFile(pytest.File):
    """A file with examples."""

    def collect(self) -> Iterable[pytest.Item]:
        """One test, if there is any example."""
        document = (MARKDOWN if self.path.suffix == ".md" else DOCSTRINGS).parse(self.path)
        if next(iter(document.examples()), None) is not None:
            yield Examples.from_parent(self, name="examples", document=document)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The documents, and the modules of the package."""
    in_package = file_path.suffix == ".py" and (ROOT / "src") in file_path.parents
    if file_path.suffix == ".md" or in_package:
        return ExampleFile.from_parent(parent, path=file_path)
    return None
