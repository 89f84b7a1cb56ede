"""Tagged sentences from the user's files, split into training, validation and test."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.columns import TextColumn, listing
from anyrnn.tasks.options.suffixes import is_json_lines
from anyrnn.tasks.tag.files import Sentences, distinct, from_json, read_sentences
from anyrnn.tasks.tag.options import DataOptions
from anyrnn.tasks.tag.spans import describe_spans, repaired

_LISTED = 5


@dataclass(frozen=True, eq=False)
class Part(parts.Part):
    """Sentences and their tags; in `skipped` there is also what was mended.

    Attributes:
        tokens: The tokens of each sentence; those of a large file lie on disk.
        tags: The tag of each of them, likewise.
    """

    columns = ("tokens", "tags")

    tokens: Sequence[list[str]]
    tags: Sequence[list[str]]

    def groups(self) -> parts.Groups:
        """Sentences of the same tokens stay together."""
        keys = map("\0".join, self.tokens)
        of_lines = any(self.digests) and not is_json_lines(self.path)
        hint = "; an empty line ends a sentence" if of_lines else ""
        return parts.Groups.equal(keys, "sentence", hint)

    @cached_property
    def tag_counts(self) -> Counter[str]:
        """How often each tag occurs."""
        return distinct(self.tags)

    def count(self) -> int:
        """The number of tokens."""
        return self.tag_counts.total()


def read(options: DataOptions, spans: Literal["auto", "yes", "no"], seed: int) -> parts.Data[Part]:
    """Read the files and split off what has no file of its own.

    Args:
        options: Which files and columns.
        spans: Whether tags describe spans.
        seed: Decides the split; equal sentences land in the same part.

    Raises:
        DataError: A file cannot be used, or too few sentences are there.
    """
    files = {"training": options.data, **options.own_files()}
    read_files = {name: sentences_of(path, options) for name, path in files.items()}
    with_spans = are_spans(distinct(read_files["training"].tags), spans)
    read_parts = {name: part_of(found, with_spans) for name, found in read_files.items()}
    shares = options.shares(read_parts)
    found = read_parts | divided(read_parts["training"], shares, seed)
    known = set(found["training"].tag_counts)
    facts: dict[str, object] = {name: len(found.get(name, ())) for name in parts.USES}
    facts |= {f"{name}_tokens": part.count() for name, part in found.items()}
    facts["unknown_tags"] = {
        name: unknown for name, part in found.items() if (unknown := unknown_tags(part, known))
    }
    return parts.Data.of(found, read_parts.values(), facts, notes=_notes(found, known))


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
    part = Part(
        found.path,
        found.tokens,
        found.tags,
        digests=(found.digest,),
        skipped=dict(found.skipped),
    )
    if not with_spans:
        return part
    mended = sum(
        before != after
        for tags in found.tags
        for before, after in zip(tags, repaired(tags), strict=True)
    )
    if mended:
        part.skipped["tags I- that begin a span, now B-"] = mended
    if isinstance(found.tags, TextColumn):
        return replace(part, tags=found.tags.read_by(_repaired_json))
    return replace(part, tags=list(map(repaired, found.tags)))


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
    found = parts.divided_at_random(part, shares, seed)
    known = list(found["training"].tag_counts)
    if len(known) < 2:
        raise DataError(
            f"{part.path} has only the tag {known[0]!r} in the sentences to train on; a "
            "tagger needs two tags or more"
        )
    return found


def _notes(found: Mapping[str, Part], known: set[str]) -> list[str]:
    sizes = parts.sizes(found, lambda part: f"{len(part):,} ({part.count():,} tokens)")
    notes = [f"sentences: {sizes}; {len(known)} tags"]
    for name, part in found.items():
        unknown = unknown_tags(part, known)
        if unknown:
            notes.append(
                f"{sum(unknown.values()):,} {name} token(s) have a tag that no training sentence "
                f"has ({listing(list(unknown), _LISTED)}): they count as wrong, and not in the loss"
            )
    return notes
