"""Measure rows: check everybody's numbers, then take the time of all in turns."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import BFLOAT16, COUNTED, INT8, NORM, PLAIN, SUBNORMAL, Arrays, Case
from benchmarks.conditions import Conditions, cores
from benchmarks.load import busy_cores
from benchmarks.peers import BASELINES, PEERS
from benchmarks.worker import PeerError, Worker

TOLERANCE = 2e-4  # of the largest number of an array
# with options that make more of rounding: norms divide by what may be small
TOLERANCES = {BFLOAT16: 0.05, INT8: 0.1, NORM: 1e-3}
SMALLEST = float(np.finfo(np.float32).tiny)  # that is not subnormal; a library may say 0 instead
LOOK = 0.5  # seconds of looking, before each row, at what else the machine does
NOISE = 0.2  # likewise, of the size of what is random
CALLS = 2  # a worker tells the results of its second call
LIBRARIES = "torch", "jax", "keras", "tensorflow-cpu", "onnxruntime", "numpy", "llvmlite"
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How long things may take.

    Attributes:
        seconds: The time of each peer in each row, over all rounds; up to three times that where
            a call takes long.
        rounds: How often the peers take turns.
        limit: The seconds after which making a peer ready is given up.
    """

    seconds: float = 0.3
    rounds: int = 5
    limit: float = 90.0


def difference(
    results: Mapping[str, np.ndarray],
    reference: Arrays,
    tolerance: float = TOLERANCE,
    smallest: float = 0.0,
) -> str | None:
    """What is wrong with results, or nothing.

    Args:
        results: By name.
        reference: The right ones.
        tolerance: Of the largest number of an array.
        smallest: By as much any number may be wrong.
    """
    for name, right in reference.items():
        found = results[name]
        if found.shape != right.shape:
            return f"{name} has the shape {found.shape}, not {right.shape}"
        wrong, largest = np.abs(found - right).max(), np.abs(right).max() or 1
        if not wrong <= max(tolerance * largest, smallest):  # so that NaN is wrong, too
            return f"{name} is wrong by {wrong / largest:.1g} of its largest number"
    return None


def unlike(results: Mapping[str, np.ndarray], reference: Arrays, plain: Arrays) -> str | None:
    """What is wrong with random results, or nothing: each differs from what it were without
    randomness, by as much as the reference does, the root of the mean square.

    Args:
        results: By name.
        reference: Right ones, with other random numbers.
        plain: What is not random.
    """
    for name, right in reference.items():
        found = results[name]
        if found.shape != right.shape:
            return f"{name} has the shape {found.shape}, not {right.shape}"
        theirs, wanted = (np.square(v - plain[name]).mean() ** 0.5 for v in (found, right))
        large = name in ("output", "x", "kernel")  # the others are too small for a moment
        if not (abs(theirs / wanted - 1) <= NOISE if large else np.isfinite(theirs)):
            return f"what is random in {name} has the size {theirs:.2g}, not {wanted:.2g}"
    return None


def measure(case: Case, workers: Mapping[str, Worker], options: Options) -> Row:
    """One row.

    Args:
        case: What to run.
        workers: The processes of the peers by name.
        options: How long.

    Returns:
        The row as it is written to the file: for each peer the quartiles in milliseconds, the
        number of calls and the memory, or what went wrong.
    """
    data = case.data()
    reference = case.reference(data, CALLS)
    random = case.is_random
    plain = replace(case, option=PLAIN).reference(data, CALLS) if random else {}
    peers: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}

    for name in (name for name in workers if PEERS[name].takes(case)):
        try:
            results, memory = workers[name].prepare(case, data, options.limit)
            wrong = None
            if name not in BASELINES and random:
                wrong = unlike(results, reference, plain)
            elif name not in BASELINES:
                tolerance = TOLERANCES.get(case.option, TOLERANCE)
                rows = case.shape[0] * case.shape[1]  # that a gradient is a sum over
                smallest = SMALLEST * rows if case.option == SUBNORMAL else 0.0
                wrong = difference(results, reference, tolerance, smallest)
            if wrong:
                workers[name].finish()
                raise PeerError(wrong)
            peers[name], times[name] = {"memory": memory}, []
        except PeerError as error:
            peers[name] = {"error": str(error)}
    for turn in range(options.rounds):
        order = [name for name in times if sum(times[name]) < 3 * options.seconds]
        for name in order[turn:] + order[:turn]:
            try:
                times[name] += workers[name].time(options.seconds / options.rounds)
            except PeerError as error:
                peers[name] = {"error": str(error)}
                del times[name]
    for name, seconds in times.items():
        workers[name].finish()
        quartiles = [float(f"{1e3 * q:.4g}") for q in np.quantile(seconds, (0.25, 0.5, 0.75))]
        peers[name] |= {"quartiles": quartiles, "calls": len(seconds)}
    row = {"cell": case.cell, "option": case.option, "shape": list(case.shape), "mode": case.mode}
    counts = data.marks if case.option in COUNTED else None
    real = 1.0 if counts is None else float(counts.mean())
    return {**row, "real": real, "operations": round(case.operations * real), "peers": peers}


def estimate(cases: Iterable[Case], names: Iterable[str], options: Options) -> float:
    """About the seconds that measuring will take."""
    names = list(names)
    total = 3.0 * len(names)  # to load the libraries
    for case in cases:
        training = case.mode == "training"
        total += case.operations / (15e9 if training else 100e9)  # the reference
        call = case.operations / 80e9 + case.shape[1] * (4e-4 if training else 1e-4)
        taking = [PEERS[name] for name in names if PEERS[name].takes(case)]
        timed = 2 * call + max(options.seconds, min(options.rounds * call, 3 * options.seconds))
        total += sum(peer.seconds + timed for peer in taking)
    return total


def machine(names: Iterable[str]) -> dict[str, Any]:
    """What the numbers depend on besides the code.

    Args:
        names: The peers.
    """
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    missing = {name: PEERS[name].missing for name in names if PEERS[name].missing}
    return {
        "date": date.today().isoformat(),
        "cpu": models[0] if models else platform.machine(),
        "cores": cores(),
        "versions": versions,
        "missing": missing,
    }


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a file as a whole, with a line for each row."""
    rows = ",\n".join(map(json.dumps, document["rows"]))
    head = json.dumps({key: value for key, value in document.items() if key != "rows"})
    part = path.with_suffix(".part")
    part.write_text(f'{head[:-1]},\n"rows": [\n{rows}\n]}}\n')
    os.replace(part, path)


def run(
    cases: Iterable[Case],
    names: Iterable[str],
    conditions: Sequence[Conditions],
    options: Options,
    document: dict[str, Any],
    path: Path | None,
) -> Iterator[None]:
    """Measure cases, and write a file after each.

    Args:
        cases: What to run; those that have a row already are passed over.
        names: The peers.
        conditions: How they are run: a row for each.
        options: How long.
        document: What the file holds, with its rows, to which new ones are added.
        path: The file, if any.

    Yields:
        Nothing, after each row.
    """
    rows = document["rows"]
    done = {
        (row["cell"], tuple(row["shape"]), row["mode"], row.get("option", ""), row["threads"])
        for row in rows
    }
    workers = {each: {name: Worker(name, each) for name in names} for each in conditions}
    try:
        for case, each in product(cases, conditions):
            key = case.cell, case.shape, case.mode, case.option, each.threads
            if key not in done:
                load = busy_cores(LOOK)
                row = measure(case, workers[each], options)
                rows.append({**row, "threads": each.threads, "load": load})
                if path:
                    write(path, document)
            yield
    finally:
        for worker in (worker for of in workers.values() for worker in of.values()):
            worker.stop()
