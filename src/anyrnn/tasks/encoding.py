"""Bytes in the user's encoding to text."""

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from anyrnn.errors import DataError, option_name


def check_encoding(encoding: str) -> None:
    """Refuse what is no encoding of text.

    Raises:
        DataError: It is none.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
    except (LookupError, ValueError):
        name = option_name("encoding", encoding)
        raise DataError(f"{name}: Python knows no such encoding") from None


def decoded_lines(stream: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    """The lines of a stream, without their ends, as soon as each is complete.

    Args:
        stream: Pieces of its bytes.
        name: What messages call it.
        encoding: Its encoding; in some of them a byte does not tell where a line ends.

    Raises:
        DataError: It cannot be read, or has another encoding.
    """
    check_encoding(encoding)
    number, rest = 1, ""
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        for piece in chain(stream, [b""]):
            text = decoder.decode(piece, final=not piece)
            *lines, rest = (rest + whole_characters(text)).split("\n")
            for line in lines:
                yield line.removeprefix("\ufeff" if number == 1 else "").rstrip("\r")
                number += 1
    except UnicodeError as error:
        reason = str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = f"byte 0x{error.object[error.start]:02x} in line {number}"
        raise DataError(
            f"{name} is not {encoding}: {reason}; name its encoding with {option_name('encoding')}"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}") from None
    if rest:
        yield rest.removeprefix("\ufeff" if number == 1 else "").rstrip("\r")


def whole_characters(text: str) -> str:
    """Half characters, as texts that were cut carelessly have, become question marks."""
    if re.search("[\ud800-\udfff]", text):
        return text.encode("utf-8", "replace").decode()
    return text
