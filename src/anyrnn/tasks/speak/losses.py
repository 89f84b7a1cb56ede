"""What a network of speech learns from, and how it attends to a text."""

import torch
from torch.nn import functional

from anyrnn.tasks.networks.layers import step_mask

_SPREAD = 0.2  # g of Tachibana et al. 2018
_BAND = 0.15  # the share of a text to each side of its diagonal


def frame_error(frames: torch.Tensor, truth: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The mean absolute error of the bands of the frames that there are.

    Args:
        frames, truth: (batch, time, bands).
        counts: The number of frames of each row, (batch).
    """
    return _mean_over_steps((frames - truth).abs().mean(2), counts)


def stop_loss(stops: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of each step's answer whether it is the last one, in nats.

    Args:
        stops: The logits, (batch, steps).
        steps: The number of steps of each row, (batch).
    """
    last = functional.one_hot(steps - 1, stops.shape[1]).to(stops.dtype)
    losses = functional.binary_cross_entropy_with_logits(stops, last, reduction="none")
    return _mean_over_steps(losses, steps)


def distances(steps: torch.Tensor, characters: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """How far each step is from each character, in shares of the whole: n / N - t / T.

    Args:
        steps, characters: The numbers of steps T and characters N of each row, (batch).
        weights: The weights of attention, (batch, steps, characters).
    """
    time = torch.arange(weights.shape[1], device=weights.device) / steps[:, None]
    place = torch.arange(weights.shape[2], device=weights.device) / characters[:, None]
    return place[:, None] - time[:, :, None]


def guided_attention(
    weights: torch.Tensor, steps: torch.Tensor, characters: torch.Tensor
) -> torch.Tensor:
    """How much is attended to far from the diagonal, from 0 to 1: the weights of attention times
    1 - exp(-(n / N - t / T)² / 2g²), summed over the characters, averaged over the steps.

    Source: Tachibana, Uenoyama and Aihara 2018, arXiv 1710.08969, section 4, where both are
    averaged.

    Args:
        weights: (batch, steps, characters).
        steps, characters: Their numbers in each row, (batch).

    Example:
        >>> ends = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> counts = torch.tensor([2, 2])
        >>> [round(float(guided_attention(e[None], counts[:1], counts[:1])), 3) for e in ends]
        [0.0, 0.956]
    """
    far = 1 - torch.exp(-distances(steps, characters, weights).square() / (2 * _SPREAD**2))
    return _mean_over_steps((weights * far).sum(2), steps)


def diagonality(
    weights: torch.Tensor, steps: torch.Tensor, characters: torch.Tensor
) -> torch.Tensor:
    """The share of attention within 15 % of the text's length of the diagonal, from first character
    and first step to the last ones; evenly spread attention has 0.28.

    Args:
        weights: (batch, steps, characters).
        steps, characters: Their numbers in each row, (batch).
    """
    near = distances(steps, characters, weights).abs() <= _BAND
    return _mean_over_steps((weights * near).sum(2), steps)


def focus(weights: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The largest weight of a step, on average: 1 if each attends to a single character.

    Args:
        weights: (batch, steps, characters).
        steps: Their number in each row, (batch).
    """
    return _mean_over_steps(weights.amax(2), steps)


def _mean_over_steps(values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    mask = step_mask(steps, values.shape[1])
    return (values * mask).sum() / mask.sum()
