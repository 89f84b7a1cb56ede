"""The curve of a run beside the same network's on torch.nn: python -m benchmarks.curves RUN.

The training of a run is repeated from its options and its seed: the same data, batches, first
weights and masks of dropout. Only the recurrent layers are those of torch.nn. The files that the
options name are looked for in the folder in which the command runs.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from anyrnn.cli.terminal import say, say_table
from anyrnn.errors import AnyrnnError
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_mapping, replaced
from anyrnn.tasks.registry import entry_of_run
from anyrnn.tasks.run_files import CONFIG, read_json
from anyrnn.torch import Recurrent
from benchmarks.cases import STANDARD
from benchmarks.peers.torch_trainings import TorchLayers
from benchmarks.trainings import replace_layers

LOSSES = ("training_loss", "validation_loss")
Curve = list[dict[str, float]]


class InOurOrder(TorchLayers):
    """Layers of torch.nn whose outputs lie in memory as ours do: masks of dropout are drawn so."""

    def forward(
        self, input: Tensor, state: Any = None, lengths: Tensor | None = None, **marks: Any
    ) -> tuple[Tensor, Any]:
        """As our layers."""
        output, state = super().forward(input, state, lengths, **marks)
        if lengths is not None and bool((lengths < input.shape[1]).any()):
            return output.contiguous(), state
        return output.transpose(0, 1).contiguous().transpose(0, 1), state


def on_torch(ours: Recurrent) -> TorchLayers:
    """Layers of torch.nn in the place of ours; no random number is drawn for them."""
    if ours.cell.name not in STANDARD or ours.dropout:
        raise AnyrnnError(
            f"the cell {ours.cell.name} with dropout {ours.dropout} between layers is not in "
            f"torch.nn, or draws other masks there; compared are {', '.join(STANDARD)} without it"
        )
    with torch.random.fork_rng():
        return InOurOrder(ours)


def curves(run: Path) -> tuple[Curve, Curve]:
    """The losses and the seconds of each epoch: those of the run, and of its training on torch.nn.

    Args:
        run: The run folder; of several cells and seeds the best cell and the first seed count.

    Raises:
        AnyrnnError: It is no run, or torch.nn lacks what its layers do.
    """
    entry, config = entry_of_run(run), read_json(run / CONFIG)
    cell = config["best_cell"]
    options: Any = from_mapping(entry.options, config["options"])
    options = replaced(options, cells=(cell,), training=replaced(options.training, seeds=1))
    with (run / "history.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["cell"] == cell]
    seed = str(options.training.seed)
    ours = [
        {name: float(row[name]) for name in (*LOSSES, "seconds")}
        for row in rows
        if row["seed"] == seed
    ]
    network = entry.task.network

    def replacement(task: Any, cell: str) -> torch.nn.Module:
        return replace_layers(network(task, cell), on_torch)

    with TemporaryDirectory() as folder, patch.object(entry.task, "network", replacement):
        trained = train(options, Path(folder) / "run").best.best_trial
    theirs = [{**epoch.figures, "seconds": epoch.seconds} for epoch in trained.epochs]
    return ours, theirs


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser("python -m benchmarks.curves", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder of anyrnn train")
    ours, theirs = curves(parser.parse_args().run)
    pairs = [*zip(ours, theirs, strict=False)]  # one of them may have stopped earlier
    titles = [name.replace("_", " ") for name in LOSSES]
    columns = [title for each in (*titles, "seconds") for title in (each, "on torch.nn")]
    say_table(
        ["epoch", *columns],
        [
            [
                str(number),
                *(f"{each[name]:.5f}" for name in LOSSES for each in pair),
                *(f"{each['seconds']:.1f}" for each in pair),
            ]
            for number, pair in enumerate(pairs, start=1)
        ],
        right=["epoch", *columns],
    )
    largest = max(abs(one[name] - other[name]) for one, other in pairs for name in LOSSES)
    seconds = [sum(each["seconds"] for each in curve[: len(pairs)]) for curve in (ours, theirs)]
    say(
        f"{len(ours)} and {len(theirs)} epochs; losses differ by {largest:.5f} at most; "
        f"torch.nn took {seconds[1] / seconds[0]:.2f} times as long"
    )


if __name__ == "__main__":
    main()
