"""Install the wheel in an empty environment, and use it there as its users would.

`make try-wheel EXTRAS="torch keras"` builds it first; without extras the core is tried. Everything
runs outside of the clone, so that what works is what the wheel holds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CELL = """
import anyrnn, numpy as np
from anyrnn import sigmoid, tanh

@anyrnn.cell
def my_cell(x, h, *, W, U, b):
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    return (1 - z) * h + z * tanh(W.n @ x + U.n @ h + b.n)
"""
CORE = """
compiled = anyrnn.compile(my_cell, {"input": 3, "hidden": 5}, dtype="float64")
draw = np.random.default_rng(0).standard_normal
weights = {p.name: draw(p.shape_for(compiled.sizes)) for p in my_cell.parameters}
x = draw((7, 2, 3))
wanted = anyrnn.interpret(my_cell, x, parameters=weights).output
assert np.allclose(compiled.forward(x, parameters=weights).output, wanted)
"""
LACKING = """
for face in {lacking}:
    try:
        getattr(anyrnn, face)
    except anyrnn.AnyrnnError as error:
        assert f"anyrnn[{{face}}]" in str(error), error
    else:
        raise SystemExit(f"{{face}} is there without its extra")
"""
TORCH = """
import torch
layer = anyrnn.torch.Recurrent(my_cell, input_size=3, hidden_size=5)
layer(torch.randn(7, 2, 3))[0].sum().backward()
assert layer.path.name == "compiled", layer.path
"""
KERAS = """
import keras
from anyrnn.keras import LSTM
model = keras.Sequential([LSTM(5), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(draw((8, 7, 3)), draw((8, 1)), verbose=0)
assert str(model.layers[0].compute_path).startswith("compiled"), model.layers[0].compute_path
model.save("model.keras")
keras.saving.load_model("model.keras")
"""
COMMANDS = ("--help", "cells", "show gru --stage schedule", "cache")
TASKS = {
    "tasks": (
        "train classify --data surnames.csv --text surname --label language --cell gru --epochs 1 "
        "--output run",
        "evaluate run --data surnames.csv",
        "predict run Satoshi",
    ),
    "speech": (
        "train command --data {examples}/commands/recordings --sample-rate 8000 --epochs 1 "
        "--output words",
        "listen words {examples}/commands/dialogue.ogg",
    ),
    "pictures": (
        "train caption --data {examples}/shapes/captions.csv --picture picture --caption caption "
        "--folder {examples}/shapes/pictures --picture-size 64 --epochs 1 --output shapes",
        "predict shapes {examples}/shapes/pictures/000.png",
    ),
}


def main() -> None:
    """Try the wheel in `dist`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", help="torch, keras, tasks, speech, pictures")
    extras = parser.parse_args().extras
    (wheel,) = (ROOT / "dist").glob("anyrnn-*.whl")
    with tempfile.TemporaryDirectory(prefix="anyrnn-wheel-") as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / ("Scripts" if os.name == "nt" else "bin")
        wanted = [f"anyrnn[{','.join(extras)}] @ {wheel.as_uri()}"]
        if extras == ["keras"]:
            wanted.append("torch")  # a backend
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        _run(folder, programs / "python", "-m", "pip", "install", "--quiet", *constraints, *wanted)
        _run(folder, programs / "python", "-c", _program(extras))
        for command in COMMANDS:
            _run(folder, programs / "anyrnn", *command.split())
        if "tasks" in extras:
            table = (ROOT / "examples" / "surnames" / "surnames.csv").read_text("utf-8")
            lines = table.splitlines(keepends=True)
            Path(folder, "surnames.csv").write_text("".join([lines[0], *lines[1::20]]), "utf-8")
        for extra in extras:
            for command in TASKS.get(extra, ()):
                words = command.format(examples=ROOT / "examples").split()
                _run(folder, programs / "anyrnn", *words)
    print(f"{wheel.name}: works with {', '.join(extras) or 'the core only'}")


def _program(extras: list[str]) -> str:
    there = {"torch": {"torch", "keras", *TASKS}, "keras": {"keras"}}
    lacking = [face for face, of in there.items() if not of & set(extras)]
    parts = [CELL, CORE, LACKING.format(lacking=lacking)]
    parts += [TORCH] if "torch" not in lacking else []
    parts += [KERAS] if "keras" in extras else []
    return "".join(parts)


def _run(folder: str, *command: str | Path) -> None:
    shown = " ".join(map(str, command[1:]))
    print(f"$ {Path(command[0]).name} {shown if len(shown) < 200 else '-c ...'}", flush=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ANYRNN"))}
    environment |= {"KERAS_BACKEND": "torch", "ANYRNN_CACHE": folder + "/cache", "COLUMNS": "100"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nexit code {done.returncode}")


if __name__ == "__main__":
    main()
