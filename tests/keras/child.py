"""Tests that run in a process of their own, because Keras has one backend in a process."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

BACKENDS = ("torch", "jax", "tensorflow")
FOLDER = Path(__file__).parent


def on_each_backend(name: str) -> pytest.MarkDecorator:
    """Run a test on each backend, beside the others on that backend, which share a process."""
    params = [
        pytest.param(
            backend, marks=[pytest.mark.long, pytest.mark.xdist_group(f"keras on {backend}")]
        )
        for backend in BACKENDS
    ]
    return pytest.mark.parametrize(name, params)


@cache
def _process(backend: str) -> subprocess.Popen[str]:
    usual = {
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": backend,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(FOLDER), *sys.path]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    process = subprocess.Popen(
        [sys.executable, FOLDER / "parts.py"],
        env={**os.environ, **usual},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


def run_job(
    backend: str, folder: Path, arguments: list[str], **options: Any
) -> tuple[int, str, str]:
    """Run something with a backend of Keras; the test that asks is skipped if it is not installed.

    Args:
        backend: Its name.
        folder: Where to run.
        arguments: Those of the program, or of pytest.
        options: The program as `code`; further `variables`.

    Returns:
        The exit code, and what was printed on standard output and standard error.
    """
    missing = [name for name in ("keras", "matplotlib", backend) if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    process = _process(backend)
    assert process.stdin is not None
    assert process.stdout is not None
    job = {"folder": str(folder), "arguments": arguments, "variables": {}, **options}
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    code = int(process.stdout.readline())
    return code, *((folder / name).read_text() for name in ("stdout", "stderr"))


def run_pytest(
    backend: str, folder: Path, *arguments: str | Path, **variables: str
) -> tuple[int, str, str]:
    """Run pytest with a backend of Keras; nothing of the user's own settings is read."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    plugins = ["-p", "no:xdist", "-p", "no:cacheprovider", "--noconftest", "-c", "pytest.ini"]
    given = [*plugins, "--rootdir", ".", *map(str, arguments)]
    return run_job(backend, folder, given, variables=variables)
