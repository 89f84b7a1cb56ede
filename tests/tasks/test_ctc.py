"""Connectionist temporal classification against all paths, one by one."""

import itertools
from pathlib import Path

import numpy
import pytest
import torch

from anyrnn.errors import DataError, OptionError
from anyrnn.tasks import LanguageModel
from anyrnn.tasks.audio.texts import Normal
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.generate.ngrams import NGramModel, ngrams
from anyrnn.tasks.transcribe import TokenOptions
from anyrnn.tasks.transcribe.beam import PrefixSearch
from anyrnn.tasks.transcribe.ctc import alignment, best_paths, losses, steps_needed
from anyrnn.tasks.transcribe.language import CountedLanguage, NetworkLanguage, language_model

NORMAL = Normal(lowercase=True, punctuation=False)


def scores(steps: int, vocabulary: int, seed: int = 0) -> numpy.ndarray:
    drawn = numpy.random.default_rng(seed).normal(size=(steps, vocabulary))
    return torch.tensor(drawn).log_softmax(-1).numpy()


def tokens_of(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token)


def every(found: numpy.ndarray) -> dict[tuple[int, ...], list[tuple[float, tuple[int, ...]]]]:
    """All paths with their log-probabilities, by the tokens that they stand for."""
    steps, vocabulary = found.shape
    texts: dict[tuple[int, ...], list[tuple[float, tuple[int, ...]]]] = {}
    for path in itertools.product(range(vocabulary), repeat=steps):
        total = sum(found[step, token] for step, token in enumerate(path))
        texts.setdefault(tokens_of(path), []).append((total, path))
    return texts


def test_losses_are_those_of_all_paths() -> None:
    steps, texts = 5, [(1,), (1, 1), (2, 1, 2), (), (1, 1, 1)]
    found = scores(steps, 3)
    batch = torch.tensor(found).expand(len(texts), -1, -1)
    lengths = torch.full((len(texts),), steps)
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(t, dtype=torch.int64) for t in texts])
    sizes = torch.tensor([*map(len, texts)])
    paths = every(found)
    expected = [-numpy.logaddexp.reduce([total for total, _ in paths[text]]) for text in texts]
    reached = losses(batch, lengths, padded.T, sizes)
    numpy.testing.assert_allclose(reached, expected, rtol=1e-5)
    # (1, 1, 1) needs two blanks.
    assert [steps_needed(text) for text in texts] == [1, 3, 3, 0, 5]
    assert torch.isinf(losses(batch, lengths - 1, padded.T, sizes)[-1])


def test_the_best_path_and_its_tokens() -> None:
    found = torch.tensor(numpy.stack([scores(6, 4, seed) for seed in range(9)]))
    lengths = torch.tensor([6, 5, 4, 3, 2, 1, 6, 6, 6])
    for row, (spans, length) in enumerate(zip(best_paths(found, lengths), lengths, strict=True)):
        path = tuple(found[row, :length].argmax(-1).tolist())
        assert tuple(span.token for span in spans) == tokens_of(path)
        # Its alignment is the path itself.
        aligned = alignment(found[row, :length].numpy(), tokens_of(path))
        assert [(each.first, each.end) for each in spans] == [
            (each.first, each.end) for each in aligned
        ]
        expected = [each.score for each in aligned]
        assert [each.score for each in spans] == pytest.approx(expected)


@pytest.mark.parametrize("text", [(1,), (1, 1), (2, 1), (1, 2, 2), (2, 2, 2)])
def test_alignments_are_the_likeliest_paths(text: tuple[int, ...]) -> None:
    for seed in range(4):
        found = scores(5, 3, seed)
        _, path = max(every(found)[text])
        spans = alignment(found, text)
        aligned = numpy.zeros(5, int)
        for span in spans:
            aligned[span.first : span.end] = span.token
            assert span.score == pytest.approx(found[span.first : span.end, span.token].mean())
        assert tuple(aligned) == path
    assert alignment(found, ()) == []


def test_the_alignment_of_a_long_text() -> None:
    found = scores(600, 9)
    (spans,) = best_paths(torch.tensor(found)[None], torch.tensor([600]))
    assert len(spans) > 400
    aligned = alignment(found, [span.token for span in spans])
    assert [(each.first, each.end) for each in spans] == [
        (each.first, each.end) for each in aligned
    ]


class Bigrams:
    """A language model of random numbers."""

    def __init__(self, size: int) -> None:
        self.chances = scores(size, size, seed=3)

    def begin(self) -> numpy.ndarray:
        return numpy.zeros(1, int)

    def scores(self, state: numpy.ndarray) -> numpy.ndarray:
        return self.chances[state]

    def after(
        self, state: numpy.ndarray, texts: numpy.ndarray, tokens: numpy.ndarray
    ) -> numpy.ndarray:
        return numpy.where(tokens == 0, state[texts], tokens)

    def of(self, text: tuple[int, ...]) -> float:
        pairs = itertools.pairwise((0, *text, 0))
        return sum(self.chances[before, after] for before, after in pairs)


@pytest.mark.parametrize(("weight", "bonus"), [(0.0, 0.0), (0.8, 0.0), (1.5, 1.0), (0.0, 0.7)])
def test_a_beam_that_keeps_everything_finds_the_likeliest_text(weight: float, bonus: float) -> None:
    language = Bigrams(3)
    for seed in range(4):
        found = scores(5, 3, seed)
        expected = {
            text: numpy.logaddexp.reduce([total for total, _ in paths])
            + weight * language.of(text)
            + bonus * len(text)
            for text, paths in every(found).items()
        }
        reached = PrefixSearch(1000, language if weight else None, weight, bonus).run(found)
        assert {tuple(tokens) for tokens, _ in reached} == set(expected)
        for tokens, worth in reached:
            assert worth == pytest.approx(expected[tuple(tokens)])
        assert reached[0][1] == pytest.approx(max(expected.values()))
        worths = [worth for _, worth in reached]
        assert worths == sorted(worths, reverse=True)


def test_a_small_beam_and_forbidden_tokens() -> None:
    found = scores(60, 12)
    wide, narrow = (PrefixSearch(beam).run(found) for beam in (64, 2))
    assert len(narrow) == 2
    assert wide[0][1] >= narrow[0][1]
    assert all(3 not in tokens for tokens, _ in PrefixSearch(8, forbidden=[3]).run(found))
    # A single step cannot end in more texts than it has tokens.
    assert len(PrefixSearch(500).run(found[:1])) == 12
    assert PrefixSearch(4).run(found[:0]) == [([], 0.0)]


def test_of_equal_texts_the_first_tokens_are_kept() -> None:
    equal = numpy.log(numpy.full((1, 6), 1 / 6))
    assert [tokens for tokens, _ in PrefixSearch(4).run(equal)] == [[], [1], [2], [3]]


def test_n_grams_are_asked_for_what_they_measure() -> None:
    drawn = numpy.random.default_rng(0)
    training, measured = drawn.integers(0, 5, 60), drawn.integers(0, 5, 30)
    for order in (1, 2, 4):
        model = NGramModel(training, 5, order)
        context, total = model.after(model.empty, measured[0]), 0.0
        for token in measured[1:].tolist():
            chances = model.probabilities(context)
            assert chances.sum() == pytest.approx(1)
            total -= numpy.log(chances[token])
            context = model.after(context, token)
        expected = ngrams(training, [measured], 5, order).losses[-1][0]
        assert total / 29 == pytest.approx(expected)


TEXTS = ["the boat", "the boats", "a tree"] * 8


@pytest.fixture(scope="module")
def tokens() -> WrittenVocabulary:
    return WrittenVocabulary.made(TEXTS, "character", TokenOptions())


def test_a_language_model_of_a_file(tokens: WrittenVocabulary, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS).upper() + "\n\n", encoding="utf-8")
    language = language_model(path, 4, tokens, NORMAL)
    assert isinstance(language, CountedLanguage)
    (worth,) = language.scores(language.begin())
    assert tokens.tokenizer.id_to_token(int(worth.argmax())) == "t"
    path.write_text("...\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"texts.txt \(language_model\) has no text"):
        language_model(path, 4, tokens, NORMAL)
    with pytest.raises(DataError, match=r"there is no file .*none"):
        language_model(tmp_path / "none", 4, tokens, NORMAL)


def test_a_language_model_of_a_run(tokens: WrittenVocabulary, tmp_path: Path) -> None:
    sizes = {"embedding_size": 8, "hidden_size": 8, "minimum_frequency": 1, "device": "cpu"}
    texts = [text.replace("b", "") for text in TEXTS]
    for cell in ("gru", "lstm"):
        model = LanguageModel(cell=cell, epochs=1, tokens="character", **sizes).fit(texts)
        model.save(tmp_path / cell)
        language = language_model(tmp_path / cell, 4, tokens, NORMAL)
        assert isinstance(language, NetworkLanguage)
        state = language.begin()
        total = 0.0
        numbers = tokens.encode(["the oats"], 99)[0]
        for token in numbers[:-1].tolist():
            total += language.scores(state)[0, token]
            # Beside others, and one that stays.
            state = language.after(state, numpy.array([0, 0]), numpy.array([0, token]))
            state = language.after(state, numpy.array([1]), numpy.array([0]))
        assert language.scores(state).shape == (1, tokens.size)
        (likelihood,) = model.model_.predict(["the oats"])
        assert -total / 8 == pytest.approx(numpy.log(likelihood.perplexity), rel=1e-4)
    words = LanguageModel(cell="gru", epochs=1, tokens="word", **sizes).fit(texts)
    words.save(tmp_path / "words")
    with pytest.raises(OptionError, match="words has word tokens, but the tokens of both have to"):
        language_model(tmp_path / "words", 4, tokens, NORMAL)
