"""Tagged sentences from the user's files, split into training, validation and test."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data import split
from anyrnn.tasks.data.columns import TextColumn, listing, taken
from anyrnn.tasks.options.common_options import shares_split_off
from anyrnn.tasks.tag.files import Sentences, distinct, from_json, read_sentences
from anyrnn.tasks.tag.options import DataOptions
from anyrnn.tasks.tag.spans import describe_spans, repaired
from anyrnn.tasks.task import Data

_LISTED = 5


@dataclass(frozen=True)
class Part:
    """Sentences and their tags.

    Attributes:
        path: The file that they come from.
        tokens: The tokens of each sentence; those of a large file lie on disk.
        tags: The tag of each of them, likewise.
        facts: What was left out or mended in the file, by what it was.
    """

    path: Path
    tokens: Sequence[list[str]]
    tags: Sequence[list[str]]
    facts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.tokens)

    def take(self, rows: Sequence[int]) -> "Part":
        """The part that consists of some sentences."""
        return Part(self.path, taken(self.tokens, rows), taken(self.tags, rows), self.facts)

    def groups(self) -> split.Groups:
        """Sentences of the same tokens stay together."""
        keys = map("\0".join, self.tokens)
        return split.Groups.equal(keys, "sentence", "; an empty line ends a sentence")

    @cached_property
    def tag_counts(self) -> Counter[str]:
        """How often each tag occurs."""
        return distinct(self.tags)

    def count(self) -> int:
        """The number of tokens."""
        return self.tag_counts.total()


def read(options: DataOptions, spans: Literal["auto", "yes", "no"], seed: int) -> Data[Part]:
    """Read the files and split off what has no file of its own.

    Args:
        options: Which files and columns.
        spans: Whether tags describe spans.
        seed: Decides the split; equal sentences land in the same part.

    Raises:
        DataError: A file cannot be used, or too few sentences are there.
    """
    own = {"validation": options.validation_data, "test": options.test_data}
    files = {"training": options.data} | {name: path for name, path in own.items() if path}
    read_files = {name: sentences_of(path, options) for name, path in files.items()}
    with_spans = are_spans(distinct(read_files["training"].tags), spans)
    parts = {name: part_of(found, with_spans) for name, found in read_files.items()}
    parts |= divided(parts["training"], shares_split_off(options, parts), seed)
    known = set(parts["training"].tag_counts)
    left_out = {str(files[name]): parts[name].facts for name in files if parts[name].facts}
    facts: dict[str, object] = {name: len(parts.get(name, ())) for name in ("training", *own)}
    facts |= {f"{name}_tokens": part.count() for name, part in parts.items()}
    facts["unknown_tags"] = {
        name: found for name, part in parts.items() if (found := unknown_tags(part, known))
    }
    digests = [found.digest for found in read_files.values()]
    return Data.of(
        parts,
        digests=digests,
        facts=facts,
        notes=_notes(parts, known),
        skipped=left_out,
    )


def sentences_of(path: Path, options: DataOptions) -> Sentences:
    """The sentences of a file with tags."""
    return read_sentences(
        path,
        token_column=options.token_column,
        tag_column=options.tag_column,
        encoding=options.encoding,
        skip_bad=options.skip_bad,
    )


def are_spans(tags: Iterable[str], chosen: Literal["auto", "yes", "no"]) -> bool:
    """Whether tags describe spans: as chosen, or by their look."""
    return describe_spans(tags) if chosen == "auto" else chosen == "yes"


def part_of(found: Sentences, with_spans: bool) -> Part:
    """The sentences of a file; tags that describe spans are mended."""
    facts = dict(found.skipped)
    if not with_spans:
        return Part(found.path, found.tokens, found.tags, facts)
    mended = sum(
        before != after
        for tags in found.tags
        for before, after in zip(tags, repaired(tags), strict=True)
    )
    if mended:
        facts["tags I- that begin a span, now B-"] = mended
    if isinstance(found.tags, TextColumn):
        return Part(found.path, found.tokens, found.tags.read_by(_repaired_json), facts)
    return Part(found.path, found.tokens, list(map(repaired, found.tags)), facts)


def _repaired_json(text: str) -> list[str]:
    return repaired(from_json(text))


def unknown_tags(part: Part, known: set[str]) -> dict[str, int]:
    """How often each tag occurs that the training does not know.

    Raises:
        DataError: All tags are such ones: they come from another column or file.
    """
    counts = part.tag_counts
    unknown = {tag: count for tag, count in counts.most_common() if tag not in known}
    if len(unknown) == len(counts):
        raise DataError(
            f"{part.path} has no tag that the training sentences have: it has "
            f"{listing(list(unknown), _LISTED)}, they have {listing(sorted(known), _LISTED)}; is "
            f"{option_name('tag_column')} the right one?"
        )
    return unknown


def divided(part: Part, shares: Mapping[str, float], seed: int) -> dict[str, Part]:
    """Split a part; the rest is for training.

    Args:
        part: What is split; every sentence of the same tokens lands in the same part.
        shares: The shares that are split off, by the names of the parts.
        seed: Decides who goes where.

    Raises:
        DataError: There are too few sentences, or the first part has only one tag.
    """
    parts = split.divided_at_random(part, shares, seed)
    known = list(parts["training"].tag_counts)
    if len(known) < 2:
        raise DataError(
            f"{part.path} has only the tag {known[0]!r} in the sentences to train on; a "
            "tagger needs two tags or more"
        )
    return parts


def _notes(parts: Mapping[str, Part], known: set[str]) -> list[str]:
    sizes = [
        f"{len(part):,} ({part.count():,} tokens) to {split.USES[n]}" for n, part in parts.items()
    ]
    notes = [f"sentences: {', '.join(sizes)}; {len(known)} tags"]
    for name in parts:
        unknown = unknown_tags(parts[name], known)
        if unknown:
            notes.append(
                f"{sum(unknown.values()):,} {name} token(s) have a tag that no training sentence "
                f"has ({listing(list(unknown), _LISTED)}): they count as wrong, and not in the loss"
            )
    return notes
