"""Time our layers beside those of torch.nn, in one process and in alternating order.

    python benchmarks/layers.py [--output results.json] [--quick]

The numbers are checked before anything is timed. A row has the medians in milliseconds of torch.nn,
of our layer on the path that it takes by itself, and of our layer in torch operations, and the
ratio of torch.nn's time to ours: above 1 we are faster.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import anyrnn.torch
from anyrnn.kernels.cpu.target import host
from anyrnn.torch.execute import forced

SHAPES = [  # batch, time, input, hidden
    (1, 1, 128, 128),
    (1, 100, 128, 128),
    (1, 100, 512, 512),
    (8, 200, 256, 256),
    (32, 100, 128, 128),
    (32, 100, 512, 512),
    (64, 50, 256, 256),
    (128, 28, 28, 128),
    (256, 100, 64, 64),
    (33, 101, 97, 203),
]
Run = Callable[[], object]


def inference(layer: torch.nn.Module, x: torch.Tensor) -> Run:
    """A call that keeps nothing for a derivative."""

    def run() -> object:
        with torch.inference_mode():
            return layer(x)

    return run


def training(layer: torch.nn.Module, x: torch.Tensor) -> Run:
    """A call and the gradients of input and parameters."""

    def run() -> object:
        layer.zero_grad()
        x.grad = None
        output, _ = layer(x)
        output.backward(torch.ones_like(output))
        return x.grad

    return run


def check(ours: torch.nn.Module, theirs: torch.nn.Module, x: torch.Tensor) -> None:
    """Raise unless outputs and all gradients agree."""
    results = []
    for layer in (ours, theirs):
        gradient = training(layer, x)()
        results.append([layer(x)[0], gradient, *(p.grad for p in layer.parameters())])
    for mine, other in zip(*results, strict=True):
        scale = other.detach().abs().max() + 1e-6
        torch.testing.assert_close(mine / scale, other / scale, atol=2e-4, rtol=0)


def medians(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """Milliseconds of each run, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(values) for name, values in times.items()}


def on_path(path: str, run: Run) -> Run:
    """The same run on one of our paths."""

    def forced_run() -> object:
        with forced(path):
            return run()

    return forced_run


def main() -> None:
    """Time everything, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/layers.json"))
    parser.add_argument("--quick", action="store_true", help="a second for each row, not three")
    options = parser.parse_args()
    cases = [
        (n, s, m) for n in ("LSTM", "GRU", "RNN") for s in SHAPES for m in (inference, training)
    ]
    rows = []
    for name, shape, mode in track(cases, "timing", transient=True):
        batch, steps, inputs, hidden = shape
        torch.manual_seed(0)
        theirs = getattr(torch.nn, name)(inputs, hidden)
        ours = getattr(anyrnn.torch, name)(inputs, hidden)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(steps, batch, inputs, requires_grad=mode is training)
        check(ours, theirs, x.detach().requires_grad_())
        runs = {
            "torch.nn": mode(theirs, x),
            "ours": mode(ours, x),
            "operations": on_path("operations", mode(ours, x)),
        }
        found = medians(runs, 1 if options.quick else 3)
        rows.append({"layer": name, "shape": shape, "mode": mode.__name__, **found})
    report(rows)
    machine = {"cpu": host().cpu, "target": host().name, "threads": torch.get_num_threads()}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    text = json.dumps({"machine": machine, "versions": versions, "rows": rows}, indent=1)
    options.output.write_text(text + "\n")


def report(rows: list[dict]) -> None:
    """Print a table of ratios and their geometric means."""
    table = Table("layer", "batch, time, input, hidden", "mode", header_style="bold")
    for column in ("torch.nn ms", "ours ms", "operations ms", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        shape = ", ".join(map(str, row["shape"]))
        ratio = row["torch.nn"] / row["ours"]
        numbers = [f"{row[name]:.3g}" for name in ("torch.nn", "ours", "operations")]
        table.add_row(row["layer"], shape, row["mode"], *numbers, f"{ratio:.2f}")
    console = Console()
    console.print(table)
    for name in ("LSTM", "GRU", "RNN"):
        for mode in ("inference", "training"):
            own = [r for r in rows if r["layer"] == name and r["mode"] == mode]
            ratios = [r["torch.nn"] / r["ours"] for r in own if r["shape"][1] > 1]
            middle = geometric_mean(ratios)
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            console.print(f"{name}, {mode}, more than one step: {middle:.2f} ({spread})")


if __name__ == "__main__":
    main()
