"""A set of reviews on which a network trains in a fraction of a second."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_reviews import write_reviews

from anyrnn.tasks.classify import DataOptions, ModelOptions, Options
from anyrnn.tasks.options.training_options import TrainingOptions
from pictures import _no_pictures, pictures  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """So small a network gains nothing from threads, and test workers would fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., Options]:
    """Options for the small set; keywords change the training."""
    table = write_reviews(tmp_path / "reviews.csv")

    def make(cells: tuple[str, ...] = ("rnn",), **training: object) -> Options:
        small = TrainingOptions(epochs=2, batch_size=16, learning_rate=0.02, device="cpu")
        return Options(
            data=DataOptions(table, "review", "sentiment"),
            cells=cells,
            model=ModelOptions(embedding_size=4, hidden_size=4, dropout=0.0),
            training=replace(small, **training),  # pyright: ignore[reportArgumentType]
        )

    return make
