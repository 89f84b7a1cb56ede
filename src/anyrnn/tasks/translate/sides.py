"""The two sides of a translation."""

from collections.abc import Sequence

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary, kind_of_tokens
from anyrnn.tasks.translate.options import TokenOptions


def make_sides(
    sources: Sequence[str], targets: Sequence[str], options: TokenOptions
) -> tuple[WrittenVocabulary, WrittenVocabulary]:
    """Both sides, with vocabularies of the training sentences.

    Raises:
        OptionError: Both are to have one vocabulary, but different kinds of tokens.
        SizeError: A vocabulary is too small for its kind of tokens.
        DataError: No token occurs often enough.
    """
    kinds = (
        kind_of_tokens(options.source_tokens, sources, "bpe"),
        kind_of_tokens(options.target_tokens, targets, "bpe"),
    )
    if not options.shared_vocabulary:
        source = WrittenVocabulary.made(sources, kinds[0], options)
        return source, WrittenVocabulary.made(targets, kinds[1], options)
    if kinds[0] != kinds[1]:
        raise OptionError(
            f"{option_name('shared_vocabulary', True)} needs tokens of one kind, but those of the "
            f"source are of the kind {kinds[0]}, those of the target {kinds[1]}; choose them with "
            f"{option_name('source_tokens')} and {option_name('target_tokens')}"
        )
    shared = WrittenVocabulary.made([*sources, *targets], kinds[0], options)
    return shared, shared
