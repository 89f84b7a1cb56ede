from dataclasses import replace
from pathlib import Path

import pytest

from anyrnn.errors import SizeError
from anyrnn.tasks.data.vocabulary import (
    UNKNOWN_ID,
    VocabularyOptions,
    choose_tokens,
    encode,
    load_tokenizer,
    train_tokenizer,
)

OPTIONS = VocabularyOptions(
    tokens="word",
    lowercase=True,
    vocabulary_size=1000,
    minimum_frequency=1,
    maximum_length=50,
    keep="start",
)


def tokens(text: str, **changes: object) -> list[str]:
    """The tokens of a text by a tokenizer that was trained on that text."""
    options = replace(OPTIONS, **changes)  # pyright: ignore[reportArgumentType]
    return train_tokenizer([text], options).encode(text).tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop!", ["don't", "stop", "!"]),
        ("one<br />two", ["one", "two"]),
        ("caf\u0065\u0301 Ünïcode_7", ["café", "ünïcode_7"]),
        ("看 iPhone手机", ["看", "iphone", "手", "机"]),
        ("👍👍 ok", ["👍", "👍", "ok"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_characters() -> None:
    assert tokens("O'B r", tokens="character") == ["o", "'", "b", " ", "r"]
    assert tokens("Ab", tokens="character", lowercase=False) == ["A", "b"]


def test_byte_pairs_know_every_text() -> None:
    tokenizer = train_tokenizer(["low lower lowest"] * 5, replace(OPTIONS, tokens="bpe"))
    (numbers,) = encode(tokenizer, ["lowly 房间 👍"])
    assert UNKNOWN_ID not in numbers


@pytest.mark.parametrize("kind", ["word", "character", "bpe"])
def test_vocabulary_repeats_and_keeps_its_size(kind: str) -> None:
    texts = [f"w{n % 37} x{n % 11} y{n % 5}" for n in range(200)]
    options = replace(OPTIONS, tokens=kind, vocabulary_size=300 if kind == "bpe" else 20)  # pyright: ignore
    one, other = train_tokenizer(texts, options), train_tokenizer(texts, options)
    assert one.to_str() == other.to_str()
    assert one.get_vocab_size() <= options.vocabulary_size


def test_rare_words_are_unknown() -> None:
    tokenizer = train_tokenizer(["a a b"], replace(OPTIONS, minimum_frequency=2))
    assert [list(row) for row in encode(tokenizer, ["a b", "", "  "])] == [[2, 1], [1], [1]]


@pytest.mark.parametrize(("keep", "expected"), [("start", ["a", "b"]), ("end", ["c", "d"])])
def test_which_end_is_kept(keep: str, expected: list[str]) -> None:
    assert tokens("a b c d", maximum_length=2, keep=keep) == expected


def test_too_small() -> None:
    with pytest.raises(SizeError, match="at least 3"):
        train_tokenizer(["a"], replace(OPTIONS, vocabulary_size=2))


def test_file_gives_the_same_tokens(tmp_path: Path) -> None:
    texts = ["Good film, isn't it?", "房间"]
    tokenizer = train_tokenizer(texts, replace(OPTIONS, maximum_length=3, keep="end"))
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str(), encoding="utf-8")
    again = encode(load_tokenizer(path), texts)
    assert [list(row) for row in again] == [list(row) for row in encode(tokenizer, texts)]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["东西很好", "ok 不错"], "character"),
        (["ありがとう", "よかった"], "character"),
        (["ดีมาก", "อาหารอร่อย"], "character"),
        (["Müller", "van der Berg", "Smith"], "character"),
        (["yes it is a fine film", "no it is not one"], "word"),
        (["Очень хороший фильм про лето", "Скучно и долго всё"], "word"),
        (["12345", "!!"], "character"),
    ],
)
def test_choice(texts: list[str], kind: str) -> None:
    assert choose_tokens(texts)[0] == kind
