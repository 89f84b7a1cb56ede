"""The recurrent decoder: attention, steps, search."""

import itertools
from typing import Any

import pytest
import torch

from anyrnn.errors import OptionError
from anyrnn.tasks.decoding.attention import Attention, attended
from anyrnn.tasks.decoding.decoder import Decoder, DecoderState, repeated_attention
from anyrnn.tasks.decoding.search import Beam, beam_search, drawn_from, sample
from anyrnn.tasks.translate import SearchOptions


@pytest.mark.parametrize("kind", ["additive", "general", "dot"])
def test_attention_reads_what_it_weighs_and_no_padding(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = Attention(kind, 4, 4, 5)
    mask = torch.arange(3) < torch.tensor([[3], [1]])
    values, queries = torch.randn(2, 3, 4), torch.randn(2, 7, 4)
    context, weights = attention(queries, attention.memory(values, mask))
    torch.testing.assert_close(context, torch.einsum("bts,bsi->bti", weights, values))
    torch.testing.assert_close(weights[1], torch.eye(3)[:1].expand(7, 3))
    one, _ = attention(queries[:1, 2:3], attention.memory(values[:1], mask[:1]))
    torch.testing.assert_close(one, context[:1, 2:3])
    monkeypatch.setattr("anyrnn.tasks.decoding.attention._AT_ONCE", 40)
    torch.testing.assert_close(attention(queries, attention.memory(values, mask))[0], context)


def test_coverage_is_the_sum_of_the_weights_so_far() -> None:
    attention = Attention("additive", 4, 6, 5, coverage=True)
    mask = torch.arange(3) < torch.tensor([[3], [2]])
    values, queries = torch.randn(2, 3, 6), torch.randn(2, 4, 4)
    had = torch.rand(2, 2, 3) * mask[:, None]
    contexts, weights = attention(queries, attention.memory(values, mask), had)
    assert attention.covered is not None
    for row, places in enumerate((3, 2)):
        sums = had[row, 1, :places].tolist()
        for step in range(4):
            hidden = [
                attention.query(queries[row, step])
                + attention.key(values[row, place])
                + attention.covered.weight[:, 0] * sums[place]
                for place in range(places)
            ]
            energies = torch.stack([attention.energy(each.tanh())[0] for each in hidden])
            expected = energies.softmax(0)
            torch.testing.assert_close(weights[row, step, :places], expected)
            torch.testing.assert_close(contexts[row, step], expected @ values[row, :places])
            sums = [one + more for one, more in zip(sums, expected.tolist(), strict=True)]
    assert not weights[1, :, 2].any()
    repeated = repeated_attention(weights)
    before = torch.zeros(2, 3)
    for step in range(4):
        torch.testing.assert_close(repeated[:, step], weights[:, step].minimum(before).sum(1))
        before += weights[:, step]


def test_location_is_a_convolution_over_the_weights_before() -> None:
    attention = Attention("location", 4, 6, 5)
    mask = torch.arange(9) < torch.tensor([[9], [7]])
    values, queries = torch.randn(2, 9, 6), torch.randn(2, 4, 4)
    memory = attention.memory(values, mask)
    begun = attention.begin(memory)
    assert begun is not None
    contexts, weights = attention(queries, memory, begun)
    assert attention.filters is not None
    assert attention.location is not None
    filters = attention.filters.weight.unflatten(1, (2, 31))  # (filters, before and sum, places)
    for row, places in enumerate((9, 7)):
        before, total = torch.zeros(9), torch.zeros(9)
        for step in range(4):
            energies = []
            for place in range(places):
                read = torch.zeros(len(filters))
                for other in range(places):
                    offset = other - place + 15
                    read += filters[:, 0, offset] * before[other]
                    read += filters[:, 1, offset] * total[other]
                hidden = attention.query(queries[row, step]) + attention.key(values[row, place])
                hidden = (hidden + attention.location.weight @ read).tanh()
                energies.append(attention.energy(hidden)[0])
            before = torch.zeros(9)
            before[:places] = torch.stack(energies).softmax(0)
            total = total + before
            torch.testing.assert_close(weights[row, step], before)
            torch.testing.assert_close(contexts[row, step], before @ values[row])
        torch.testing.assert_close(attended(begun, weights)[row], torch.stack([before, total]))


def test_a_dot_product_needs_equal_sizes() -> None:
    with pytest.raises(OptionError, match=r"attention=dot multiplies .* size 4 .* size 8"):
        Attention("dot", 4, 8, 5)


def begun(decoder: Decoder, batch: int = 3) -> DecoderState:
    generator = torch.Generator().manual_seed(1)
    outputs, summary = (torch.randn(3, *size, generator=generator) for size in ((4, 6), (6,)))
    return decoder.begin(outputs[:batch], torch.tensor([4, 2, 1])[:batch], summary[:batch])


def made(cell: str = "gru", vocabulary: int = 5, **options: Any) -> Decoder:
    torch.manual_seed(0)
    sizes = {"memory_size": 6, "summary_size": 6, "embedding_size": 3, "hidden_size": 4}
    decoder = Decoder(cell, vocabulary, **sizes, **options)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        decoder.softmax.weight.mul_(20)
    return decoder.eval()


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("gru", {}),
        ("lstm", {"layers": 2, "input_feeding": True}),
        ("lstm_peephole", {"attention": "general"}),
        ("rnn", {"attention": "none"}),
        ("gru", {"coverage": True}),
        ("lstm", {"coverage": True, "input_feeding": True}),
        ("gru", {"attention": "location"}),
        ("lstm", {"attention": "location", "input_feeding": True}),
    ],
)
def test_all_steps_at_once_are_one_step_after_the_other(cell: str, options: Any) -> None:
    decoder = made(cell, **options)
    tokens = torch.tensor([[0, 2, 3, 1], [0, 4, 4, 2], [0, 1, 3, 3]])
    vectors, every = decoder(tokens, begun(decoder))
    expected = decoder.softmax(vectors).log_softmax(-1)
    state = begun(decoder)
    for place in range(4):
        found, weights, state = decoder.step(tokens[:, place], state)
        torch.testing.assert_close(found, expected[:, place])
        if every is not None and weights is not None:
            torch.testing.assert_close(weights, every[:, place])
    targets = torch.tensor([[2, 3, 1, 0], [4, 4, 2, -100], [1, 0, -100, -100]])
    losses = decoder.losses(vectors, targets)
    assert losses[targets < 0].eq(0).all()
    torch.testing.assert_close(losses[1, 2], -expected[1, 2, 2])
    losses.sum().backward()
    used = {n for n, p in decoder.named_parameters() if p.grad is not None and p.grad.any()}
    assert used == {n for n, _ in decoder.named_parameters()}


@pytest.mark.parametrize("feeding", [False, True])
def test_scheduled_sampling_reads_what_the_decoder_would_write(feeding: bool) -> None:
    decoder = made(input_feeding=feeding, scheduled_sampling=1.0)
    tokens = torch.tensor([[0, 2, 3, 1], [0, 4, 4, 2], [0, 1, 3, 3]])
    first = decoder.softmax(decoder(tokens, begun(decoder))[0]).argmax(2)
    decoder.train()
    found, _ = decoder(tokens, begun(decoder))
    decoder.eval()
    if feeding:  # step after step, so that a step follows from what was written before
        for place in range(1, 4):
            own = decoder.softmax(decoder(tokens, begun(decoder))[0]).argmax(2)
            tokens[:, place] = own[:, place - 1]
    else:
        tokens = torch.cat([tokens[:, :1], first[:, :-1]], 1)
    torch.testing.assert_close(found, decoder(tokens, begun(decoder))[0])


# Search


def likeliest(decoder: Decoder, row: int, steps: int, beam: Beam) -> list[tuple[float, list[int]]]:
    """Every sequence that ends within so many steps, the best one first."""
    found = []
    for length in range(steps):
        for tokens in itertools.product(range(1, 4), repeat=length):
            state, total, every = begun(decoder, row + 1), 0.0, []
            for before, after in itertools.pairwise([0, *tokens, 0]):
                read = torch.full((row + 1,), before)
                log_probabilities, weights, state = decoder.step(read, state)
                total += float(log_probabilities[row, after])
                assert weights is not None
                every.append(weights[row, : [4, 2, 1][row]])
            found.append((beam.score(total, length + 1, torch.stack(every)), list(tokens)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"input_feeding": True}, {"coverage": True}, {"attention": "location"}],
)
@pytest.mark.parametrize("beam", [Beam(120), Beam(120, 1.0, 0.5)])
def test_a_wide_beam_finds_the_best_of_all_sequences(options: Any, beam: Beam) -> None:
    with torch.inference_mode():
        decoder = made(vocabulary=4, **options)
        found = beam_search(decoder, begun(decoder), torch.tensor([4, 3, 4]), beam)
        for row, steps in enumerate((4, 3, 4)):
            right = likeliest(decoder, row, steps, beam)
            assert len(found[row]) == len(right)
            assert [one.tokens for one in found[row]] == [tokens for _, tokens in right]
            for one, (score, _) in zip(found[row], right, strict=True):
                assert one.ended
                assert one.score == pytest.approx(score, abs=1e-4)
                assert one.weights is not None
                assert one.weights.shape == (len(one.tokens) + 1, [4, 2, 1][row])


def test_greedy_search_takes_the_likeliest_token_and_rows_do_not_matter_to_each_other() -> None:
    decoder = made(vocabulary=9)
    limits = torch.tensor([6, 6, 6])
    with torch.inference_mode():
        greedy = beam_search(decoder, begun(decoder), limits, Beam())
        wide = beam_search(decoder, begun(decoder), limits, Beam(3))
        rows = torch.tensor([1])
        alone = beam_search(decoder, begun(decoder).taken(rows), limits[:1], Beam(3))
        assert [one.tokens for one in alone[0]] == [one.tokens for one in wide[1]]
        tokens, state = torch.zeros(3, dtype=torch.int64), begun(decoder)
        written: list[list[int]] = [[], [], []]
        for _ in range(6):
            found, _, state = decoder.step(tokens, state)
            tokens = found.argmax(1)
            for row, token in zip(written, tokens.tolist(), strict=True):
                row.append(token)
    for (one,), row in zip(greedy, written, strict=True):
        assert one.tokens == (row[: row.index(0)] if 0 in row else row)
        assert one.ended == (0 in row)


def test_a_decoder_that_never_stops_is_cut() -> None:
    decoder = made()
    with torch.no_grad():
        decoder.softmax.bias[0] = -1e9
    limits = torch.tensor([3, 7, 5])
    for found in beam_search(decoder, begun(decoder), limits, Beam(2)):
        assert [one.ended for one in found] == [False, False]
    drawn = sample(decoder, begun(decoder), limits, SearchOptions(), torch.Generator())
    assert [len(one.tokens) for one in drawn] == [3, 7, 5]
    assert not any(one.ended for one in drawn)
    (none, repeated, _) = beam_search(decoder, begun(decoder), limits * 9, Beam(2, no_repeat=1))
    # When no token is left, there is nothing but the end, however unlikely.
    assert all(sorted(one.tokens) == [1, 2, 3, 4] and one.ended for one in [*none, *repeated])


def test_no_sequence_is_repeated_and_forbidden_tokens_are_not_written() -> None:
    decoder = made(vocabulary=4)
    with torch.no_grad():
        decoder.softmax.bias[0] = -1e9
    for found in beam_search(decoder, begun(decoder), torch.tensor([6] * 3), Beam(2), (3,)):
        assert {token for one in found for token in one.tokens} <= {1, 2}
    for found in beam_search(decoder, begun(decoder), torch.tensor([9] * 3), Beam(2, no_repeat=2)):
        for one in found:
            pairs = [*itertools.pairwise(one.tokens)]
            assert len({*pairs}) == len(pairs)


@pytest.mark.parametrize("temperature", [5e-324, 1e-38, 1e38])
def test_chances_at_every_temperature(temperature: float) -> None:
    unlike = torch.tensor([-3.0, -0.1, -90.0, -torch.inf])
    found = drawn_from(unlike, SearchOptions(sample=True, temperature=temperature))
    expected = [0.0, 1.0, 0.0, 0.0] if temperature < 1 else [1 / 3, 1 / 3, 1 / 3, 0.0]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_draws_repeat_with_the_seed() -> None:
    decoder, limits = made(vocabulary=9), torch.tensor([6, 6, 6])
    found = [
        sample(
            decoder, begun(decoder), limits, SearchOptions(), torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    tokens = [[one.tokens for one in each] for each in found]
    assert tokens[0] == tokens[1] != tokens[2]
    likeliest = SearchOptions(top_k=1)
    drawn = sample(decoder, begun(decoder), limits, likeliest, torch.Generator())
    greedy = beam_search(decoder, begun(decoder), limits, Beam())
    for one, (other,) in zip(drawn, greedy, strict=True):
        assert one.tokens == other.tokens
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.weights is not None
        torch.testing.assert_close(one.weights, other.weights)
