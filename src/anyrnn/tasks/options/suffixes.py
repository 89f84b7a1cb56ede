"""What a file is, by its name."""

from pathlib import Path

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
TOKEN_FILES = (".conllu", ".conllup", ".conll", ".bio", ".iob", ".iob2")
COMPRESSED = (".gz", ".xz", ".bz2")


def suffixes_of(path: Path) -> tuple[str, str]:
    """The suffix that tells the kind of file, or "", and that of its compression, or ""."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    return (suffixes[-1] if suffixes else ""), compression


def is_json_lines(path: Path) -> bool:
    """Whether the name of a file says that it holds JSON lines, perhaps compressed."""
    return suffixes_of(path)[0] in JSON_LINES


def is_parquet(path: Path) -> bool:
    """Whether the name of a file says that it is parquet."""
    return suffixes_of(path)[0] in PARQUET


def has_tokens(path: Path) -> bool:
    """Whether the name of a file says that it has tokens, not lines of text."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    return is_json_lines(path) or bool(suffixes.intersection(TOKEN_FILES))


def is_table(path: Path) -> bool:
    """Whether the name of a file says that it holds rows and columns, perhaps compressed."""
    return suffixes_of(path)[0] in (*SEPARATORS, *JSON_LINES, *PARQUET)
