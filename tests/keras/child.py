"""Tests that run in a process of their own, because Keras has one backend in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BACKENDS = ("torch", "jax", "tensorflow")


def run_pytest(
    backend: str, folder: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest with a backend of Keras; the test that asks is skipped if it is not installed.

    Args:
        backend: Its name.
        folder: Where to run; nothing of the user's own settings is read.
        arguments: Those of pytest.
        environment: Further variables.
    """
    missing = [name for name in ("keras", backend) if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    (folder / "pytest.ini").write_text("[pytest]\n")
    usual = {
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": backend,
        "KERAS_HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    plugins = (
        "-p",
        "alone",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "-c",
        "pytest.ini",
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "--rootdir", ".", *arguments],
        cwd=folder,
        env={**os.environ, **usual, **environment},
        capture_output=True,
        text=True,
    )
