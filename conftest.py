"""Run the examples of the documents and of the docstrings as tests.

In a Markdown file a `python` block is executed, and an `output` block after it must be what it
printed. A `console` block must be what its commands, after `$`, print; its decimal fractions may be
others, since they are measured. `...` stands for anything. The blocks of a file share their names
and are one test, because each builds on those before it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest
from sybil import Document, Example, Sybil
from sybil.document import PythonDocStringDocument
from sybil.evaluators.python import PythonEvaluator
from sybil.example import SybilFailure
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.rest import DocTestParser

os.environ.setdefault("ANYRNN_VERIFY", "1")  # every pass verifies what it makes
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # idle threads of NumPy's products spin

ROOT = Path(__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TERMINAL = {"COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb"}

run_python = PythonEvaluator()
os.environ.setdefault("KERAS_BACKEND", "torch")


def _differences(wanted: str, printed: str, measured: bool = False) -> str:
    """Nothing where they agree, else both; how wide a space is does not matter."""
    texts = wanted, printed
    if measured:
        texts = [re.sub(r"─+", "─", re.sub(r"\d+\.\d+", "0.0", text)) for text in texts]
    if doctest.OutputChecker().check_output(*texts, FLAGS):
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
    for part in ("\n" + example.parsed).split("\n$ ")[1:]:
        command, _, wanted = part.partition("\n")
        different = _differences(wanted, _run(shlex.split(command)), measured=True)
        if different:
            return f"$ {command}\n{different}"
    return ""


def _run(arguments: list[str]) -> str:
    """What a command of ours prints; in this process, which has torch loaded already."""
    from anyrnn.cli.main import main

    assert arguments[0] == "anyrnn", "a console block holds commands of anyrnn"
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        contextlib.suppress(SystemExit),
        mock.patch.dict(os.environ, TERMINAL),
        mock.patch.object(sys, "argv", arguments),
    ):
        main()
    return printed.getvalue()


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

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str:
        """What differs; or the traceback from the document's own line on."""
        if isinstance(excinfo.value, SybilFailure):
            return str(excinfo.value)
        frame = trace = excinfo.tb
        while frame is not None and frame.tb_frame.f_code.co_filename != self.document.path:
            frame = frame.tb_next
        return "".join(traceback.format_exception(excinfo.type, excinfo.value, frame or trace))

    def reportinfo(self) -> tuple[Path, int, str]:
        """The file."""
        return self.path, 0, f"examples of {self.path.relative_to(ROOT)}"


class ExampleFile(pytest.File):
    """A file with examples."""

    def collect(self) -> Iterable[pytest.Item]:
        """One test, if there is any example."""
        document = (MARKDOWN if self.path.suffix == ".md" else DOCSTRINGS).parse(self.path)
        if next(iter(document.examples()), None) is not None:
            yield Examples.from_parent(self, name="examples", document=document)


def pytest_configure(config: pytest.Config) -> None:
    """The processes of a test run, and the next run, share a store of compiled code, which is not
    the user's: its keys are hashes of the code. Signals that a shell's `&` or nohup has ignored
    are handled again: tests of interruptions send them.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    if hasattr(config, "cache"):
        os.environ["ANYRNN_CACHE"] = str(config.cache.mkdir("compiled-code"))
    else:  # with -p no:cacheprovider nothing is kept
        folder = tempfile.TemporaryDirectory(prefix="compiled-code-")
        config.add_cleanup(folder.cleanup)
        os.environ["ANYRNN_CACHE"] = folder.name


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The documents, and the modules of the package; `tests/test_documents.py` says that Chinese
    pages have the examples of the English ones.
    """
    in_package = file_path.suffix == ".py" and (ROOT / "src") in file_path.parents
    is_document = file_path.suffix == ".md" and not file_path.name.endswith(".zh-CN.md")
    if is_document or in_package:
        return ExampleFile.from_parent(parent, path=file_path)
    return None
