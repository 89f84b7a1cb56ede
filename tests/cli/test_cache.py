"""`anyrnn cache`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from anyrnn.kernels import store

KEYS = [store.key(name) for name in ("one", "two")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that does not exist yet."""
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_there(run, folder: Path) -> None:
    assert run("cache") == (0, f"{folder}: 0 files, 0 KiB of at most 256 MiB\n", "")
    assert run("cache", "--clear") == (0, f"removed 0 files, 0 KiB from {folder}\n", "")
    assert not folder.exists()


def test_lists_the_last_used_first(run, folder: Path) -> None:
    store.save(KEYS[0], bytes(3 << 10), "[one]", "avx2")
    store.save(KEYS[1], bytes(2 << 20), "two", "neon")
    os.utime(folder / f"{KEYS[1]}.code", (0, 0))
    code, out, error = run("cache")
    assert (code, error) == (0, "")
    first, head, one, two = (line.rstrip() for line in out.splitlines())
    assert first == f"{folder}: 2 files, 2 MiB of at most 256 MiB"
    assert head.split() == ["code", "target", "size", "last", "use"]
    assert re.fullmatch(r"\[one\] +avx2 +3 KiB +\d{4}-\d\d-\d\d \d\d:\d\d", one)
    assert re.fullmatch(r"two +neon +2 MiB +(1970-01-01|1969-12-31) \d\d:\d\d", two)


def test_tells_what_is_damaged(run, folder: Path) -> None:
    store.save(KEYS[0], b"code", "one", "avx2")
    (folder / f"{KEYS[0]}.code").write_bytes(b"")
    assert "damaged; built again when needed" in run("cache")[1]


def test_clear_removes_what_is_ours(run, folder: Path) -> None:
    store.save(KEYS[0], bytes(3 << 10), "one", "avx2")
    (folder / "notes.txt").write_text("mine")
    assert run("cache", "--clear") == (0, f"removed 1 file, 3 KiB from {folder}\n", "")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("value", ["", "off"])
def test_turned_off(value: str, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRNN_CACHE", value)
    for arguments in (["cache"], ["cache", "--clear"]):
        code, out, error = run(*arguments)
        assert (code, error) == (0, "")
        assert out == "compiled code is not kept on disk: turned off by ANYRNN_CACHE\n"


@pytest.mark.parametrize("arguments", [["cache"], ["cache", "--clear"]])
def test_a_folder_that_cannot_be_used(arguments: list[str], run, folder: Path) -> None:
    folder.write_text("a file")
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert error == (
        f"anyrnn: error: compiled code is not kept on disk: {folder} is no folder; "
        "set ANYRNN_CACHE to a folder of your own, or to 'off'\n"
    )


def test_help(run) -> None:
    code, out, _ = run("cache", "--help")
    assert code == 0
    assert "ANYRNN_CACHE" in out
