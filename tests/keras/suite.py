"""A plugin of pytest: Keras' own tests, with our layers in the place of Keras'.

`pytest -p suite --report FILE --pyargs keras.src.layers.rnn.lstm_test` writes what each test did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from keras.src import layers

import anyrnn.keras
from anyrnn.keras.compiled_layer import CompiledLayer
from anyrnn.kernels.cpu.program.program import Program

NAMES = ("SimpleRNN", "LSTM", "GRU", "RNN")
CELLS = ("SimpleRNNCell", "LSTMCell", "GRUCell")


class Suite:
    """What the tests of a session did.

    Args:
        path: The file to write at its end.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.runs = path, 0
        self.tests: dict[str, dict[str, Any]] = {}

    def count_runs(self) -> None:
        """Count the runs of compiled kernels."""
        suite, run = self, Program.run

        def counted(self: Program, *arguments: Any, **options: Any) -> Any:
            suite.runs += 1
            return run(self, *arguments, **options)

        Program.run = counted

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[Any]:
        """Note what a test did."""
        report: pytest.TestReport = yield
        if report.when == "call" or not report.passed:
            name = f"{item.path.stem}.{item.name}"
            told = {"outcome": report.outcome, "said": report.longreprtext, "runs": self.runs}
            self.tests[name], self.runs = told, 0
        return report

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        replaced = [name for name in NAMES if issubclass(getattr(layers, name), CompiledLayer)]
        told = {"backend": keras.config.backend(), "replaced": replaced, "tests": self.tests}
        self.path.write_text(json.dumps(told))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to write."""
    parser.addoption("--report", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Before any test is collected."""
    for module in (layers, keras.layers):
        for name in (*NAMES, *CELLS):
            setattr(module, name, getattr(anyrnn.keras, name))
    suite = Suite(config.getoption("--report"))
    suite.count_runs()
    config.pluginmanager.register(suite)
