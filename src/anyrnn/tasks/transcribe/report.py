"""What the report of transcriptions adds: where the words stand in some recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from anyrnn.tasks.report import SERIES_COLOURS, chart
from anyrnn.tasks.transcribe.options import Options
from anyrnn.tasks.transcribe.scores import Picture, TranscriptionScores

if TYPE_CHECKING:
    from anyrnn.tasks.training.results import CellResult

_MOST_TOKENS = 40  # that have room beside a picture


def pictures(results: Sequence[CellResult], options: Options) -> dict[str, object]:
    """The values that `transcribe.html` uses beside those of all reports."""
    found = {}
    for result in results:
        scores = result.scores
        assert isinstance(scores, TranscriptionScores)
        found[result.cell] = [
            (each.name, alignment_chart(each, f"{result.cell}: {each.name}"))
            for each in scores.pictures
        ]
    return {"named": str(options.data.data), "alignments": found}


def alignment_chart(picture: Picture, label: str) -> Markup:
    """The spectrum of a recording with its words, or, of an attention, the weights of each token.

    Args:
        picture: What is drawn.
        label: The chart's name for screen readers.
    """
    seconds = picture.seconds * len(picture.spectrum)

    def draw(axes: Any) -> None:
        shown = picture.weights or [*zip(*picture.spectrum, strict=True)]
        rows = len(shown)
        axes.imshow(
            shown,
            cmap="Greys",
            aspect="auto",
            interpolation="nearest",
            origin="upper" if picture.weights else "lower",
            extent=(0, seconds, *((rows, 0) if picture.weights else (0, rows))),
        )
        for number, word in enumerate(picture.words):
            colour = SERIES_COLOURS[number % 2]
            axes.axvspan(word.start, word.end, color=colour, alpha=0.2, linewidth=0)
            axes.text(
                (word.start + word.end) / 2,
                1.02,
                word.text,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
                rotation=45,
            )
        axes.set_xlabel("seconds")
        axes.set_ylabel("token" if picture.weights else "feature")
        if picture.weights and rows <= _MOST_TOKENS:
            axes.set_yticks([row + 0.5 for row in range(rows)], picture.tokens, fontsize=7)

    return chart(draw, label)
