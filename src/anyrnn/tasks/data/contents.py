"""The content of the user's files: bytes, and text that is decoded in pieces."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from anyrnn.errors import DataError, option_name
from anyrnn.files import reading
from anyrnn.tasks.data.encoding import check_encoding, decoded, likely_encoding
from anyrnn.tasks.data.prepared import advanced
from anyrnn.tasks.options.suffixes import suffixes_of

LARGE = 64 << 20
"""From how many bytes on a file stays on disk; an eighth of that if it is compressed."""

_BLOCK = 1 << 20  # bytes read at once
_SAMPLE = 16 << 20  # bytes that tell an encoding
# What is given for text by mistake, most often under a wrong name.
_BEGINNINGS = [
    (b"\x1f\x8b", "a .gz file"),
    (b"\xfd7zXZ", "a .xz file"),
    (b"BZh", "a .bz2 file"),
    (b"PAR1", "a .parquet file"),
    (b"PK\x03\x04", "an archive or a spreadsheet (.zip, .xlsx, .npz)"),
    (b"%PDF", "a PDF"),
]
_OPEN: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


class Content:
    """What a file holds. It is read once; that of a large file stays on disk.

    Args:
        path: The file; its name tells how it is compressed.
        compressed: Whether it is compressed, though its name does not say so.

    Attributes:
        path: The file.
        large: Whether it is large.
        size: The number of its bytes.
        digest: A hash of them.

    Raises:
        DataError: It is missing, empty, a folder, or cannot be read.
    """

    def __init__(self, path: Path, *, compressed: bool = False) -> None:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file")
        self.path = path
        _, self._compression = suffixes_of(path)
        with reading(path):
            self.size = path.stat().st_size
            self.large = self.size >= (LARGE // 8 if compressed or self._compression else LARGE)
            self._data = None if self.large else path.read_bytes()
            self.size = self.size if self._data is None else len(self._data)
            self.digest = self._hashed()
        if not self.size:
            raise DataError(f"{path} is empty")

    def open(self) -> IO[bytes]:
        """The bytes as they are, from the first one."""
        return self.path.open("rb") if self._data is None else io.BytesIO(self._data)

    def _hashed(self) -> str:
        found, done = sha256(self._data or b""), 0
        if self._data is None:
            with self.open() as file:
                while block := file.read(_BLOCK):
                    found.update(block)
                    done += len(block)
                    advanced(f"reading {self.path.name}", done, self.size)
        return found.hexdigest()

    def decompressed(self) -> Iterator[bytes]:
        """The bytes, decompressed, in pieces.

        Raises:
            DataError: They cannot be read or decompressed.
        """
        compression = self._compression
        try:
            with self.open() as raw:
                opened: IO[bytes] = _OPEN[compression](raw) if compression else raw
                while block := opened.read(_BLOCK):
                    yield block
                    advanced(f"preparing {self.path.name}", raw.tell(), self.size)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            if isinstance(error, OSError) and error.strerror:
                raise DataError(f"cannot read {self.path}: {error.strerror}") from None
            raise DataError(f"{self.path} is not a sound {compression} file: {error}") from None


class Characters:
    """The text of a file, decoded in pieces; it is read, or iterated by lines.

    Args:
        content: What the file holds.
        encoding: How its text is encoded.

    Raises:
        DataError: It cannot be read, is blank, or has another encoding.
    """

    def __init__(self, content: Content, encoding: str) -> None:
        check_encoding(encoding)
        self._content = content
        self._encoding = encoding
        self._pieces = self._decoded()
        self._rest = ""

    def read(self, size: int = -1) -> str:
        """At most so many characters; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return ""
            self._rest = piece
        if size < 0:
            found, self._rest = self._rest + "".join(self._pieces), ""
        else:
            found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def __iter__(self) -> Iterator[str]:
        """The lines, without their ends."""
        rest = self._rest
        for piece in self._pieces:
            *lines, rest = (rest + piece).split("\n")
            yield from lines
        if rest:
            yield rest

    def pieces(self) -> Iterator[str]:
        """The whole text in pieces as they come."""
        return self._pieces

    def _decoded(self) -> Iterator[str]:
        blank = True
        for text in decoded(self._content.decompressed(), self._encoding, self._foreign):
            blank = blank and not text.strip()
            yield text
        if blank:
            raise DataError(f"{self._content.path} is empty")

    def _foreign(self, reason: str) -> DataError:
        sample = b""
        for block in self._content.decompressed():
            sample += block
            if len(sample) >= _SAMPLE:
                break
        kind = next((name for start, name in _BEGINNINGS if sample.startswith(start)), "")
        if kind:
            return DataError(f"{self._content.path} is no text: it begins as {kind} does")
        likely = likely_encoding(sample, whole=len(sample) < _SAMPLE)
        return DataError(
            f"{self._content.path} is not {self._encoding}: {reason}; name its encoding, for "
            f"example {option_name('encoding', likely)}"
        )


def read_text(path: Path, encoding: str) -> tuple[str, str]:
    """The text of a file, which may be compressed, and a hash of its content.

    Raises:
        DataError: The file is missing, blank, damaged or in another encoding.
    """
    content = Content(path)
    return "".join(Characters(content, encoding).pieces()), content.digest
