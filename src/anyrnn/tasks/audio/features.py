"""What a network hears: log-mel energies or cepstral coefficients (MFCC) of frames of sound.

Frame t describes the window around the time t x hop, with silence before and after the recording,
as librosa's `center=True, pad_mode="constant"`. So a recording of n samples has 1 + n // hop
frames, whatever it is padded to.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import nn

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.audio.options import SoundOptions
from anyrnn.tasks.data.prepared import advanced
from anyrnn.tasks.extras import library
from anyrnn.tasks.networks.layers import step_mask

FLOOR = 1e-10
"""The smallest energy, of which the logarithm is taken in the place of smaller ones."""

_LEAST_DEVIATION = 1e-3  # of a band that says something: others are not blown up


class Features(nn.Module):
    """Waveforms to features, batched.

    Args:
        options: Rate, window, hop, bands, kind, normalisation.
        scales: The mean and the deviation of each band that "training" normalises by, as
            `measured` gives them; without them nothing is normalised by these.

    Attributes:
        hop: The number of samples from one frame to the next.
        window: The window, (window samples).
        fft_size: The number of samples of a Fourier transform, a power of 2.
        filters: The filter bank of librosa, (bands, fft_size / 2 + 1): energies of frequencies to
            energies of bands.
        size: The number of features of a frame.

    Raises:
        OptionError: The options do not fit each other.
        MissingExtraError: The extra "speech" is not installed.

    Example:
        >>> features = Features(SoundOptions(sample_rate=8000, mels=20))
        >>> frames, counts = features(torch.randn(2, 8000), torch.tensor([8000, 400]))
        >>> frames.shape, counts.tolist()
        (torch.Size([2, 101, 20]), [101, 6])
    """

    window: torch.Tensor
    filters: torch.Tensor
    cosines: torch.Tensor
    means: torch.Tensor
    deviations: torch.Tensor

    def __init__(
        self, options: SoundOptions, scales: tuple[Sequence[float], Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        self.options = options
        length = max(1, round(options.window * options.sample_rate))
        self.hop = max(1, round(options.hop * options.sample_rate))
        self.fft_size = max(2, 1 << (length - 1).bit_length())
        if self.hop > length:
            raise OptionError(
                f"{option_name('hop')} is {options.hop}, longer than {option_name('window')}, "
                f"{options.window}: sound between two windows would not be heard"
            )
        mfcc = options.features == "mfcc"
        if mfcc and options.coefficients > options.mels:
            raise OptionError(
                f"{option_name('coefficients')} is {options.coefficients}, but "
                f"{option_name('mels')} is {options.mels}; there can be no more of them"
            )
        self.size = options.coefficients if mfcc else options.mels
        means, deviations = scales or ([0.0] * self.size, [1.0] * self.size)
        buffers = {
            "window": torch.hann_window(length),
            "filters": _filters(options, self.fft_size),
            "cosines": _cosines(options.mels)[:, : self.size] if mfcc else torch.empty(0),
            "means": torch.tensor(means),
            "deviations": torch.tensor(deviations),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.float(), persistent=False)

    def frames(self, lengths: torch.Tensor) -> torch.Tensor:
        """The number of frames of recordings of some numbers of samples."""
        return 1 + lengths // self.hop

    def forward(
        self, waveforms: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The features of recordings.

        Args:
            waveforms: Samples, padded with 0, (batch, samples).
            lengths: The number of samples of each, (batch).

        Returns:
            The features, 0 behind the end of a recording, (batch, frames, size); and the number of
            frames of each recording, (batch).
        """
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            return self._normalised(self.described(self.energies(waveforms)), lengths)

    def energies(self, waveforms: torch.Tensor, center: bool = True) -> torch.Tensor:
        """The energy of each frequency, (batch, frames, fft_size / 2 + 1).

        Args:
            waveforms: (batch, samples).
            center: Whether silence is added at both ends, as for whole recordings.
        """
        spectrum = torch.stft(
            waveforms.float(),
            self.fft_size,
            self.hop,
            len(self.window),
            self.window,
            center=center,
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum.abs().square().mT

    def described(self, energies: torch.Tensor) -> torch.Tensor:
        """Features that are not normalised of energies, (batch, frames, size)."""
        logarithms = (energies @ self.filters.T).clamp_min(FLOOR).log()
        return logarithms @ self.cosines if self.cosines.numel() else logarithms

    def _normalised(
        self, features: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        counts = self.frames(lengths)
        there = step_mask(counts, features.shape[1])[..., None]
        if self.options.normalisation == "recording":
            number = counts[:, None, None]
            centred = features - (features * there).sum(1, keepdim=True) / number
            variance = (centred.square() * there).sum(1, keepdim=True) / number
            scaled = centred / variance.sqrt().clamp_min(_LEAST_DEVIATION)
        else:
            scaled = self.scaled(features)
        return scaled * there, counts

    def scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Features as mean and deviation of the training scale them, (..., size)."""
        return (features - self.means) / self.deviations

    def unscaled(self, features: torch.Tensor) -> torch.Tensor:
        """The inverse of `scaled`."""
        return features * self.deviations + self.means

    def measured(self, waveforms: Sequence[Any]) -> tuple[list[float], list[float]]:
        """The mean and the deviation that features of a training are scaled by: those of each
        feature over all frames, or 0 and 1 if the training does not decide.

        Args:
            waveforms: The samples of each recording of the training.
        """
        if self.options.normalisation != "training":
            return [0.0] * self.size, [1.0] * self.size
        count, sums = 0, torch.zeros(2, self.size, dtype=torch.float64)
        with torch.no_grad():
            for number, samples in enumerate(waveforms, start=1):
                found = self.described(self.energies(torch.as_tensor(samples)[None]))[0].double()
                count += len(found)
                sums += torch.stack([found.sum(0), found.square().sum(0)])
                advanced("measuring features", number, len(waveforms))
        mean, square = sums / count
        deviation = (square - mean.square()).clamp_min(_LEAST_DEVIATION**2).sqrt()
        return mean.tolist(), deviation.tolist()

    def seconds(self, frames: int) -> float:
        """The time from a frame to the one that comes so many later."""
        return frames * self.hop / self.options.sample_rate

    def stream(self, multiple: int = 1) -> "FeatureStream":
        """What makes the frames of a recording that comes in pieces.

        Args:
            multiple: How many frames belong together: before the end there are whole multiples.

        Raises:
            OptionError: Each recording is normalised by its own mean, which its end decides.
        """
        if self.options.normalisation == "recording":
            raise OptionError(
                f"{option_name('normalisation', 'recording')} needs the whole recording, which a "
                f"stream has not; train with {option_name('normalisation', 'training')}"
            )
        silence = self.window.new_zeros(1, self.fft_size // 2)
        return FeatureStream(self, silence, multiple)


@dataclass
class FeatureStream:
    """Frames of a recording that comes in pieces, the same as those of the whole.

    Example:
        >>> features = Features(SoundOptions(sample_rate=8000, mels=20))
        >>> stream = features.stream()
        >>> [stream.push(torch.randn(1, 100)).shape[1] for _ in range(4)], stream.finish().shape[1]
        ([0, 1, 2, 1], 2)
    """

    features: Features
    _rest: torch.Tensor
    _multiple: int

    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """The frames that are complete with some more samples.

        Args:
            samples: (1, samples).

        Returns:
            (1, frames, size), perhaps without a frame.
        """
        return self._complete(samples, self._multiple)

    def finish(self) -> torch.Tensor:
        """The last frames, those that reach beyond the end, too, (1, frames, size)."""
        return self._complete(self._rest.new_zeros(1, self.features.fft_size // 2), 1)

    def _complete(self, samples: torch.Tensor, multiple: int) -> torch.Tensor:
        features, hop = self.features, self.features.hop
        rest = torch.cat([self._rest, samples], 1)
        count = max(0, 1 + (rest.shape[1] - features.fft_size) // hop)
        count -= count % multiple
        self._rest = rest[:, count * hop :]
        if not count:
            return rest.new_empty(1, 0, features.size)
        whole = rest[:, : (count - 1) * hop + features.fft_size]
        with torch.no_grad():
            return features.scaled(features.described(features.energies(whole, center=False)))


def _filters(options: SoundOptions, fft_size: int) -> torch.Tensor:
    """The filter bank of the mel scale, each filter with the area 1 (Slaney)."""
    filters = library("librosa.filters", "speech")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty filters, which are refused below
        bank = filters.mel(sr=options.sample_rate, n_fft=fft_size, n_mels=options.mels)
    empty = int((bank.max(1) == 0).sum())
    if empty:
        raise OptionError(
            f"{option_name('mels')} is {options.mels}, but {empty} of the bands would be narrower "
            f"than what windows of {options.window} s tell apart; use fewer, or a longer "
            f"{option_name('window')}"
        )
    return torch.from_numpy(bank)


def _cosines(mels: int) -> torch.Tensor:
    """The orthonormal cosine transform (DCT-II), (bands, coefficients)."""
    from scipy.fft import dct

    return torch.from_numpy(dct(numpy.eye(mels), norm="ortho"))
