"""Bytes in the user's encoding to text."""

import codecs
import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from anyrnn.errors import DataError, option_name
from anyrnn.files import reading


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


def input_lines(file: Path | None, encoding: str) -> Iterator[str]:
    """The lines of a file or, without one or for `-`, of standard input.

    Raises:
        DataError: They cannot be read.
    """
    name = "standard input" if file is None or str(file) == "-" else str(file)
    with _open(file) as stream:
        yield from decoded_lines(stream, name, encoding)


def _open(file: Path | None) -> BinaryIO | nullcontext[BinaryIO]:
    if file is None or str(file) == "-":
        if sys.stdin is None:
            raise DataError("standard input is closed")
        return nullcontext(sys.stdin.buffer)
    with reading(file):
        return file.open("rb")


def given_texts(texts: Sequence[str], file: Path | None, encoding: str) -> Iterator[str]:
    """The texts of a command line, then the lines of a file or, without both, of standard input.

    Raises:
        DataError: There are none, or they cannot be read.
    """
    if not texts and file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise DataError(f"no text: give one, or {option_name('file', 'FILE')}, or pipe lines in")
    # Bytes of the command line that are no text have become half characters.
    yield from map(whole_characters, texts)
    if file is not None or not texts:
        yield from input_lines(file, encoding)


def whole_characters(text: str) -> str:
    """Half characters, as texts that were cut carelessly have, become question marks."""
    if re.search("[\ud800-\udfff]", text):
        return text.encode("utf-8", "replace").decode()
    return text


def likely_encoding(data: bytes, whole: bool = True) -> str:
    """The encoding that bytes look like.

    Args:
        data: The bytes.
        whole: Whether they end where a character does.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for encoding in ("utf-8", "gb18030", "shift_jis"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
        except UnicodeDecodeError:
            continue
        # Accented letters side by side, which would read as Chinese, are rare.
        chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
        if encoding == "utf-8" or chinese > 0.1 * len(text):
            return encoding
    return "cp1252"
