"""Answers to the texts that a network is asked about on the command line."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from anyrnn.tasks.data.encoding import given_texts

AT_ONCE = 1024


def answers_to_texts(
    options: Any,
    ask: Callable[[list[str]], Iterable[Mapping[str, object]]],
    nothing: Mapping[str, object],
    *,
    at_once: int = AT_ONCE,
    asked: Callable[[str], object] = str.strip,
) -> Iterator[dict[str, object]]:
    """Each text of the command line, a file or standard input, with its answer.

    An empty line gets an empty answer, so that answers stay beside their lines.

    Args:
        options: A group of `InputOptions`.
        ask: Gives the answers to some texts.
        nothing: The answer to an empty line.
        at_once: How many texts are asked about together.
        asked: What is empty, or false, of a line that is not asked about.

    Raises:
        DataError: There are no texts, or they cannot be read.
    """
    source = given_texts(options.texts, options.file, options.encoding)
    while texts := list(islice(source, at_once)):
        found = iter(ask(list(filter(asked, texts))))
        for text in texts:
            yield {"text": text, **(next(found) if asked(text) else nothing)}
