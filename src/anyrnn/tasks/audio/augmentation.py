"""Recordings changed in training, so that a network hears none of them twice."""

import torch

from anyrnn.tasks.audio.options import AugmentationOptions

_RANGE = 30  # decibels: how much weaker than the strongest noise the weakest is


class Augmentation:
    """Speed, time shift and noise of waveforms, masks on features (SpecAugment).

    All random numbers are torch's own, which follow from the seed of the training.

    Args:
        options: How much of each.
        rate: The samples a second.

    Source:
        Park et al. 2019, "SpecAugment", section 2: masks of time and of frequency.
    """

    def __init__(self, options: AugmentationOptions, rate: int) -> None:
        self.options = options
        self._rate = rate

    def waveforms(
        self, waveforms: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The recordings at another speed, moved in time, with noise, and their lengths.

        Args:
            waveforms: Samples, padded with 0, (batch, samples).
            lengths: The number of samples of each, (batch).
        """
        if self.options.speed:
            waveforms, lengths = at_other_speeds(waveforms, lengths, self.options.speed)
        steps = torch.arange(waveforms.shape[1], device=waveforms.device)
        there = steps < lengths[:, None]
        if self.options.time_shift:
            most = round(self.options.time_shift * self._rate)
            shift = torch.randint(-most, most + 1, (len(lengths), 1), device=waveforms.device)
            origin = steps - shift
            inside = there & (origin >= 0) & (origin < lengths[:, None])
            waveforms = waveforms.gather(1, origin.clamp(0, len(steps) - 1)) * inside
        if self.options.noise is not None:
            below = self.options.noise + _RANGE * _uniform(lengths)
            power = waveforms.square().sum(1, keepdim=True) / lengths[:, None]
            deviation = (power * 10 ** (-below / 10)).sqrt()
            waveforms = waveforms + deviation * torch.randn_like(waveforms) * there
        return waveforms, lengths

    def features(self, features: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Features with stretches of time and ranges of frequencies set to 0, which is the mean.

        Args:
            features: Normalised ones, (batch, frames, bands).
            counts: The number of frames of each recording, (batch).
        """
        options, (_, frames, bands) = self.options, features.shape
        widest = options.time_mask_share * counts[:, None]
        for _ in range(options.time_masks):
            features = features * _outside(frames, counts[:, None], widest)[..., None]
        every, widest = torch.full_like(counts[:, None], bands), options.frequency_mask_bands
        for _ in range(options.frequency_masks):
            features = features * _outside(bands, every, every.clamp_max(widest))[:, None]
        return features


def at_other_speeds(
    waveforms: torch.Tensor, lengths: torch.Tensor, most: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Recordings played faster or slower, and so higher or lower, as by other speakers.

    Between two samples stands the cubic of Catmull and Rom.

    Args:
        waveforms: Samples, padded with 0, (batch, samples).
        lengths: The number of samples of each, (batch).
        most: By which share the speed changes at most.

    Returns:
        The same of the changed recordings.

    Source:
        Ko et al. 2015, "Audio augmentation for speech recognition": speed perturbation.
    """
    speed = 1 + most * (2 * _uniform(lengths) - 1)
    changed = (lengths[:, None] / speed).long().clamp_min(1)
    steps = torch.arange(int(changed.max()), device=waveforms.device)
    places = steps * speed
    first, last = places.long(), waveforms.shape[1] - 1
    a, b, c, d = (waveforms.gather(1, (first + k).clamp(0, last)) for k in (-1, 0, 1, 2))
    x = places - first
    cubic = ((3 * (b - c) + d - a) * x + 2 * a - 5 * b + 4 * c - d) * x + c - a
    return (b + cubic * x / 2) * (steps < changed), changed[:, 0]


def _uniform(lengths: torch.Tensor) -> torch.Tensor:
    """A random number from 0 to 1 for each row, (batch, 1)."""
    return torch.rand(len(lengths), 1, device=lengths.device)


def _outside(size: int, counts: torch.Tensor, widest: torch.Tensor) -> torch.Tensor:
    """Where no mask lies: its width, then its place, are drawn evenly, (batch, size)."""
    width = (_uniform(counts) * (widest + 1)).floor().minimum(counts)
    start = (_uniform(counts) * (counts - width + 1)).floor()
    steps = torch.arange(size, device=counts.device)
    return (steps < start) | (steps >= start + width)
