"""Pictures of recordings."""

import io
from typing import Any

import torch

from anyrnn.tasks.audio.features import FLOOR, Features
from anyrnn.tasks.data_urls import data_url

_RANGE = 10  # nats below the loudest of a picture, of which everything quieter has the colour


def spectrogram(features: Features, samples: Any) -> str:
    """The log-mel spectrogram of a recording, high bands above, as the address of a PNG.

    Args:
        features: Window, hop and bands.
        samples: (samples).
    """
    from matplotlib import image

    with torch.no_grad():
        energies = features.energies(torch.as_tensor(samples)[None])[0] @ features.filters.T
    logarithms = energies.clamp_min(FLOOR).log().T.numpy()
    loudest = logarithms.max()
    buffer = io.BytesIO()
    image.imsave(
        buffer, logarithms, vmin=loudest - _RANGE, vmax=loudest, cmap="magma", origin="lower"
    )
    return data_url(buffer.getvalue(), "image/png")
