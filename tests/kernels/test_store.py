"""Compiled code on disk: found again, never loaded when damaged or foreign, never required."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from anyrnn.errors import CacheError, CacheWarning, KernelError
from anyrnn.kernels import store
from anyrnn.kernels.cpu.machine import engine
from anyrnn.kernels.cpu.machine.processor import host

KEY, OTHER = store.key("one"), store.key("other")
TESTS = Path(__file__).parents[1]
ENTER = "define void @{name}(ptr %out) {{ store i64 {number}, ptr %out\n ret void }}\n"


def module(number: int) -> str:
    """A kernel that writes a number."""
    return "".join(ENTER.format(name=name, number=number) for name in ("enter", "enter_alone"))


# a kernel that LLVM's passes make small
ADD = " %{old} = load i64, ptr %out\n %{new} = add i64 %{old}, 1\n store i64 %{new}, ptr %out\n"
ADDED = "".join(ADD.format(old=f"old{number}", new=f"new{number}") for number in range(5))
WASTEFUL = module(0).replace(" ret", ADDED + " ret")


def call(code: engine.Code) -> int:
    """The number that it writes."""
    out = ctypes.c_int64()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.enter)(ctypes.addressof(out))
    return out.value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, which does not exist yet."""
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "some" / "cache"))
    monkeypatch.setattr(store, "_told", set())
    monkeypatch.setattr(store, "PRUNE_EVERY", 1)
    return tmp_path / "some" / "cache"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that LLVM compiles."""
    texts: list[str] = []
    compile_ = engine._compile

    def spy(text, target):
        texts.append(text)
        return compile_(text, target)

    monkeypatch.setattr(engine, "_compile", spy)
    return texts


def test_what_is_saved_is_loaded(folder: Path) -> None:
    assert store.load(KEY) is None
    assert not folder.exists()
    store.save(KEY, b"code\n\0", "a label", "a target")
    assert store.load(KEY) == b"code\n\0"
    assert store.load(OTHER) is None
    (entry,) = store.entries()
    assert (entry.label, entry.target, entry.damaged) == ("a label", "a target", False)
    assert [path.stat().st_size for path in folder.iterdir()] == [entry.size]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_user_may_look_inside(folder: Path) -> None:
    old = os.umask(0)
    try:
        store.save(KEY, b"code", "", "")
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_keys_tell_where_a_part_ends() -> None:
    assert len({store.key("ab", "c"), store.key("a", "bc"), store.key("abc"), KEY}) == 4
    assert store.key("one") == KEY


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "/home/me/.cache/anyrnn"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/anyrnn"),
        ("linux", {"XDG_CACHE_HOME": "not/absolute"}, "/home/me/.cache/anyrnn"),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, "/home/me/Library/Caches/anyrnn"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/anyrnn"),
        ("linux", {"ANYRNN_CACHE": "~/here"}, "/home/me/here"),
        ("linux", {"ANYRNN_CACHE": ""}, None),
        ("linux", {"ANYRNN_CACHE": "OFF"}, None),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="other paths")
def test_where(platform, variables, expected, monkeypatch) -> None:
    for name in ("ANYRNN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert store.folder() == (expected and Path(expected))


def test_without_a_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.warns(CacheWarning, match="the home folder is not known; set ANYRNN_CACHE to "):
        assert store.load(KEY) is None
    store.save(KEY, b"code", "", "")  # a second warning would be an error


def test_turned_off(folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    monkeypatch.setenv("ANYRNN_CACHE", "off")
    for _ in range(2):
        assert call(engine.compile_text(module(1), host())) == 1
    assert len(compiled) == 2
    assert store.entries() == []
    assert store.clear() == (0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:5],
        lambda content: content[:40],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        lambda content: b"other code 1\n" + content,
        lambda content: bytes(len(content)),
    ],
)
def test_damaged_files_are_built_again(damage, folder: Path, compiled: list[str]) -> None:
    engine.compile_text(module(2), host())
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert store.load(path.stem) is None
    assert [entry.damaged for entry in store.entries()] == [True]
    assert call(engine.compile_text(module(2), host())) == 2
    assert len(compiled) == 2
    assert path.read_bytes() == whole
    assert call(engine.compile_text(module(2), host())) == 2
    assert len(compiled) == 2


def test_a_file_under_the_name_of_another_is_not_loaded(folder: Path) -> None:
    store.save(KEY, b"of another machine", "", "")
    (folder / f"{KEY}.code").rename(folder / f"{OTHER}.code")
    assert store.load(OTHER) is None
    store.save(OTHER, b"of this machine", "", "")
    assert store.load(OTHER) == b"of this machine"


def test_what_cannot_be_linked_is_built_again(folder: Path, compiled: list[str]) -> None:
    engine.compile_text(module(3), host())
    (path,) = folder.iterdir()
    store.save(path.stem, b"no object file", "", "")
    assert call(engine.compile_text(module(3), host())) == 3
    assert len(compiled) == 2
    assert call(engine.compile_text(module(3), host())) == 3
    assert len(compiled) == 2


def test_something_else_in_the_place_of_a_file(folder: Path, compiled: list[str]) -> None:
    engine.compile_text(module(4), host())
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    with pytest.warns(CacheWarning, match="compiled code is not kept on disk"):
        assert call(engine.compile_text(module(4), host())) == 4
    assert call(engine.compile_text(module(4), host())) == 4
    assert [p.name for p in folder.iterdir()] == [path.name]


def test_each_target_has_its_own(folder: Path, compiled: list[str]) -> None:
    best = host()
    plain = type(best)("plain", best.triple, "", "", 128, 16)
    for target in (best, plain, best, plain):
        assert call(engine.compile_text(module(5), target, "five")) == 5
    assert len(compiled) == 2
    found = {(entry.target, entry.label) for entry in store.entries()}
    assert found == {(best.name, "five"), ("plain", "five")}


def test_quick_code_has_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    sizes = []
    for value in ("off", "on", " OFF ", ""):
        monkeypatch.setenv("ANYRNN_OPTIMISE", value)
        assert call(engine.compile_text(WASTEFUL, host())) == 5
        sizes.append(max(entry.size for entry in store.entries()))
    monkeypatch.delenv("ANYRNN_OPTIMISE")
    assert call(engine.compile_text(WASTEFUL, host())) == 5
    assert len(compiled) == len(store.entries()) == 2
    small, large = sorted(entry.size for entry in store.entries())
    assert sizes == [large] * 4
    assert small < large


def others_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o770)


def another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)


def no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir()
    folder.write_text("")


def no_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.write_text("")


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)


def full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", source)

    monkeypatch.setattr(os, "replace", replace)


AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither modes nor users here")
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (others_write, "others than you may write to "),
        (another_user, "belongs to another user"),
        (no_folder, "is no folder"),
        (no_place, "cache: "),
        pytest.param(
            read_only,
            "Permission denied",
            marks=pytest.mark.skipif(AS_ROOT, reason="root may write everywhere"),
        ),
        (full, "No space left on device"),
    ],
)
def test_works_without_and_says_so_once(
    trouble, reason, folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    trouble(folder, monkeypatch)
    message = f"compiled code is not kept on disk: .*({reason}).*; set ANYRNN_CACHE to a folder of "
    with pytest.warns(CacheWarning, match=message) as told:
        assert call(engine.compile_text(module(6), host())) == 6
    assert len(told) == 1
    assert call(engine.compile_text(module(6), host())) == 6
    assert len(compiled) == 2
    assert not folder.is_dir() or list(folder.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("look", [store.entries, store.clear])
def test_a_refused_folder_is_told_to_who_asks(look, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(CacheError, match="may write to "):
        look()


def test_the_longest_unused_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [store.key(str(number)) for number in range(5)]
    for age, name in enumerate(keys[:4]):
        store.save(name, bytes(1000), "", "")
        used = time.time() - 1000 + age
        os.utime(folder / f"{name}.code", (used, used))
    assert store.load(keys[0]) is not None  # used now
    monkeypatch.setattr(store, "LIMIT", 4000)
    store.save(keys[4], bytes(1000), "", "")
    left = [name for name in keys if store.load(name) is not None]
    assert left == [keys[0], keys[3], keys[4]]


def test_the_first_file_of_a_process_and_one_of_many_make_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PRUNE_EVERY", 3)
    monkeypatch.setattr(store, "_saves", count())
    monkeypatch.setattr(store, "LIMIT", 0)
    left = []
    for number in range(7):
        store.save(store.key(str(number)), b"code", "", "")
        left.append(len(store.entries()))
    assert left == [0, 1, 2, 0, 1, 2, 0]


def test_only_what_is_ours_is_removed(folder: Path) -> None:
    store.save(KEY, b"code", "", "")
    theirs = {folder / "notes.code", folder / f"{KEY}.txt", folder / f"{KEY}.x.partial.old"}
    for path in theirs:
        path.write_text("theirs")
    abandoned, recent = (folder / f"{KEY}.{name}.partial" for name in ("old_0", "new_1"))
    for path in (abandoned, recent):
        path.write_text("half")
    os.utime(abandoned, (1, 1))
    store.save(OTHER, b"code", "", "")
    assert not abandoned.exists()
    assert recent.exists()
    count, size = store.clear()
    assert count == 3
    assert size > 8
    assert set(folder.iterdir()) == theirs
    assert store.entries() == []


def test_llvm_refuses(folder: Path) -> None:
    with pytest.raises(KernelError, match="LLVM refuses a kernel"):
        engine.compile_text("define nonsense", host())
    undefined = module(7).replace("store i64 7, ptr %out", "call void @nosuch_function()")
    with pytest.raises(KernelError, match="LLVM cannot link a kernel"):
        engine.compile_text("declare void @nosuch_function()\n" + undefined, host())


def test_threads_compile_once(folder: Path, compiled: list[str]) -> None:
    found: list[int] = []

    def work() -> None:
        found.append(call(engine.compile_text(module(8), host())))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [8] * 8
    assert len(compiled) == 1


def python(code: str, *arguments: str, **more: str) -> subprocess.Popen:
    """A fresh process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def printed(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert error == ""
    return out


SHARED = f"""
import sys
sys.path.insert(0, {str(TESTS / "kernels")!r})
import test_store
from anyrnn.kernels.cpu.machine import engine, processor
for number in range(20):
    print(test_store.call(engine.compile_text(test_store.module(number), processor.host())))
"""


def test_processes_share_the_folder(folder: Path) -> None:
    expected = "".join(f"{number}\n" for number in range(20))
    assert [printed(process) for process in [python(SHARED) for _ in range(3)]] == [expected] * 3
    assert len(store.entries()) == len(list(folder.iterdir())) == 20
    assert not any(entry.damaged for entry in store.entries())


RUNS = f"""
import hashlib, sys
sys.path.insert(0, {str(TESTS)!r})
if sys.argv[1] == "from disk":
    from anyrnn.kernels.cpu.machine import engine
    del engine._compile
import numpy as np
import anyrnn
import invented_cells
random, found = np.random.default_rng(0), hashlib.sha256()
for cell in ("lstm", "gru_reset_before", invented_cells.joined):
    made = anyrnn.compile(cell, {{"input": 5, "hidden": 7}}, dtype=float)
    shapes = {{part.name: part.shape_for(made.sizes) for part in made.cell.parameters}}
    weights = {{name: random.normal(size=shape) for name, shape in shapes.items()}}
    result = made.forward(random.normal(size=(3, 2, 5)), parameters=weights, save=True)
    gradients = result.backward(result.output)
    for array in (result.output, gradients.x, *gradients.parameters.values()):
        found.update(array.tobytes())
print(found.hexdigest())
"""


def test_a_fresh_process_compiles_nothing(folder: Path) -> None:
    first = printed(python(RUNS, "compiled"))
    files = set(folder.iterdir())
    assert printed(python(RUNS, "from disk")) == first
    assert set(folder.iterdir()) == files


FORKED = f"""
import os, sys, threading, time
sys.path.insert(0, {str(TESTS / "kernels")!r})
import test_store
from anyrnn.kernels.cpu.machine import engine, processor
ended = False
def work():
    number = 0
    while not ended:
        number += 1
        time.sleep(0.001)
        engine.compile_text(test_store.module(number), processor.host())
processor.host()  # LLVM is loaded by now
thread = threading.Thread(target=work)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        assert test_store.call(engine.compile_text(test_store.module(9), processor.host())) == 9
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
ended = True
thread.join()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_may_be_forked_while_a_thread_compiles() -> None:
    process = python(FORKED, ANYRNN_CACHE="off", PYTHONWARNINGS="ignore")
    assert printed(process) == "done\n"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs chown")
def test_code_of_another_user_is_never_loaded(folder: Path) -> None:
    store.save("0" * 40, b"code", "label", "target")
    (path,) = folder.glob("*.code")
    assert store.load("0" * 40) == b"code"
    os.chown(path, 12345, -1)
    assert store.load("0" * 40) is None
    store.save("0" * 40, b"again", "label", "target")
    assert store.load("0" * 40) == b"again"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have modes elsewhere")
def test_code_that_others_may_write_is_never_loaded(folder: Path) -> None:
    store.save("0" * 40, b"code", "label", "target")
    (path,) = folder.glob("*.code")
    path.chmod(0o666)
    assert store.load("0" * 40) is None
    assert [entry.damaged for entry in store.entries()] == [True]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have modes elsewhere")
def test_a_folder_that_others_may_write_is_to_be_cleared(folder: Path) -> None:
    store.save("0" * 40, b"code", "label", "target")
    folder.chmod(0o777)
    with pytest.raises(CacheError, match=r"chmod go-w forbids it; then anyrnn cache clear"):
        store.entries()
