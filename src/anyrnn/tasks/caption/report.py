"""What the report of captions adds: small pictures, and what the network looked at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrnn.errors import DataError, MissingExtraError
from anyrnn.tasks.caption.backbone import read_picture
from anyrnn.tasks.caption.options import Options
from anyrnn.tasks.data_urls import data_url

if TYPE_CHECKING:
    from PIL.Image import Image

    from anyrnn.tasks.training.results import CellResult

_SIZE = 200  # pixels of the longer side
_QUALITY = 80
_DARKEST = 210  # of 255: how much of a region without attention is covered


@dataclass(frozen=True)
class Thumbnail:
    """A small picture that a page holds once.

    Attributes:
        number: What distinguishes it from others there.
        address: Its content, as the address of an image.
        width, height: In pixels.
    """

    number: int
    address: str
    width: int
    height: int


def pictures(options: Options, results: Sequence[CellResult]) -> dict[str, object]:
    """The values that `caption.html` uses beside those of all reports."""
    found: dict[str, Thumbnail] = {}
    every: list[Any] = [result.scores for result in results]
    for file in sorted({each.file for scores in every for each in scores.examples}):
        try:
            picture = read_picture(Path(file))
        except (DataError, MissingExtraError):  # only its array was there
            continue
        picture.thumbnail((_SIZE, _SIZE))
        address = _address(picture, "JPEG", quality=_QUALITY)
        found[file] = Thumbnail(len(found), address, *picture.size)
    return {"named": options.data.data, "thumbnails": found, "shade": shade}


def shade(weights: Sequence[Sequence[float]]) -> str:
    """What covers a picture but for the regions with attention, as the address of an image with a
    pixel for each.

    Args:
        weights: The attention of each region, in rows.
    """
    from PIL import Image

    most = max(map(max, weights)) or 1.0
    found = Image.new("LA", (len(weights[0]), len(weights)))
    found.putdata([(0, round(_DARKEST * (1 - each / most))) for row in weights for each in row])
    return _address(found, "PNG")


def _address(picture: Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return data_url(buffer.getvalue(), f"image/{kind.lower()}")
