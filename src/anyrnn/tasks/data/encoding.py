"""Bytes in the user's encoding to text."""

import codecs
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def decoded(
    pieces: Iterable[bytes], encoding: str, foreign: Callable[[str], DataError]
) -> Iterator[str]:
    """The text of pieces of bytes, as soon as each has come, without the mark of its encoding.

    Args:
        pieces: The bytes.
        encoding: Their encoding; in some of them a byte does not tell where a line ends.
        foreign: Makes the error for bytes of another encoding, from what is wrong with them.
    """
    check_encoding(encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    before = lines = 0  # bytes and line ends that were decoded
    first = True
    for piece in chain(pieces, [b""]):
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeError as error:
            reason = str(error)
            if isinstance(error, UnicodeDecodeError):
                line = lines + error.object.count(b"\n", 0, error.start) + 1
                place = before - len(pending) + error.start
                reason = f"byte 0x{error.object[error.start]:02x} at position {place}, line {line}"
            raise foreign(reason) from None
        before += len(piece)
        lines += piece.count(b"\n")
        if first and text.count("\0") > len(text) // 4:
            raise foreign("much of it is zero bytes")
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        yield whole_characters(text)


def decoded_lines(stream: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    """The lines of a stream, without their ends, as soon as each is complete.

    Args:
        stream: Pieces of its bytes.
        name: What messages call it.
        encoding: Its encoding.

    Raises:
        DataError: It cannot be read, or has another encoding.
    """

    def foreign(reason: str) -> DataError:
        advice = f"name its encoding with {option_name('encoding')}"
        return DataError(f"{name} is not {encoding}: {reason}; {advice}")

    rest = ""
    with reading(name):
        for text in decoded(stream, encoding, foreign):
            *lines, rest = (rest + text).split("\n")
            yield from (line.rstrip("\r") for line in lines)
    if rest:
        yield rest.rstrip("\r")


def input_lines(file: Path | None, encoding: str) -> Iterator[str]:
    """The lines of a file or, without one or for `-`, of standard input.

    Raises:
        DataError: They cannot be read.
    """
    name = "standard input" if file is None or str(file) == "-" else str(file)
    with input_bytes(file) as stream:
        yield from decoded_lines(stream, name, encoding)


def input_bytes(file: Path | None) -> BinaryIO | nullcontext[BinaryIO]:
    """The bytes of a file or, without one or for `-`, of standard input.

    Raises:
        DataError: It cannot be opened.
    """
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
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    zeros = [data[start::2].count(0) for start in (0, 1)]
    if max(zeros) > len(data) // 4:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
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
