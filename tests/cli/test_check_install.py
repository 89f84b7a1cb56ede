"""`anyrnn check-install`."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from anyrnn.cli import check_install
from anyrnn.errors import KernelError


def test_says_what_is_there(run) -> None:
    code, out, error = run("check-install", "--json")
    assert (code, error) == (0, "")
    found = json.loads(out)
    assert found["libraries"]["core"]["numpy"]["there"] == metadata.version("numpy")
    assert found["libraries"]["torch"]["torch"]["there"] == metadata.version("torch")
    paths = {(each["cell"], each["type"]): each["path"] for each in found["paths"]}
    assert paths["lstm", "float32"].startswith("compiled: torch.float32 on this CPU")
    assert paths["lstm_peephole", "float64"].startswith("compiled")
    code, out, _ = run("check-install")
    assert code == 0
    assert found["machine"]["cpu"] in out
    assert "anyrnn works" in out


def test_says_how_to_get_what_is_missing_or_too_old(run, monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name == "tokenizers":
            raise metadata.PackageNotFoundError(name)
        return "1.0.3" if name == "lightning" else known(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    code, out, _ = run("check-install", "--json")
    assert code == 0
    assert json.loads(out)["problems"] == [
        "tasks: lightning 1.0.3 is older than 2.6, tokenizers is not installed; "
        "pip install --upgrade 'anyrnn[tasks]'",
        "keras: its back end abacus is not there; set KERAS_BACKEND=torch",
    ]


def test_a_machine_that_compiles_nothing(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("LLVM knows no such CPU")

    monkeypatch.setattr(check_install, "compile", refuse)
    code, out, _ = run("check-install")
    assert code == 1
    assert "kernels: LLVM knows no such CPU" in out
    assert "anyrnn does not work here" in out


def test_a_cache_that_cannot_be_used(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    code, out, _ = run("check-install", "--json")
    assert code == 0
    assert "is no folder" in json.loads(out)["cache"]["problem"]
