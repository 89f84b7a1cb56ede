"""One vector for a sequence, from the outputs of a recurrent layer over time."""

import torch

from anyrnn.tasks.networks.layers import step_mask
from anyrnn.tasks.options.common_options import Pooling


def pooled(
    output: torch.Tensor, lengths: torch.Tensor, pool: Pooling, *, bidirectional: bool
) -> torch.Tensor:
    """The last output of each direction, the mean, or the largest value of each unit.

    Args:
        output: (batch, time, features).
        lengths: The number of steps of each sequence, at least 1, (batch).
        pool: Which of them.
        bidirectional: Whether the second half of the features comes from a layer that ran
            backwards, which ends at the first step.

    Returns:
        (batch, features).

    Example:
        >>> output = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> pooled(output, torch.tensor([2]), "mean", bidirectional=False)
        tensor([[2.]])
    """
    if pool == "last":
        rows = torch.arange(len(lengths), device=output.device)
        last = output[rows, lengths - 1]
        if not bidirectional:
            return last
        half = output.shape[-1] // 2
        return torch.cat([last[:, :half], output[:, 0, half:]], dim=1)
    present = step_mask(lengths, output.shape[1])[..., None]
    if pool == "mean":
        return (output * present).sum(1) / lengths[:, None]
    return output.masked_fill(~present, -torch.inf).amax(1)
