"""`anyrnn check-install`: what is there, what is missing, and what layers do on this machine."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from anyrnn.cli.terminal import say, say_json, say_table
from anyrnn.errors import AnyrnnError, KernelError
from anyrnn.kernels import store
from anyrnn.kernels.compiled_cell import compile
from anyrnn.kernels.host import usual_threads
from anyrnn.kernels.target import default_target

_EXTRAS = ("torch", "keras", "tasks")
_BACKENDS = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow-cpu"}
_CELLS = ("lstm", "gru", "rnn", "lstm_peephole")
_TYPES = ("float32", "float64", "bfloat16", "float16")


def check_install(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say what is installed, what is missing and how to get it, and how layers compute here.

    The exit code is 0 if cells can be compiled and run, whatever extras are missing.
    """
    found = _found()
    if as_json:
        say_json(found, indent=2)
    else:
        _print(found)
    if not found["works"]:
        raise typer.Exit(1)


def _found() -> dict[str, Any]:
    """All findings, as JSON knows them."""
    libraries = _libraries()
    kernels, cache = _kernels(), _cache()
    keras = _keras(libraries["keras"])
    problems = [*_missing(libraries), *keras["problems"]]
    problems += [each["problem"] for each in (kernels, cache) if each["problem"]]
    return {
        "works": not kernels["problem"],
        "anyrnn": metadata.version("anyrnn"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": _machine(),
        "libraries": libraries,
        "keras_backends": keras["backends"],
        "paths": [] if kernels["problem"] else _paths(),
        "kernels": kernels,
        "cache": cache,
        "problems": problems,
    }


def _libraries() -> dict[str, dict[str, dict[str, str | None]]]:
    """What the package and each of its extras need: the version that is there, and the least."""
    found: dict[str, dict[str, dict[str, str | None]]] = {name: {} for name in ("core", *_EXTRAS)}
    for requirement in metadata.requires("anyrnn") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        group = extra[1] if extra else "core"
        if name and group in found and name[0] != "anyrnn":
            least = re.search(r">=([\d.]+)", requirement)
            found[group][name[0]] = {"there": _version(name[0]), "least": least and least[1]}
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _lacks(library: dict[str, str | None]) -> bool:
    there, least = library["there"], library["least"]
    return there is None or (least is not None and _numbers(there) < _numbers(least))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _missing(libraries: dict[str, Any]) -> Iterable[str]:
    for group, needed in libraries.items():
        lacking = [
            f"{name} {library['there']} is older than {library['least']}"
            if library["there"]
            else f"{name} is not installed"
            for name, library in needed.items()
            if _lacks(library)
        ]
        if lacking:
            package = "anyrnn" if group == "core" else f"anyrnn[{group}]"
            yield f"{group}: {', '.join(lacking)}; pip install --upgrade '{package}'"


def _keras(needed: dict[str, Any]) -> dict[str, Any]:
    """The back ends of Keras that are there, and whether the chosen one is."""
    backends = {
        name: next(filter(None, map(_version, dict.fromkeys((package, name)))), None)
        for name, package in _BACKENDS.items()
    }
    if any(map(_lacks, needed.values())):
        return {"backends": backends, "problems": []}
    chosen = os.environ.get("KERAS_BACKEND", "")
    if not chosen:
        home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
        try:
            chosen = json.loads((home / "keras.json").read_text())["backend"]
        except (OSError, ValueError, KeyError, TypeError):
            chosen = "tensorflow"
    problems = []
    if not backends.get(chosen):
        there = [name for name, version in backends.items() if version]
        advice = f"set KERAS_BACKEND={there[0]}" if there else "pip install 'anyrnn[torch]'"
        problems = [f"keras: its back end {chosen} is not there; {advice}"]
    return {"backends": backends, "problems": problems}


def _machine() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        kind = default_target().name
    except KernelError:
        kind = platform.machine()
    found = {"cpu": kind, "cores": cores, "threads": usual_threads(), "gpus": []}
    if _version("torch"):
        import torch

        found["threads"] = torch.get_num_threads()
        found["gpus"] = [
            torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())
        ]
    return found


def _kernels() -> dict[str, Any]:
    """Compile a cell anew, whatever lies on disk, and run it."""
    import numpy as np

    start = time.perf_counter()
    problem = ""
    try:
        with _no_store():
            cell = compile("rnn", {"input": 2, "hidden": 3})
            weights = {"W": np.ones((3, 2)), "U": np.zeros((3, 3)), "b": np.zeros(3)}
            output = cell.forward(
                np.ones((1, 1, 2), np.float32),
                parameters={name: each.astype(np.float32) for name, each in weights.items()},
            ).output
        if not np.allclose(output, np.tanh(2.0), atol=1e-5):
            problem = f"kernels: tanh(2) came out as {float(output.flat[0])}; please report it"
    except AnyrnnError as error:
        problem = f"kernels: {error}"
    return {"problem": problem, "seconds": round(time.perf_counter() - start, 3)}


@contextmanager
def _no_store() -> Iterator[None]:
    before = os.environ.get(store.VARIABLE)
    os.environ[store.VARIABLE] = "off"
    try:
        yield
    finally:
        del os.environ[store.VARIABLE]
        if before is not None:
            os.environ[store.VARIABLE] = before


def _cache() -> dict[str, Any]:
    """Where compiled code is kept, and whether it can be."""
    try:
        folder = store.folder()
        if folder is None:
            return {"folder": None, "problem": ""}
        store.entries()
    except AnyrnnError as error:
        return {"folder": None, "problem": f"cache: {error}"}
    place = folder
    while not place.exists():
        place = place.parent
    problem = ""
    if not os.access(place, os.W_OK | os.X_OK):
        problem = (
            f"cache: no permission to write in {place}, so every process compiles anew; "
            f"set {store.VARIABLE} to a folder of your own"
        )
    return {"folder": str(folder), "problem": problem}


def _paths() -> list[dict[str, str]]:
    """Which path a layer of each cell takes, for each type and device, and why."""
    from anyrnn.cells.catalogue import get

    rows = []
    if not _version("torch"):
        for cell in _CELLS:
            for kind in _TYPES[:2]:
                refused = default_target().refusal(get(cell), kind)
                path = f"operations: {refused}" if refused else f"compiled: {kind} on this CPU"
                rows.append({"cell": cell, "type": kind, "device": "cpu", "path": path})
        return rows
    import torch

    from anyrnn.torch import Recurrent

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        for cell in _CELLS:
            for kind in _TYPES:
                layer = Recurrent(cell, 2, 2, dtype=getattr(torch, kind), device=device)
                rows.append({"cell": cell, "type": kind, "device": device, "path": str(layer.path)})
    return rows


def _print(found: dict[str, Any]) -> None:
    machine = found["machine"]
    say(f"anyrnn {found['anyrnn']}, Python {found['python']}, {found['platform']}")
    gpus = ", ".join(machine["gpus"]) or "none that torch sees"
    cpu = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads"
    say(f"CPU: {cpu}; GPU: {gpus}")
    if not found["kernels"]["problem"]:
        say(f"kernels: compile and run ({found['kernels']['seconds']:.1f} s for a first one)")
    folder = found["cache"]["folder"]
    if not found["cache"]["problem"]:
        say(f"cache: {folder or f'turned off by {store.VARIABLE}'}")
    say()
    rows = [
        (group, name, library["there"] or "missing", library["least"] or "")
        for group, needed in found["libraries"].items()
        for name, library in needed.items()
    ]
    rows += [
        ("keras' back ends", name, version or "missing", "")
        for name, version in found["keras_backends"].items()
    ]
    say_table(("for", "library", "version", "at least"), rows)
    if found["paths"]:
        say()
        columns = ("cell", "type", "device", "path")
        say_table(columns, [tuple(each[name] for name in columns) for each in found["paths"]])
    say()
    for problem in found["problems"]:
        say(problem, "bold")
    if found["works"]:
        say("anyrnn works" + (", but for what is listed above" if found["problems"] else ""))
    else:
        say("anyrnn does not work here", "bold")
