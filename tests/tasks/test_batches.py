import numpy
import pytest

from anyrnn.tasks.data.batches import Batches, Column


def sequences(count: int = 1000, seed: int = 0) -> list[numpy.ndarray]:
    generator = numpy.random.default_rng(seed)
    return [generator.integers(1, 9, generator.integers(1, 80)) for _ in range(count)]


def batched(data: list[numpy.ndarray], size: int, seed: int | None) -> Batches:
    columns = {"tokens": Column(data, padded=True), "class": Column(numpy.arange(len(data)))}
    return Batches(columns, size, seed)


def rows(batches: Batches) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


@pytest.mark.parametrize("seed", [None, 3])
def test_every_row_once_with_its_own_target(seed: int | None) -> None:
    data = sequences(203)
    batches = batched(data, 16, seed)
    seen = []
    for batch in batches:
        assert batch["class"].equal(batch.rows)
        for tokens, length, row in zip(
            batch["tokens"], batch.lengths["tokens"], batch.rows, strict=True
        ):
            assert tokens[:length].tolist() == data[row].tolist()
            assert not tokens[length:].any()
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(203))
    assert len(batches) == 13


def test_little_padding() -> None:
    data = sequences()
    batches = batched(data, 32, seed=0)
    padded = sum(batch["tokens"].numel() for batch in batches)
    assert padded < 1.15 * sum(map(len, data))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    data = sequences(100)
    one, other = (batched(data, 8, seed=5) for _ in range(2))
    first = rows(one)
    assert rows(one) == first == rows(other)
    one.set_epoch(1)
    assert rows(one) != first
    assert rows(batched(data, 8, seed=6)) != first


def test_position_is_taken_up() -> None:
    data = sequences(100)
    batches = batched(data, 8, seed=5)
    batches.set_epoch(3)
    stream = iter(batches)
    begun = [next(stream).rows.tolist() for _ in range(4)]
    again = batched(data, 8, seed=5)
    again.load_state_dict(batches.state_dict())
    rest = rows(again)
    assert begun + rest == rows(again)


def test_very_long_rows_stand_in_smaller_batches_where_nothing_is_learned() -> None:
    data = [numpy.ones(length, numpy.int64) for length in (300_000, 3, 90_000, 5, 100_000, 4)]
    found = batched(data, 4, None)
    assert rows(found) == [[1, 5], [3, 2], [4], [0]]
    assert len(found) == 4
    assert len(batched(data, 4, seed=0)) == 2
