"""Texts to frames, and frames to sound."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import OptionError, WriteError, option_name
from anyrnn.files import whole, writing
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.extras import library
from anyrnn.tasks.layers import step_mask
from anyrnn.tasks.speak.model import SpeechNetwork
from anyrnn.tasks.task import check_finite

_LOUDEST = 20.0  # the largest logarithm of an energy that is made to sound
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_AT_ONCE = 1 << 16  # samples: more than these at a time are too much for libsndfile's Vorbis


@dataclass(frozen=True)
class Utterance:
    """The speech of a text as frames.

    Attributes:
        frames: Scaled ones, (frames, bands).
        weights: Those of attention, (steps, characters).
        ended: Whether the decoder ended it; if not, it was cut at its largest length.
    """

    frames: torch.Tensor = field(repr=False)
    weights: torch.Tensor = field(repr=False)
    ended: bool


def utterances(
    network: SpeechNetwork,
    texts: torch.Tensor,
    lengths: torch.Tensor,
    limits: torch.Tensor,
    stop_at: float,
) -> list[Utterance]:
    """The speech of some texts; none of them matters to another.

    Args:
        network: The network, in evaluation mode.
        texts: Padded character numbers, (batch, characters).
        lengths: The number of characters of each, at least 1, (batch).
        limits: The largest number of steps of each, at least 1, (batch).
        stop_at: From which probability of the end on a speech ends.
    """
    every: list[torch.Tensor] = []
    attended: list[torch.Tensor] = []
    with torch.inference_mode():
        state = network.begin(texts, lengths)
        frames = state.context.new_zeros(len(texts), 1, network.bands)
        counts, ended = torch.zeros_like(limits), torch.zeros_like(limits, dtype=torch.bool)
        going = ~ended
        while going.any():
            frames, ends, weights, state = network.step(frames[:, -1], state)
            every.append(frames)
            attended.append(weights)
            counts += going
            ended |= going & (ends >= stop_at)
            going &= ~ended & (counts < limits)
        coarse = torch.cat(every, 1)
        mask = step_mask(counts * network.reduction, coarse.shape[1])
        refined, weights = network.refined(coarse, mask), torch.stack(attended, 1)
    check_finite(refined)
    return [
        Utterance(
            refined[row, : count * network.reduction].cpu().clone(),
            weights[row, :count, :length].cpu().clone(),
            bool(ended[row]),
        )
        for row, (count, length) in enumerate(zip(counts.tolist(), lengths.tolist(), strict=True))
    ]


def waveform(features: Features, frames: torch.Tensor, iterations: int) -> NDArray[numpy.float32]:
    """The sound of frames, as librosa inverts them: energies of frequencies that have those of the
    bands (least squares without negative numbers), and phases by the algorithm of Griffin and Lim
    (1984).

    Args:
        features: What frames are.
        frames: Scaled ones, (frames, bands).
        iterations: How often the phases are improved.

    Returns:
        Samples from -1 to 1; where they would be louder, all of them are made quieter.
    """
    sizes = {"n_fft": features.fft_size}
    energies = features.unscaled(frames).clamp_max(_LOUDEST).exp().numpy()
    magnitudes = library("librosa.feature.inverse", "speech").mel_to_stft(
        energies.T, sr=features.options.sample_rate, power=2.0, **sizes
    )
    samples = library("librosa", "speech").griffinlim(
        magnitudes,
        n_iter=iterations,
        hop_length=features.hop,
        win_length=len(features.window),
        random_state=0,
        **sizes,
    )
    return (samples / max(1.0, float(numpy.abs(samples).max()))).astype(numpy.float32)


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a file of sound that cannot be written, before there is any.

    Raises:
        OptionError: Its name does not tell a kind of sound that there is.
        WriteError: There is one, which is not to be replaced.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise OptionError(
            f"{option_name('output')} is {path}, but has to end in {', '.join(_SUFFIXES)}"
        )
    if path.exists() and not overwrite:
        raise WriteError(f"{path} exists; replace it with {option_name('overwrite', True)}")


def write_sound(path: Path, pieces: Iterable[NDArray[numpy.float32]], rate: int) -> None:
    """Write a file of sound, whole or not at all.

    Args:
        path: The file; its suffix tells the kind.
        pieces: Samples, from -1 to 1, that follow each other.
        rate: The samples a second.

    Raises:
        WriteError: It cannot be written, or files of this kind cannot have this rate.
    """
    soundfile = library("soundfile", "speech")
    suffix = path.suffix.lower()
    with writing(path), whole(path, suffix) as unfinished:
        try:
            with (
                unfinished.open("w+b") as raw,
                soundfile.SoundFile(raw, "w", rate, 1, format=suffix[1:].upper()) as file,
            ):
                for piece in pieces:
                    for start in range(0, len(piece), _AT_ONCE):
                        file.write(piece[start : start + _AT_ONCE])
        except soundfile.LibsndfileError as error:
            reason = error.error_string.removeprefix("Error : ").rstrip(".")
            raise WriteError(f"cannot write {path}: {reason}") from None
