"""`anyrnn predict RUN TEXT`: the labels of new texts, as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from anyrnn.cli.terminal import say_json
from anyrnn.errors import DataError

_AT_ONCE = 1024


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.", show_default=False)],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="Texts; without any, they are read from standard input."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file of texts, one a line; - for standard input."),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which model of the run.", show_default="the best on validation"
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also tell the probability of every label.")
    ] = False,
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="The encoding of the file or standard input.")
    ] = "utf-8",
) -> None:
    """Label texts with the model of a run: one JSON object a line.

    [bold]Example:[/bold] anyrnn predict runs/reviews "a film that never lets go of you"
    """
    if not texts and file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise typer.BadParameter("no text: give one, or --file FILE, or pipe lines in")
    from anyrnn.tasks.classify import load

    classifier = load(run, cell)
    # Bytes of the command line that are no text have become half characters.
    given = [text.encode("utf-8", "replace").decode() for text in texts or ()]
    lines = () if texts and file is None else _lines(file, encoding)
    source = chain(given, lines)
    while batch := list(islice(source, _AT_ONCE)):
        # An empty line gets an empty answer, so that answers stay beside their lines.
        predictions = iter(classifier.predict([text for text in batch if text.strip()]))
        for text in batch:
            answer: dict[str, object] = {"text": text, "label": None, "probability": None}
            if text.strip():
                prediction = next(predictions)
                answer |= {"label": prediction.label, "probability": prediction.probability}
                if probabilities:
                    answer["probabilities"] = prediction.probabilities
            say_json(answer)


def _lines(file: Path | None, encoding: str) -> Iterator[str]:
    from anyrnn.tasks.encoding import decoded_lines

    name = "standard input" if file is None or str(file) == "-" else str(file)
    with _open(file) as stream:
        yield from decoded_lines(stream, name, encoding)


def _open(file: Path | None) -> BinaryIO | nullcontext[BinaryIO]:
    if file is None or str(file) == "-":
        if sys.stdin is None:
            raise DataError("standard input is closed")
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except FileNotFoundError:
        raise DataError(f"there is no file {file}") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from None
