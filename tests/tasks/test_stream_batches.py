"""Streams: every token once, in order, whatever the sizes; truncated backpropagation."""

import tracemalloc
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from anyrnn.tasks.data.streams import IGNORED, StreamBatches
from anyrnn.torch import Recurrent


def read(batches: StreamBatches) -> tuple[list[int], list[int]]:
    """The inputs and targets of each stream, one stream after the other."""
    rows: dict[int, tuple[list[int], list[int]]] = {}
    for number, batch in enumerate(batches):
        assert batch.continues == (number > 0)
        steps = batch["inputs"].shape[1]
        lengths = batch.lengths.get("inputs", torch.full((len(batch),), steps)).tolist()
        for row, length in enumerate(lengths):
            inputs, targets = rows.setdefault(row, ([], []))
            inputs += batch["inputs"][row, :length].tolist()
            targets += batch["targets"][row, :length].tolist()
            assert set(batch["targets"][row, length:].tolist()) <= {IGNORED}
    joined = [rows[row] for row in sorted(rows)]
    inputs = [token for each, _ in joined for token in each]
    return inputs, [token for _, each in joined for token in each]


@given(count=some.integers(2, 60), streams=some.integers(1, 9), steps=some.integers(1, 9))
def test_every_token_is_predicted_once_in_order(count: int, streams: int, steps: int) -> None:
    batches = StreamBatches(numpy.arange(count), streams, steps)
    inputs, targets = read(batches)
    assert inputs == list(range(count - 1))
    assert targets == list(range(1, count))
    assert len(list(batches)) == len(batches)


def test_texts_change_their_order_from_epoch_to_epoch_and_stay_whole() -> None:
    tokens = numpy.array([0, 11, 12, 0, 21, 0, 31, 32, 33, 0, 41, 0])
    batches = StreamBatches(tokens, 1, 4, starts=numpy.array([0, 3, 5, 9]), seed=3)
    orders = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        inputs, targets = read(batches)
        assert [*inputs[1:], 0] == targets
        texts = " ".join(map(str, inputs)).split("0 ")[1:]
        assert sorted(text.strip() for text in texts) == ["11 12", "21", "31 32 33", "41"]
        orders.append(inputs)
    assert orders[0] == orders[2] != orders[1]


def test_goes_on_within_an_epoch() -> None:
    tokens = numpy.arange(100)
    batches = StreamBatches(tokens, 3, 4)
    batches.set_epoch(5)
    given_out = iter(batches)
    for _ in range(3):
        next(given_out)
    other = StreamBatches(tokens, 3, 4)
    other.load_state_dict(batches.state_dict())
    rest = [batch["inputs"].tolist() for batch in given_out]
    assert [batch["inputs"].tolist() for batch in other] == rest
    assert len(rest) == len(batches) - 3


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_carried_state_gives_the_losses_of_the_whole_stream(cell: str) -> None:
    tokens = numpy.random.default_rng(0).integers(0, 5, 42)
    layer = Recurrent(cell, 5, 7, batch_first=True)
    dense = torch.nn.Linear(7, 5)

    def losses(steps: int) -> torch.Tensor:
        found, state = [], None
        with torch.no_grad():
            for batch in StreamBatches(tokens, 2, steps):
                inputs = torch.nn.functional.one_hot(batch["inputs"], 5).float()
                outputs, state = layer(inputs, state, batch.lengths.get("inputs"))
                logits = dense(outputs).flatten(0, 1)
                found.append(
                    torch.nn.functional.cross_entropy(
                        logits, batch["targets"].flatten(), reduction="none"
                    ).unflatten(0, outputs.shape[:2])
                )
        return torch.cat(found, 1)

    torch.testing.assert_close(losses(4), losses(1000))


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        """The largest memory of what Python and NumPy allocate while a stream is read."""
        path = tmp_path / f"{count}.npy"
        numpy.save(path, numpy.zeros(count, numpy.int32))
        tokens = numpy.load(path, mmap_mode="r")
        tracemalloc.start()
        for _ in StreamBatches(tokens, 4, 50):
            pass
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    assert peak(400_000) < peak(4_000) + 100_000
