"""The parts of language models: tokens, n-grams, sampling, the network."""

import math
from collections import Counter
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from tokenizers import Tokenizer, models
from toy_book import BOOK, KINDS, POEMS

from anyrnn.errors import RunError
from anyrnn.tasks.decoding.written_tokens import Writer, make_tokenizer
from anyrnn.tasks.generate import (
    SamplingOptions,
    TokenOptions,
)
from anyrnn.tasks.generate.model import LanguageNetwork
from anyrnn.tasks.generate.ngrams import ngrams
from anyrnn.tasks.generate.sampling import chances
from anyrnn.tasks.generate.tokens import encode, encode_prompt

# Tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [BOOK, "a  line\n\nanother", "He said: “No.”\nO'Brien 3.5%\n"])
def test_tokens_give_the_text_back(kind: str, text: str) -> None:
    tokenizer = make_tokenizer([text] * 2, kind, TokenOptions())  # pyright: ignore
    tokens = encode_prompt(tokenizer, text)
    writer = Writer(tokenizer, kind)  # pyright: ignore[reportArgumentType]
    written = "".join(map(writer.text, tokens))
    # Words keep one space between them.
    assert written == (text.replace("  ", " ") if kind in ("word", "whitespace") else text)


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_chinese_gives_the_text_back(kind: str) -> None:
    tokenizer = make_tokenizer(POEMS, kind, TokenOptions())  # pyright: ignore
    tokens = encode_prompt(tokenizer, "花落闻啼鸟")
    assert kind == "bpe" or len(tokens) == 5
    writer = Writer(tokenizer, kind)  # pyright: ignore[reportArgumentType]
    assert "".join(map(writer.text, tokens)) == "花落闻啼鸟"


def test_whitespace_tokens_are_what_spaces_separate() -> None:
    tokenizer = make_tokenizer(
        [" u.s. <unk> n't rose N % \n"], "whitespace", TokenOptions(minimum_frequency=1)
    )
    words = [" u.s.", " <unk>", " n't", " rose", " N", " %", "\n"]
    assert sorted(tokenizer.get_vocab()) == sorted(["[END]", "[UNK]", *words])
    # At the start of a prompt, too, where no space stands before it.
    assert encode_prompt(tokenizer, "u.s.") == [tokenizer.token_to_id(" u.s.")]


def test_a_tokenizer_that_cannot_do_what_its_file_asks_for() -> None:
    lacking = Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]"))
    for ask in (encode_prompt, lambda tokenizer, text: encode(tokenizer, [text])):
        with pytest.raises(RunError, match=r"the tokenizer of the run is damaged: .*UNK"):
            ask(lacking, "b")


def test_several_texts_are_divided_by_boundaries() -> None:
    tokenizer = make_tokenizer(["ab", "b"], "character", TokenOptions(minimum_frequency=1))
    a, b = map(tokenizer.token_to_id, "ab")
    found = encode(tokenizer, ["ab", "b"])
    assert found.tokens.tolist() == [0, a, b, 0, b, 0]
    assert found.starts.tolist() == [0, 3]
    assert found.count == found.characters == 5
    assert encode(tokenizer, ["ab"]).tokens.tolist() == [0, a, b]


def test_a_line_longer_than_any_piece_is_cut_without_loss() -> None:
    text = "word " * 9000 + "x" * 25_000
    tokenizer = make_tokenizer([text], "character", TokenOptions())
    found = encode(tokenizer, [text])
    assert tokenizer.decode(found.tokens.tolist()) == text


# N-grams


def slow_losses(training: list[int], measured: list[int], size: int, order: int) -> float:
    """Interpolated Witten-Bell, as the formula reads."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
    after: list[dict[tuple[int, ...], set[int]]] = [{} for _ in range(order + 1)]
    for n in range(1, order + 1):
        for end in range(n - 1, len(training)):
            context = tuple(training[end - n + 1 : end])
            counts[n][context] += 1
            counts[n][(*context, -1, training[end])] += 1
            after[n].setdefault(context, set()).add(training[end])

    def chance(token: int, context: tuple[int, ...]) -> float:
        n = len(context) + 1
        below = chance(token, context[1:]) if context else 1 / size
        if not counts[n][context]:
            return below
        kinds = len(after[n][context])
        return (counts[n][(*context, -1, token)] + kinds * below) / (counts[n][context] + kinds)

    chances = [
        chance(measured[end], tuple(measured[max(0, end - order + 1) : end]))
        for end in range(1, len(measured))
    ]
    return -sum(map(math.log, chances)) / len(chances)


@given(
    training=some.lists(some.integers(0, 3), min_size=2, max_size=40),
    measured=some.lists(some.integers(0, 3), min_size=2, max_size=20),
)
def test_ngrams_are_those_of_the_formula(training: list[int], measured: list[int]) -> None:
    found = ngrams(numpy.array(training), [numpy.array(measured)], 4, 3)
    for order in (1, 2, 3):
        expected = slow_losses(training, measured, 4, order)
        assert found.losses[order - 1][0] == pytest.approx(expected)


# Sampling

_LOGITS = torch.tensor([0.1, 0.4, 0.3, 0.2]).log()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (SamplingOptions(), [0.1, 0.4, 0.3, 0.2]),
        (SamplingOptions(greedy=True), [0.0, 1.0, 0.0, 0.0]),
        (SamplingOptions(top_k=2), [0, 4 / 7, 3 / 7, 0]),
        (SamplingOptions(top_k=99), [0.1, 0.4, 0.3, 0.2]),
        (SamplingOptions(top_p=0.5), [0, 4 / 7, 3 / 7, 0]),
        (SamplingOptions(top_p=1e-9), [0.0, 1.0, 0.0, 0.0]),
        (SamplingOptions(temperature=0.5), [1 / 30, 16 / 30, 9 / 30, 4 / 30]),
        (SamplingOptions(temperature=0.5, top_k=3, top_p=0.6), [0, 16 / 25, 9 / 25, 0]),
    ],
)
def test_chances(sampling: SamplingOptions, expected: list[float]) -> None:
    torch.testing.assert_close(chances(_LOGITS, sampling), torch.tensor(expected))


# The network


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"tied": True},
        {"tied": True, "hidden_size": 12},
        {"adaptive_softmax": True},
        {"layers": 2, "locked_dropout": True, "weight_dropout": 0.3},
    ],
)
def test_losses_are_those_of_the_probabilities(model: dict[str, Any]) -> None:
    network = LanguageNetwork("gru", 1200, embedding_size=8, **{"hidden_size": 8, **model})  # pyright: ignore
    tokens = torch.randint(0, 1200, (2, 6))
    targets = torch.randint(0, 1200, (2, 6))
    targets[1, 4:] = -100
    outputs, _ = network.eval()(tokens)
    chances = network.log_probabilities(outputs)
    torch.testing.assert_close(chances.exp().sum(-1), torch.ones(2, 6))
    expected = -chances.flatten(0, 1)[torch.arange(12), targets.flatten().clamp_min(0)]
    losses = network.losses(outputs, targets)
    torch.testing.assert_close(losses, expected[targets.flatten() >= 0])
    losses.mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_tied_weights_are_one_parameter() -> None:
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_size": 8}
    tied = LanguageNetwork("gru", 50, tied=True, **sizes)
    loose = LanguageNetwork("gru", 50, **sizes)
    count = [sum(p.numel() for p in each.parameters()) for each in (tied, loose)]
    assert count[1] - count[0] == 50 * 8


def test_locked_dropout_drops_the_same_units_at_all_steps() -> None:
    network = LanguageNetwork(
        "gru", 50, embedding_size=8, hidden_size=40, locked_dropout=True, dropout=0.5
    )
    outputs, _ = network(torch.randint(0, 50, (1, 9)))
    dropped = (outputs[0] == 0).float().mean(0)
    assert set(dropped.tolist()) == {0.0, 1.0}


def test_a_text_forgets_the_one_before() -> None:
    network = LanguageNetwork("lstm", 50, embedding_size=8, hidden_size=8).eval()
    first, second = torch.randint(2, 50, (2, 7))
    first[0] = second[0] = 0
    tokens = torch.cat([first, second])[None]
    outputs, _ = network(tokens, resets=tokens == 0)
    alone, _ = network(second[None])
    torch.testing.assert_close(outputs[:, 7:], alone)
