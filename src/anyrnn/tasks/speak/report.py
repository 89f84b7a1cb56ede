"""What the report of a voice adds: what its attention, its spectra and its speech are like."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anyrnn.tasks.data_urls import data_url
from anyrnn.tasks.extras import library
from anyrnn.tasks.report import chart
from anyrnn.tasks.speak.options import Options, SoundOptions

if TYPE_CHECKING:
    from anyrnn.tasks.speak.scores import Example
    from anyrnn.tasks.training.results import CellResult

_RANGE = 80  # decibels below the loudest that are told apart
_COLOURS = "magma"


def pictures(results: Sequence[CellResult], options: Options) -> dict[str, object]:
    """The values that `speak.html` uses beside those of all reports."""
    shown = {
        result.cell: [
            _shown(example, options, f"{result.cell} {number}")
            for number, example in enumerate(result.scores.examples, start=1)  # pyright: ignore
        ]
        for result in results
    }
    return {"named": options.data.data, "shown": shown}


def _shown(example: Example, options: Options, named: str) -> dict[str, object]:
    sound, step = options.sound, options.model.reduction * options.sound.hop
    return {
        "example": example,
        "alignment": _alignment(example, step, named),
        "spectra": [
            _spectrum(example.spectra, number, sound, title, f"{title} {named}")
            for number, title in enumerate(("speech", "recording"))
        ],
        "sounds": [_sound(samples, sound.sample_rate) for samples in example.sounds],
    }


def _alignment(example: Example, step: float, named: str) -> Any:
    """The weights of attention: time to the right, the text upwards."""

    def draw(axes: Any) -> None:
        steps, places = example.weights.shape
        _image(axes, example.weights.T, (0, steps * step, -0.5, places - 0.5), 0, 1)
        axes.set_yticks(range(places), example.characters, fontsize=max(3, min(10, 260 / places)))
        axes.set_title("attention")
        axes.set_xlabel("seconds of speech")

    return chart(draw, f"alignment of {named}")


def _spectrum(
    spectra: tuple[Any, Any], number: int, sound: SoundOptions, title: str, label: str
) -> Any:
    """The bands of a speech, or of its recording, in the colours of both."""
    loudest = max(each.max() for each in spectra)

    def draw(axes: Any) -> None:
        frames, bands = spectra[number].shape
        extent = (0, frames * sound.hop, 0, bands)
        _image(axes, spectra[number].T, extent, loudest - _RANGE, loudest)
        axes.set_xlim(0, max(len(each) for each in spectra) * sound.hop)
        axes.set_title(title)
        axes.set_xlabel("seconds")
        axes.set_ylabel("mel band")

    return chart(draw, label)


def _image(axes: Any, values: Any, extent: tuple[float, ...], least: float, most: float) -> None:
    axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=extent,
        cmap=_COLOURS,
        vmin=least,
        vmax=most,
        zorder=3,  # above the grid
    )


def _sound(samples: Any, rate: int) -> str:
    """Samples as a file that the page holds."""
    file = io.BytesIO()
    library("soundfile", "speech").write(file, samples, rate, format="FLAC")
    return data_url(file.getvalue(), "audio/flac")
