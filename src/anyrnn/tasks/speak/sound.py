"""Frames to sound, and sound to a file."""

from collections.abc import Iterable
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import OptionError, WriteError, option_name
from anyrnn.files import whole, writing
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.extras import library
from anyrnn.tasks.run_files import check_free

_LOUDEST = 20.0  # the largest logarithm of an energy that is made to sound
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_AT_ONCE = 1 << 16  # samples: more than these at a time are too much for libsndfile's Vorbis


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
    check_free(path, overwrite)


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
