"""Options that train on a small set in a second or two."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from toy_reviews import reviews, write_csv

from anyrnn.tasks.classify import DataOptions, ModelOptions, Options
from anyrnn.tasks.forecast import Options as ForecastOptions
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.options.training_options import TrainingOptions
from pictures import _no_pictures, pictures  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """So small a network gains nothing from threads, and test workers would fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "reviews.csv", reviews(200))


@pytest.fixture
def options(table: Path) -> Callable[..., Options]:
    """Options for the small set; keywords change the training."""

    def make(cells: tuple[str, ...] = ("gru",), **training: object) -> Options:
        small = TrainingOptions(epochs=8, batch_size=16, learning_rate=1e-2, device="cpu")
        return Options(
            data=DataOptions(table, "review", "sentiment"),
            cells=cells,
            model=ModelOptions(embedding_size=12, hidden_size=12, dropout=0.2),
            training=replace(small, **training),  # pyright: ignore[reportArgumentType]
        )

    return make


@pytest.fixture
def series_options(tmp_path: Path) -> Callable[..., ForecastOptions]:
    """Options for a table, written as a file."""

    def make(frame: pandas.DataFrame | str, **values: Any) -> ForecastOptions:
        path = tmp_path / "series.csv"
        if isinstance(frame, str):
            path.write_text(frame)
        else:
            frame.to_csv(path, index=False)
        small: dict[str, Any] = {
            "time": "day",
            "target": ("y",),
            "horizon": 4,
            "look_back": 8,
            "hidden_size": 8,
            "epochs": 2,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "backtest": 0,
            "device": "cpu",
        }
        return from_flat(ForecastOptions, {"data": path, **small, **values})

    return make
