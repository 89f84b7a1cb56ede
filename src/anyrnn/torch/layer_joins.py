"""How the outputs of a layer's directions become one, and are mixed with the layer's input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def merged(outputs: Sequence[Tensor], merge: str) -> Tensor:
    """The outputs of the directions of a layer as one."""
    if len(outputs) == 1:
        return outputs[0]
    forward, backward = outputs
    if merge == "concat":
        return torch.cat([forward, backward], dim=-1)
    if merge == "mul":
        return forward * backward
    return forward + backward if merge == "sum" else (forward + backward) / 2


def past(entering: Tensor, output: Tensor, highway: tuple[Tensor, Tensor] | None) -> Tensor:
    """The output of a layer, mixed with its input.

    Args:
        entering: The input.
        output: The output, as large.
        highway: The weight and the bias of the gate that mixes them; None for their sum.
    """
    if highway is None:
        return output + entering
    gate = torch.sigmoid(functional.linear(entering, *highway))
    return entering + gate * (output - entering)
