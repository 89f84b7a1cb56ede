"""What the commands call for text classification."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.classify.inference import Evaluation, evaluate_file, load
from anyrnn.tasks.classify.options import PredictOptions
from anyrnn.tasks.classify.training import train
from anyrnn.tasks.encoding import decoded_lines

__all__ = ["evaluate", "predict", "train"]

_AT_ONCE = 1024


def evaluate(run: Path, cell: str | None, changes: Mapping[str, Any]) -> Evaluation:
    """Measure a model of a run on a file; what is not changed is as it was trained."""
    if "data" not in changes:
        raise DataError(f"{option_name('data')} is missing: name a file")
    return evaluate_file(run, cell=cell, **changes)


def predict(run: Path, cell: str | None, options: PredictOptions) -> Iterator[dict[str, object]]:
    """Label the texts that are given, or the lines of a file or of standard input.

    Raises:
        DataError: There are none, or they cannot be read.
    """
    if not options.texts and options.file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise DataError(f"no text: give one, or {option_name('file', 'FILE')}, or pipe lines in")
    classifier = load(run, cell)
    # Bytes of the command line that are no text have become half characters.
    given = [text.encode("utf-8", "replace").decode() for text in options.texts]
    lines = () if given and options.file is None else _lines(options.file, options.encoding)
    source = chain(given, lines)
    while batch := list(islice(source, _AT_ONCE)):
        # An empty line gets an empty answer, so that answers stay beside their lines.
        predictions = iter(classifier.predict([text for text in batch if text.strip()]))
        for text in batch:
            answer: dict[str, object] = {"text": text, "label": None, "probability": None}
            if text.strip():
                prediction = next(predictions)
                answer |= {"label": prediction.label, "probability": prediction.probability}
                if options.probabilities:
                    answer["probabilities"] = prediction.probabilities
            yield answer


def _lines(file: Path | None, encoding: str) -> Iterator[str]:
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
