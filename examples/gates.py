"""See what a cell of one's own has learned: its gate over time, by name.

The cell of the README reads a signal in which some values are marked, and has to hold the last
marked one. After a few seconds of training its gate `z` opens at the marks and nearly nowhere
else, which nobody told it. Writes a picture: python examples/gates.py gates.png
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

import anyrnn
from anyrnn import sigmoid, tanh


@anyrnn.cell
def my_cell(x, h, *, W, U, b):
    """A gate between the old state and a candidate."""
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    return (1 - z) * h + z * tanh(W.n @ x + U.n @ h + b.n)


def sequences(count: int, time: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Signals with marks, (time, count, 2), and the last marked value, (time, count, 1)."""
    signal, marks = torch.rand(time, count) * 2 - 1, torch.rand(time, count) < 0.08
    marks[0] = True
    latest = torch.where(marks, torch.arange(time)[:, None], 0).cummax(0).values
    return torch.stack([signal, marks.float()], -1), signal.gather(0, latest)[..., None]


def trained(steps: int, units: int = 8) -> tuple[anyrnn.torch.Recurrent, torch.nn.Linear]:
    """A layer of the cell and its read-out."""
    layer, dense = anyrnn.torch.Recurrent(my_cell, 2, units), torch.nn.Linear(units, 1)
    with torch.no_grad():
        layer.b_l0[:units] = -2.0  # b.z: the gate starts nearly closed
    parameters = [*layer.parameters(), *dense.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x, target = sequences(64)
        loss = (dense(layer(x)[0]) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
    print(f"mean square error {loss.item():.4f}; of zero always: 0.3333")
    return layer, dense


def draw(layer: anyrnn.torch.Recurrent, dense: torch.nn.Linear, path: str) -> None:
    """The signal, what the network says, and the gate of every unit."""
    x, target = sequences(1)
    with torch.no_grad():
        output = dense(layer(x)[0])[:, 0, 0].numpy()
        gate = layer.inspect(x)["z"][:, 0].T.numpy()
    (signal, marks), held, time = x[:, 0].T.numpy(), target[:, 0, 0].numpy(), range(len(x))
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8, 3.8), sharex=True, layout="constrained", height_ratios=(3, 2)
    )
    above.plot(time, signal, ".", color="0.75", label="signal")
    above.step(time, held, where="post", color="0.5", lw=3, alpha=0.5, label="to hold")
    above.step(time, output, where="post", color="tab:blue", label="held")
    above.plot(marks.nonzero()[0], signal[marks > 0], "o", color="tab:red", label="marked")
    above.set(ylim=(-1.1, 1.1), ylabel="value")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    image = below.imshow(gate, aspect="auto", cmap="Blues", vmin=0, interpolation="nearest")
    below.set(xlabel="step", ylabel="unit", yticks=[])
    figure.colorbar(image, ax=below, label="gate z", pad=0.01, aspect=8)
    figure.savefig(path, dpi=110)


def main(path: str = "gates.png", steps: str = "500") -> None:
    """Train, and write the picture."""
    torch.manual_seed(0)
    draw(*trained(int(steps)), path)


if __name__ == "__main__":
    main(*sys.argv[1:])
