"""Texts to token numbers: which tokens, the vocabulary, the tokenizer and its file."""

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from anyrnn.errors import RunError, SizeError, option_name
from anyrnn.tasks.data.batches import Column
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.prepared import Watch, advanced, number_sequences, watching
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.options.common_options import TokenKind, VocabularyOptions
from anyrnn.tasks.options.declaration import replaced
from anyrnn.tasks.run_files import reading_run

PADDING = "[PAD]"
UNKNOWN = "[UNK]"
PADDING_ID = 0
UNKNOWN_ID = 1

_AT_ONCE = 10_000  # texts

# Scripts written without spaces between words: Han, kana, Thai, Lao, Burmese, Khmer.
UNSPACED = (
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)
_WORD_CHARACTER = rf"(?:(?!{UNSPACED})\w)"
SPACED_WORD = rf"{_WORD_CHARACTER}+(?:['’]{_WORD_CHARACTER}+)*|[^\w\s]"
# Where such a script stands among words, each of its characters is a word.
_WORD = rf"{UNSPACED}|{SPACED_WORD}"
_LETTER = r"[^\W\d_]"
CHARACTER = r"[\s\S]"
_BYTES = 256


def split_words(text: str) -> list[str]:
    """The words and other marks of a text; where a script has no spaces, its characters.

    Example:
        >>> split_words("It's 5 pm, isn't it?")
        ["It's", '5', 'pm', ',', "isn't", 'it', '?']
    """
    return re.findall(_WORD, text)


def choose_tokens(texts: Sequence[str]) -> tuple[TokenKind, str]:
    """Words or characters, by the look of the texts.

    Args:
        texts: The training texts.

    Returns:
        The kind of tokens, and the reason in words.

    Example:
        >>> choose_tokens(["房间很大,服务也好", "早餐不错"])
        ('character', 'the script has no spaces between words')
        >>> choose_tokens(["O'Brien", "Nakamura"])
        ('character', 'the texts are as short as names')
        >>> choose_tokens(["a film that never lets go of you", "dull from start to end"])
        ('word', 'the texts are words with spaces between them')
    """
    sample = texts[:: max(1, len(texts) // 5000)]
    letters = unspaced = 0
    for text in sample:
        letters += len(re.findall(_LETTER, text[:500]))
        unspaced += len(re.findall(UNSPACED, text[:500]))
    if unspaced > 0.2 * letters:
        return "character", "the script has no spaces between words"
    words = statistics.median(len(text.split()) for text in sample)
    if words <= 2 and statistics.median(map(len, sample)) <= 20:
        return "character", "the texts are as short as names"
    return "word", "the texts are words with spaces between them"


TOKENIZER = "tokenizer.json"
"""The file of a run that holds its tokenizer."""


@dataclass(frozen=True)
class TextVocabulary:
    """The tokens of texts that are read.

    Attributes:
        tokenizer: Texts to token numbers.
    """

    tokenizer: Tokenizer

    @classmethod
    def made(
        cls, texts: Sequence[str], options: VocabularyOptions, noted: Callable[[str], None]
    ) -> Self:
        """That of the training texts.

        Args:
            texts: The training texts, no others.
            options: How texts become tokens.
            noted: Called with a sentence on the kind of tokens and their number.

        Raises:
            SizeError: The vocabulary is too small for its kind of tokens.
        """
        kind, reason = options.tokens, "as asked for"
        if kind == "auto":
            kind, reason = choose_tokens(texts)
        found = cls(train_tokenizer(texts, replaced(options, tokens=kind)))
        noted(f"tokens: {kind} ({reason}), {found.size:,} in the vocabulary")
        return found

    @classmethod
    def restored(cls, run: Path) -> Self:
        """That of a run.

        Raises:
            RunError: The run is damaged.
        """
        return cls(load_tokenizer(run / TOKENIZER))

    def files(self) -> dict[str, str]:
        """The name and the text of the file that `restored` needs."""
        return {TOKENIZER: self.tokenizer.to_str(pretty=True)}

    @property
    def size(self) -> int:
        """The number of different tokens."""
        return self.tokenizer.get_vocab_size()

    def column(self, texts: Sequence[str]) -> Column:
        """The token numbers of texts, for batches; see `encode`."""
        tokens = encode(self.tokenizer, texts)
        return Column(tokens, padded=True, lengths=tokens.lengths)


def train_tokenizer(texts: Sequence[str], options: VocabularyOptions) -> Tokenizer:
    """A tokenizer whose vocabulary comes from the training texts.

    Args:
        texts: The training texts, no others.
        options: How texts become tokens; their kind is chosen already.

    Returns:
        The tokenizer; it cuts texts to the maximum length.

    Raises:
        SizeError: The vocabulary is too small for this kind of tokens.
    """
    tokenizer = tokenizer_of(
        _counted(texts, watching()),
        options.tokens,
        _WORD if options.tokens == "word" else CHARACTER,
        steps=[normalizers.Replace(Regex(r"<br\s*/?>"), "\n")],
        special=(PADDING, UNKNOWN),
        lowercase=options.lowercase,
        vocabulary_size=options.vocabulary_size,
        minimum_frequency=options.minimum_frequency,
        space_before=True,
    )
    direction = "left" if options.keep == "end" else "right"
    tokenizer.enable_truncation(options.maximum_length, direction=direction)
    return tokenizer


def tokenizer_of(
    texts: Iterator[str],
    kind: str,
    pattern: str,
    *,
    steps: Sequence[normalizers.Normalizer],
    special: tuple[str, str],
    lowercase: bool,
    vocabulary_size: int,
    minimum_frequency: int,
    space_before: bool,
) -> Tokenizer:
    """A tokenizer with the vocabulary of texts, the most frequent tokens first.

    Args:
        texts: The texts, or pieces of them.
        kind: What tokens are: "bpe" for byte-pair encoding; all others are what the pattern finds.
        pattern: A regular expression for a token.
        steps: What is done to a text besides Unicode's normal form C.
        special: The tokens 0 and 1, of which the latter stands for unknown ones.
        lowercase: Whether capitals are made small.
        vocabulary_size: The largest number of tokens.
        minimum_frequency: How often a token has to occur.
        space_before: Whether a first word counts as one after a space; of byte-pair encoding only.

    Raises:
        SizeError: The vocabulary is too small for this kind of tokens.
    """
    smallest = len(special) + (_BYTES if kind == "bpe" else 1)
    if vocabulary_size < smallest:
        raise SizeError(
            f"a vocabulary of {kind} tokens needs at least {smallest} entries, "
            f"but {option_name('vocabulary_size')} is {vocabulary_size}"
        )
    settings = {"vocab_size": vocabulary_size, "min_frequency": minimum_frequency}
    shared: dict[str, Any] = {"special_tokens": list(special), "show_progress": False, **settings}
    small = [normalizers.Lowercase()] if lowercase else []
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space_before)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **shared)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token=special[1]))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        tokenizer.decoder = decoders.Fuse()
        trainer = trainers.WordLevelTrainer(**shared)
    # Small letters first: after a space that a step has put before a text, making them panics.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *small, *steps])
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _counted(texts: Sequence[str], told: Watch) -> Iterator[str]:
    """The texts; they are asked for in a thread of the tokenizers library."""
    for done, text in enumerate(texts, start=1):
        yield text
        if done % _AT_ONCE == 0 or done == len(texts):
            told("counting tokens", done, len(texts))


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Sequences:
    """The token numbers of each text; a text without any token counts as one unknown token.

    Texts that lie on disk have their numbers there, too, prepared once.

    Raises:
        RunError: The tokenizer of a run cannot do what its file asks for.
        WriteError: The numbers cannot be written.
    """
    parts = ("tokens", tokenizer.to_str())
    return number_sequences(parts, texts, lambda: _encoded(tokenizer, texts))


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Any]:
    """The token numbers of some texts after the other."""
    for start in range(0, len(texts), _AT_ONCE):
        some = token_numbers(tokenizer, texts[start : start + _AT_ONCE])
        yield [numbers or [UNKNOWN_ID] for numbers in some]
        advanced("encoding texts", start + len(some), len(texts))


def token_numbers(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The token numbers of each of some texts.

    Raises:
        RunError: The tokenizer of a run cannot do what its file asks for.
    """
    plain = [*map(whole_characters, texts)]
    try:
        found = tokenizer.encode_batch_fast(plain, add_special_tokens=False)
    # The tokenizers library raises a bare Exception for whatever is wrong.
    except Exception as error:
        raise RunError(f"the tokenizer of the run is damaged: {error}") from None
    return [each.ids for each in found]


def load_tokenizer(path: Path, special: tuple[str, str] = (PADDING, UNKNOWN)) -> Tokenizer:
    """The tokenizer of a run.

    Args:
        path: Its file.
        special: The tokens 0 and 1.

    Raises:
        RunError: The file is missing, or no tokenizer of ours.
    """
    try:
        with reading_run(path):
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except RunError:
        raise
    # The tokenizers library raises a bare Exception for whatever is wrong with the text.
    except Exception as error:
        raise RunError(f"the run is damaged: {path} is no tokenizer: {error}") from None
    if [tokenizer.token_to_id(token) for token in special] != [0, 1]:
        raise RunError(
            f"the run is damaged: {path} lacks {special[0]} and {special[1]} as tokens 0 and 1"
        )
    tokenizer.no_padding()  # batches are padded elsewhere
    numbers = sorted(tokenizer.get_vocab().values())
    if numbers != list(range(len(numbers))):
        raise RunError(
            f"the run is damaged: {path} does not number its {len(numbers)} tokens from 0 on"
        )
    return tokenizer
