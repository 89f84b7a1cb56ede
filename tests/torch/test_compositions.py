"""Layers with options drawn at random, against the interpreter, layer by layer, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import anyrnn
from anyrnn.torch import Recurrent
from anyrnn.torch.execute import forced
from anyrnn.torch.layer_part import LayerPart
from anyrnn.transforms.outputs import values
from checks import close

CELLS = ("lstm", "gru", "lstm_peephole", "gru_reset_before", "rnn", "lstm_coupled")
Draw = Any


def draw_layer(draw: Draw) -> tuple[Recurrent, dict[str, Any]]:
    count, bidirectional = draw(st.integers(1, 3)), draw(st.booleans())
    sizes = [draw(st.sampled_from([2, 4, 4])) for _ in range(count)]

    def cell() -> Any:
        name = st.sampled_from(CELLS)
        pair = bidirectional and draw(st.booleans())
        return (draw(name), draw(name)) if pair else draw(name)

    options: dict[str, Any] = {
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "learn_initial_state": draw(st.booleans()),
        "memory": draw(st.sampled_from(["high", "low"])),
        "clip_state": draw(st.sampled_from([None, 0.4])),
        "norm": draw(st.sampled_from([None, "layer", "rms"])),
    }
    if bidirectional:
        options["merge"] = draw(st.sampled_from(["concat", "sum", "mul", "mean"]))
    input_size = draw(st.sampled_from([3, 4]))
    width = 2 if bidirectional and options["merge"] == "concat" else 1
    entering = [input_size, *(size * width for size in sizes)]
    if any(a == b * width for a, b in zip(entering, sizes, strict=False)):
        way = draw(st.sampled_from(["residual", "highway", None]))
        options |= {way: True} if way else {}
    cells = draw(st.sampled_from([cell(), [cell() for _ in range(count)]]))
    layer = Recurrent(
        cells, input_size, sizes, bidirectional=bidirectional, **options, dtype=torch.float64
    )
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.6)
    return layer, options


def weights(layer: Recurrent, part: LayerPart) -> dict[str, np.ndarray]:
    return {name: getattr(layer, own).detach().numpy() for name, own in part.names.items()}


def expected(
    layer: Recurrent, options: dict[str, Any], x: np.ndarray
) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
    """The output for one sequence, (time, 1, size), and the states of each part at every step."""
    structure, histories = layer._structure, []
    assert structure is not None
    merges = {
        "concat": lambda *parts: np.concatenate(parts, axis=-1),
        "sum": lambda a, b: a + b,
        "mul": lambda a, b: a * b,
        "mean": lambda a, b: (a + b) / 2,
    }
    for place, parts in enumerate(structure.layers):
        outputs = []
        for part in parts:
            turn = -1 if part.direction else 1
            state = None
            if options["learn_initial_state"]:
                state = [getattr(layer, n).detach().numpy()[None] for n in part.initial_names]
            result = anyrnn.interpret(part.cell, x[::turn], state, parameters=weights(layer, part))
            outputs.append(result.output[::turn])
            histories.append(tuple(history[1:][::turn] for history in result.history))
        new = outputs[0] if len(outputs) == 1 else merges[options["merge"]](*outputs)
        if new.shape == x.shape and options.get("residual"):
            new = new + x
        elif new.shape == x.shape and options.get("highway"):
            weight = getattr(layer, f"highway_weight_l{place}").detach().numpy()
            bias = getattr(layer, f"highway_bias_l{place}").detach().numpy()
            gate = 1 / (1 + np.exp(-(x @ weight.T + bias)))
            new = gate * new + (1 - gate) * x
        x = new
    return x, histories


def flat(state: Any) -> list[torch.Tensor]:
    """The states of each part, (1, batch, size) or (1, time, batch, size), part after part."""
    if isinstance(state, torch.Tensor):
        return [state]
    return [tensor for part in state for tensor in flat(part)]


@settings(max_examples=50)
@given(data=st.data())
def test_compositions_are_the_interpreters(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 999), "seed"))
    layer, options = draw_layer(data.draw)
    batch = data.draw(st.integers(1, 3))
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=batch, max_size=batch))
    x = torch.randn(4, batch, layer.input_size, dtype=torch.float64)
    turned = x.transpose(0, 1) if layer.batch_first else x
    parts = layer._structure.parts  # type: ignore[union-attr]
    with forced("operations"), torch.no_grad():
        output, last = layer(turned, lengths=lengths)
        again, every = layer(turned, lengths=lengths, return_states="all")
        inside = layer.inspect(turned, lengths=lengths)
        torch.testing.assert_close(again, output, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer(turned, lengths=lengths)[1], last)
    wanted_names = {name for part in parts for name in values(part.cell)}
    assert {name.split("_l")[0] for name in inside} == wanted_names
    rows = output.transpose(0, 1) if layer.batch_first else output
    for row, length in enumerate(lengths):
        wanted, histories = expected(layer, options, x[:length, row : row + 1].numpy())
        close(rows[:length, row : row + 1], wanted, 1e-10)
        assert not rows[length:, row].any()
        for part, history in zip(parts, histories, strict=True):
            for name, states in zip(part.cell.states, history, strict=True):
                found = inside[name + part.suffix * (len(parts) > 1)]
                found = found.transpose(0, 1) if layer.batch_first else found
                close(found[:length, row : row + 1], states, 1e-10)
    # the same numbers, in the form of the states
    numbers = sorted(
        float(states[0 if part.direction else -1].sum())
        for row, length in enumerate(lengths)
        for part, history in zip(
            parts, expected(layer, options, x[:length, row : row + 1].numpy())[1], strict=True
        )
        for states in history
    )
    found = sorted(float(v) for tensor in flat(last) for v in tensor.sum(-1).flatten())
    np.testing.assert_allclose(found, numbers, atol=1e-10)
    assert len(flat(every)) == len(flat(last))
